"""What pictures look like: their size, their glyphs, and nothing in them but pixels."""

import io
from pathlib import Path
from typing import Final

import pytest
from PIL import Image, ImageChops

from capture.engine import CaptureOrder
from schemas.plans import PLAN_TERMS, Plan
from tests.support.capture_pages import engine_with, page_app
from tests.support.capture_parts import a_session, look_alike, order_of, signed_in

pytestmark = pytest.mark.usefixtures("profiles")

BOX_PX: Final = 100
# Ordinary letters, Chinese, Japanese, Korean, an emoji, and two that no font has: those show as boxes.
GLYPHS: Final = ["A", "漢", "語", "か", "한", "🚀", "\u0378", "\u05ff"]
_GLYPH_PAGE: Final = f"""
for (const [at, glyph] of {GLYPHS!r}.entries()) {{
  const box = Object.assign(document.createElement("div"), {{ textContent: glyph }});
  Object.assign(box.style, {{
    position: "fixed", left: `${{at * {BOX_PX}}}px`, top: "500px", width: "{BOX_PX}px", height: "{BOX_PX}px",
    font: '72px/{BOX_PX}px "Trebuchet MS", Roboto, Ubuntu, sans-serif', background: "white", color: "black",
  }});
  document.body.append(box);
}}
"""


async def test_no_glyph_is_a_box(browser_path: Path) -> None:
    """Symbols and layouts hold Chinese, Japanese, Korean and emoji: each is drawn, the last in colour."""
    async with engine_with(page_app({"glyphs01": _GLYPH_PAGE}), browser_path) as engine:
        shot = await engine.capture(order_of(a_session(), chart_id="glyphs01"))
    with Image.open(io.BytesIO(shot.png)) as picture:
        boxes = [
            picture.convert("RGB").crop((at * BOX_PX, 500, (at + 1) * BOX_PX, 500 + BOX_PX))
            for at in range(len(GLYPHS))
        ]
    *drawn, missing, also_missing = (ink(box) for box in boxes)
    assert missing == also_missing, "what no font has looks the same"
    assert len({*drawn, missing}) == len(drawn) + 1
    assert [is_coloured(box) for box in boxes] == [glyph == "🚀" for glyph in GLYPHS]


def ink(box: Image.Image) -> bytes:
    """The glyph without its place: cut to what is not white."""
    area = ImageChops.invert(box.convert("L")).getbbox()
    assert area is not None, "nothing was drawn"
    return box.crop(area).tobytes()


def is_coloured(box: Image.Image) -> bool:
    red, green, blue = (channel.tobytes() for channel in box.split())
    return any(max(pixel) - min(pixel) > 40 for pixel in zip(red, green, blue, strict=True))


@pytest.mark.parametrize("plan", Plan)
async def test_each_plan_has_its_size(browser_path: Path, plan: Plan) -> None:
    """To the pixel, and without a word beside the pixels."""
    terms = PLAN_TERMS[plan]
    order = order_of(signed_in("Ana"))
    sized = CaptureOrder(
        order.user_id, order.view, terms.picture_width_px, terms.picture_height_px, order.session
    )
    async with engine_with(look_alike(), browser_path) as engine:
        shot = await engine.capture(sized)
    with Image.open(io.BytesIO(shot.png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (terms.picture_width_px, terms.picture_height_px))
        assert not {"Software", "Comment", "date:create"} & picture.info.keys()
    assert not any(chunk in shot.png for chunk in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"))
