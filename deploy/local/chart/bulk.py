"""Scripts that do nothing useful, in the amount the real site sends: 24 files, about 6 MB in all.

They stand between the page and its chart as the real site's do: each has to be read, compiled and run,
and what it runs builds a part of a page that nobody sees.
"""

import re
from functools import cache
from typing import Final

from aiohttp import web

FILES: Final = 24
_FUNCTIONS: Final = 1_150
_VERSION: Final = 1
_PATH: Final = re.compile(rf"{_VERSION}/([0-9]{{1,2}})\.js", re.ASCII)
_HEADERS: Final = {"Cache-Control": "public, max-age=31536000, immutable"}

_FUNCTION: Final = """  part[{n}] = function p{n}(seed, depth) {{
    const row = {{ name: "module-{file}-{n}", span: seed % {odd}, kind: depth > 2 ? "leaf" : "node" }};
    for (let i = 0; i < {turns}; i += 1) row.span = (row.span * {odd} + i) % 65521;
    return row;
  }};
"""
# Every function runs, as the modules of a bundle do, and every eighth result becomes an element.
_FILE: Final = """"use strict";
(() => {{
  const part = [];
{functions}  const rows = [];
  for (let round = 0; round < 40; round += 1) for (const make of part) rows.push(make(round, round % 5));
  const shelf = document.createElement("div");
  shelf.hidden = true;
  for (let i = 0; i < rows.length; i += 320) {{
    const item = document.createElement("span");
    item.dataset.kind = rows[i].kind;
    item.textContent = `${{rows[i].name}} ${{rows[i].span}}`;
    shelf.append(item);
  }}
  document.body.append(shelf);
}})();
"""


def urls() -> list[str]:
    """Addresses of all files, in the order they run."""
    return [f"/static/bulk/{_VERSION}/{number}.js" for number in range(FILES)]


async def serve(request: web.Request) -> web.Response:
    match = _PATH.fullmatch(request.match_info["path"])
    if match is None or int(match[1]) >= FILES:
        raise web.HTTPNotFound
    body = script(int(match[1]))
    return web.Response(body=body, content_type="text/javascript", charset="utf-8", headers=_HEADERS)


@cache
def script(number: int) -> bytes:
    """One file, always the same; made when it is first asked for."""
    functions = (
        _FUNCTION.format(n=n, file=number, odd=2 * (n + number) + 3, turns=3 + n % 5)
        for n in range(_FUNCTIONS)
    )
    return _FILE.format(functions="".join(functions)).encode()
