"""Signed links: what opens a picture, and for how long."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from api.links import PICTURES_PATH, PictureLinks
from runtime.clock import utc_now
from runtime.errors import InvalidError
from schemas.plans import Plan
from tests.support.api import LINK_LIFETIME_S, LINK_SECRET, ORIGIN, picture_links
from tests.support.clock import FakeClock

KEY = "ab/c_d-1.png"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def links(clock: FakeClock) -> PictureLinks:
    return picture_links(clock)


def parts(url: str) -> tuple[str, str, str]:
    """Key, expiry and signature of a link."""
    split = urlsplit(url)
    query = parse_qs(split.query, strict_parsing=True)
    return split.path.removeprefix(PICTURES_PATH), query["expires"][0], query["signature"][0]


def test_a_link_works_for_its_lifetime_and_not_for_ever(clock: FakeClock, links: PictureLinks) -> None:
    """It opens at once and until its lifetime is over, and no longer than a minute after that."""
    link = parts(links.mint(KEY))
    assert LINK_LIFETIME_S <= links.check(*link) <= LINK_LIFETIME_S + 60
    clock.move(LINK_LIFETIME_S - 1)
    links.check(*link)
    clock.move(61)
    with pytest.raises(InvalidError, match="expired"):
        links.check(*link)


def test_links_of_the_same_minute_are_equal(clock: FakeClock, links: PictureLinks) -> None:
    """Reading an item again does not make a browser load its picture again."""
    clock.set_unix_ms(60_000 * 29_000_000 + 1_000)
    first = links.mint(KEY)
    clock.move(58)
    assert links.mint(KEY) == first
    clock.move(60)
    assert links.mint(KEY) != first


def test_a_short_lifetime_is_kept(clock: FakeClock) -> None:
    """The rounding never makes a link live more than twice as long as was asked for."""
    links = PictureLinks(LINK_SECRET, ORIGIN, 2, clock)
    assert links.check(*parts(links.mint(KEY))) <= 4


def test_a_link_names_the_public_origin(links: PictureLinks) -> None:
    """The link is complete: scheme, host, path and query."""
    assert links.mint(KEY).startswith(f"{ORIGIN}/pictures/{KEY}?expires=")


def test_every_part_is_signed(links: PictureLinks) -> None:
    """Another key, a later expiry, the same expiry in other digits or another signature: none opens."""
    key, expires, signature = parts(links.mint(KEY))
    last = "0" if signature[-1] != "0" else "1"
    altered = [
        ("ab/other.png", expires, signature),
        (key, str(int(expires) + 1), signature),
        (key, "0" + expires, signature),
        (key, expires, signature[:-1] + last),
        (key, expires, signature[:-1]),
        (key, expires, signature.upper()),
        (key, expires, ""),
        (key, expires, "é"),
        (key, "", signature),
        (key, expires, "\udc80"),
    ]
    assert [link for link in altered if opens(links, *link)] == []


@pytest.mark.parametrize(
    "key",
    [
        *("", ".png", "a.jpg", "a.b.png", "é.png", "a.png\n", "a\0.png"),
        *("../a.png", "a/../b.png", "./a.png", "/a.png", "a//b.png", "a.png/", "a\\b.png", "a%2fb.png"),
        *("x" * 200 + ".png", "a/" * 9 + "a.png"),
    ],
)
def test_only_plain_keys_have_links(links: PictureLinks, key: str) -> None:
    """What could name a file elsewhere gets no link, and would not open if it were signed."""
    with pytest.raises(InvalidError, match="invalid_key"):
        links.mint(key)
    expires = parts(links.mint(KEY))[1]
    assert not opens(links, key, expires, links._signature(key, expires))


def test_the_secret_is_not_shown(links: PictureLinks) -> None:
    """Printing what signs does not print the secret."""
    assert LINK_SECRET.get_secret_value() not in repr(links)


def test_a_picture_past_its_retention_has_no_link(clock: FakeClock, links: PictureLinks) -> None:
    """The name tells the plan and the day; an older kind of name tells nothing and keeps its link."""
    day = utc_now(clock).date()
    kept, past = (f"{Plan.FREE}/{day - timedelta(days=age):%Y/%m/%d}/a.png" for age in (30, 31))
    assert links.mint_kept(kept) == links.mint(kept)
    assert links.mint_kept(past) is None
    assert links.mint_kept(KEY) == links.mint(KEY)


def opens(links: PictureLinks, key: str, expires: str, signature: str) -> bool:
    try:
        links.check(key, expires, signature)
    except InvalidError:
        return False
    return True
