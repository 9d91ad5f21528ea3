import io

import pytest
from PIL import Image, PngImagePlugin

from capture.outcomes import CaptureFailedError, Outcome
from capture.picture import checked_picture, without_metadata
from tests.support.capture_parts import png_of


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, **{"format": "PNG", **options})  # type: ignore[arg-type]  # options of a test
    return out.getvalue()


def test_a_good_picture_passes() -> None:
    """Byte for byte, when it holds no metadata."""
    png = png_of(1280, 720)
    assert checked_picture(png, 1280, 720) == png


@pytest.mark.parametrize(
    "png",
    [
        png_of(1280, 719),  # another size
        saved(Image.new("RGB", (1280, 720), "#131722")),  # one shade
        saved(Image.new("RGB", (1280, 720), "white"), format="JPEG"),
        b"",
        b"<html>no picture</html>",
        png_of(1280, 720)[:200],  # cut off
    ],
)
def test_what_is_no_picture_of_a_chart_is_refused(png: bytes) -> None:
    """It never counts as a success."""
    with pytest.raises(CaptureFailedError) as failure:
        checked_picture(png, 1280, 720)
    assert failure.value.outcome is Outcome.BLANK_PICTURE


@pytest.mark.parametrize("pane", [(640, 360, 1280, 720), (2000, 0, 2400, 100), (0, 0, 0, 0)])
def test_a_frame_around_nothing_is_refused(pane: tuple[int, int, int, int]) -> None:
    """There is something in the picture, but not where the chart must be, or the chart is not in it."""
    png = png_of(1280, 720)
    assert checked_picture(png, 1280, 720, (0, 0, 1280, 720)) == png
    with pytest.raises(CaptureFailedError) as failure:
        checked_picture(png, 1280, 720, pane)
    assert failure.value.outcome is Outcome.BLANK_PICTURE


def test_metadata_is_dropped_and_pixels_stay() -> None:
    """Text chunks may hold the address of the page or the name of the program."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a browser")
    info.add_itxt("Comment", "a user", zip=True)
    with Image.open(io.BytesIO(png_of())) as image:
        exif = Image.Exif()
        exif[0x010E] = "a description"
        png = saved(image, pnginfo=info, exif=exif)
    stripped = without_metadata(png)
    assert b"Software" in png
    with Image.open(io.BytesIO(stripped)) as after, Image.open(io.BytesIO(png)) as before:
        assert after.info.keys() & {"Software", "Comment", "exif"} == set()
        assert after.tobytes() == before.tobytes()
    assert all(word not in stripped for word in (b"Software", b"iTXt", b"tEXt", b"eXIf"))
