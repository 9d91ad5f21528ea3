import io
import json
import zlib

import pytest
from PIL import Image

from deploy.local.chart.strip import CAPACITY_BYTES, MAGIC, StripContent, StripError, decode

_CONTENT = StripContent("BINANCE:BTCUSDT", "60", "Ana López 🚀", 1_767_607_200_000)
_GROUND = (19, 23, 34)


def _payload(content: StripContent) -> bytes:
    fields = [content.symbol, content.interval, content.user, content.last_bar_ms]
    return json.dumps(fields, ensure_ascii=False).encode()


def _framed(payload: bytes) -> bytes:
    body = len(payload).to_bytes(2) + payload
    return MAGIC + body + zlib.crc32(body).to_bytes(4)


def _picture(data: bytes, scale: int = 1, size: tuple[int, int] = (1280, 720)) -> Image.Image:
    picture = Image.new("RGB", size, _GROUND)
    cell = 4 * scale
    bits = "".join(f"{byte:08b}" for byte in data)
    rows = [bits[start : start + 128].ljust(128, "0") for start in range(0, len(bits), 128)]
    for row, cells in enumerate(rows):
        top = size[1] - cell - (row + 1) * cell
        for column, bit in enumerate(cells):
            left = cell + column * cell
            picture.paste((255, 255, 255) if bit == "1" else (0, 0, 0), (left, top, left + cell, top + cell))
    return picture


def _file(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _CONTENT,
        StripContent("A", "D", None, 0),
        StripContent('={"symbol":"BATS:AAPL"}' + "X" * 233, "15", "ñ" * 64, 2**52),
    ],
)
def test_reads_what_was_painted(content: StripContent) -> None:
    """One row or many: the content comes back as it was."""
    assert decode(_file(_picture(_framed(_payload(content))))) == content


@pytest.mark.parametrize(("scale", "size"), [(1, (1920, 1080)), (2, (2560, 1440)), (3, (3840, 2160))])
def test_finds_the_strip_in_pictures_of_any_size(scale: int, size: tuple[int, int]) -> None:
    """The strip keeps to the bottom left, also when the picture has several pixels for one of the page."""
    assert decode(_file(_picture(_framed(_payload(_CONTENT)), scale, size))) == _CONTENT


def test_survives_lossy_pictures() -> None:
    """Cells are big enough for JPEG."""
    assert decode(_file(_picture(_framed(_payload(_CONTENT))), "JPEG")) == _CONTENT


def test_holds_the_longest_content_there_can_be() -> None:
    """The capacity fits into the smallest viewport."""
    long = StripContent("x" * (CAPACITY_BYTES - 40), "60", "Ana", 1_767_607_200_000)
    assert decode(_file(_picture(_framed(_payload(long))))) == long


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1280, 720), _GROUND),
        Image.new("RGB", (1280, 720), (255, 255, 255)),
        Image.new("RGB", (1280, 720), (0, 0, 0)),
        Image.new("RGB", (40, 30), (0, 0, 0)),
        Image.new("RGB", (1, 1), (0, 0, 0)),
    ],
)
def test_a_picture_without_a_strip_is_said_to_have_none(picture: Image.Image) -> None:
    """A page before its data, or another page altogether."""
    with pytest.raises(StripError) as caught:
        decode(_file(picture))
    assert caught.value.reason == "strip_absent"


@pytest.mark.parametrize("file", [b"", b"no picture", _file(Image.new("RGB", (1280, 720)))[:60]])
def test_what_is_no_picture_is_unreadable(file: bytes) -> None:
    """An empty, foreign or cut file."""
    with pytest.raises(StripError) as caught:
        decode(file)
    assert caught.value.reason == "picture_unreadable"


@pytest.mark.parametrize("position", range(len(MAGIC), len(_framed(_payload(_CONTENT)))))
def test_a_flipped_bit_is_noticed_wherever_it_is(position: int) -> None:
    """Length, payload and checksum guard each other."""
    data = bytearray(_framed(_payload(_CONTENT)))
    data[position] ^= 0x10
    with pytest.raises(StripError) as caught:
        decode(_file(_picture(bytes(data))))
    assert caught.value.reason == "strip_corrupt"


def test_a_grey_cell_is_noticed() -> None:
    """A cell that is neither black nor white says nothing."""
    picture = _picture(_framed(_payload(_CONTENT)))
    left, bottom = 4 + 60 * 4, 720 - 4
    picture.paste((128, 128, 128), (left, bottom - 4, left + 4, bottom))
    with pytest.raises(StripError) as caught:
        decode(_file(picture))
    assert caught.value.reason == "strip_corrupt"


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'["A","60",null,"soon"]', b"\xff"])
def test_a_foreign_payload_is_noticed(payload: bytes) -> None:
    """A right checksum does not make up for wrong content."""
    with pytest.raises(StripError) as caught:
        decode(_file(_picture(_framed(payload))))
    assert caught.value.reason == "strip_corrupt"
