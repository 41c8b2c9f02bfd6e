"""Ranges of files that are not there: kept for the next agent that reads them, and for when no upstream is left.

How they are passed through in the first place, and that they start no fill, is in test_ranges.py.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import House, cache_status_of, open_house, tidied
from tests.support.index import PageStyle
from tests.support.names import file_url
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched

MB: Final = 1_000_000


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("parts") / "proxy") as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def wheel(name: str, size: int = 300_000) -> ReleaseFile:
    return make_wheel(name, payload_size=size, seed=len(name))


def part(house: House, release: ReleaseFile, span: str, **headers: str) -> Fetched:
    return house.fetch(file_url(release), headers={"Range": f"bytes={span}", **headers})


def read_again(house: House, release: ReleaseFile, span: str) -> Fetched:
    """A part that has been read, once it is kept: that is behind the first reader's back."""
    return eventually(
        lambda: part(house, release, span), lambda answer: cache_status_of(answer).startswith("pypi-cache; hit")
    )


@pytest.mark.parametrize(
    ("first", "then"),
    [("-10000", "-10000"), ("-10000", "-22"), ("1000-1999", "1000-1999"), ("1000-1999", "1500-1509")],
)
def test_a_part_is_read_again(first: str, then: str, house: House) -> None:
    """Also a smaller one within it, and a HEAD: byte for byte, and no upstream is asked."""
    release = wheel(f"again{first}then{then}")
    house.upstream.add(release)
    cold = part(house, release, first)
    assert (cold.status, cache_status_of(cold)) == (206, "pypi-cache; fwd=partial; fwd-status=206; stored")
    again = read_again(house, release, first)
    assert (again.status, again.body) == (206, cold.body)
    for header in (
        "Content-Range",
        "Content-Length",
        "Content-Type",
        "Last-Modified",
        "Cache-Control",
        "Accept-Ranges",
    ):
        assert again.headers[header] == cold.headers[header], header
    assert re.fullmatch(r"pypi-cache; hit; ttl=\d+", cache_status_of(again))
    house.upstream.down()
    smaller = part(house, release, then, Cache_Control="no-cache")
    start, stop = (int(each) for each in re.findall(r"\d+", smaller.headers["Content-Range"] or "")[:2])
    assert (smaller.status, smaller.body) == (206, release.content[start : stop + 1])
    head = house.fetch(file_url(release), method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(release.size), b"")
    assert head.headers["Accept-Ranges"] == "bytes"


def test_what_is_no_kept_part_is_asked_for(house: House) -> None:
    """Bytes beyond it, one past the end, and what joins a part to the rest: that is the file."""
    release = wheel("beyond")
    house.upstream.add(release)
    part(house, release, "1000-1999")
    kept = read_again(house, release, "1000-1999")
    for span, status in (("1000-2000", 206), ("999999999-", 416)):
        house.upstream.clear()
        assert part(house, release, span).status == status
        assert house.file_requests(release) == 1, span
    house.upstream.clear()
    rest = part(house, release, "1000-1999", **{"If-Range": str(kept.headers["ETag"])})
    assert (rest.status, rest.sha256) == (200, release.sha256)
    assert house.file_requests(release) == 1


def test_the_file_goes_before_its_parts(house: House) -> None:
    """Once it is there it is verified, and its entity tag is its digest."""
    release = wheel("whole-later")
    house.upstream.add(release)
    part(house, release, "-1000")
    read_again(house, release, "-1000")
    assert house.fetch(file_url(release)).sha256 == release.sha256
    house.proxy.at_rest()
    answer = part(house, release, "-1000")
    assert (answer.status, answer.body) == (206, release.content[-1000:])
    assert answer.headers["ETag"] == house.fetch(file_url(release)).headers["ETag"]


def test_long_ranges_are_not_kept(house: House, tmp_path: Path) -> None:
    """Nor more than a few megabytes of one file: then the oldest part goes."""
    release = make_wheel("very-long", payload_size=20 * MB, folder=tmp_path)
    house.upstream.add(release)
    long = part(house, release, f"0-{3 * MB}")
    assert cache_status_of(long) == "pypi-cache; fwd=partial; fwd-status=206"
    for number in range(1, 4):
        span = f"{number * 4 * MB}-{number * 4 * MB + 2 * MB - 1}"
        part(house, release, span)
        read_again(house, release, span)
    house.upstream.clear()
    for number, asked in ((3, 0), (2, 0), (1, 1)):
        assert part(house, release, f"{number * 4 * MB}-{number * 4 * MB + 2 * MB - 1}").status == 206
        assert house.file_requests(release) == asked, number


def test_a_part_that_did_not_come_whole(house: House) -> None:
    """Is not kept."""
    release = wheel("cut")
    house.upstream.add(release)
    house.upstream.script(Behaviour(release.filename, cut_after=500, times=1))
    assert not part(house, release, "1000-1999").complete
    time.sleep(0.3)
    assert part(house, release, "1000-1999").body == release.content[1000:2000]
    assert house.file_requests(release) == 2


def test_a_part_past_its_lifetime(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """It is asked for anew, since nothing but the upstream vouches for it; given as stale where none answers; a restart changes nothing."""
    upstream = make_upstream(release := wheel("lapsing"))
    house = House(upstream, make_proxy(upstream, options={"pypi_cache_index_ttl": "1h"}))
    for _ in range(2):
        assert cache_status_of(part(house, release, "-1000")) == "pypi-cache; fwd=partial; fwd-status=206; stored"
        read_again(house, release, "-1000")
        house.proxy.lapse()
    upstream.down()
    house.proxy.restart()
    stale = part(house, release, "-1000")
    assert (stale.status, stale.body) == (206, release.content[-1000:])
    assert re.fullmatch(r"pypi-cache; hit; ttl=-\d+; detail=stale-if-error", cache_status_of(stale))
    assert stale.headers["Cache-Control"] == "no-store"
    head = house.fetch(file_url(release), method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(release.size))
    assert part(house, release, "-2000").status in {503, 504}, "nobody has read that"
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    assert part(house, release, "-1000").body == stale.body


def test_a_resolution_without_its_upstream(house: House, tmp_path: Path) -> None:
    """uv reads the wheels' metadata by ranges where a page tells of none, and downloads nothing.

    The next agent's resolution, with the mirror down, used to end at the first HEAD: what was passed through was kept nowhere.
    """
    house.upstream.style, house.upstream.serves_metadata = PageStyle(core_metadata=False), False
    leaf, top = (
        make_wheel("unread-leaf", payload_size=1_500_000, seed=1),
        make_wheel("unread", requires=("unread-leaf",), payload_size=1_500_000, seed=2),
    )
    house.upstream.add(leaf, top)
    try:
        for number in range(2):
            agent = tmp_path / f"agent-{number}"
            agent.mkdir()
            result = clients.uv_compile(agent, ["unread"], env=clients.UV_ENV.env(house.proxy)).ok()
            assert "unread-leaf==1.0" in result.stdout
            if number == 0:  # what it has read is kept behind its back
                for seen in house.upstream.seen(method="GET", path_contains=".whl"):
                    release = leaf if leaf.filename in seen.path else top
                    read_again(house, release, seen.headers["range"].removeprefix("bytes="))
                house.upstream.down()
    finally:
        house.upstream.serves_metadata = True
    assert house.upstream.bytes_sent(path_contains=".whl") < MB


def test_a_part_that_rots(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """No digest of the page tells, so its own does: it is dropped, and read from the upstream again."""
    upstream = make_upstream(release := wheel("rotting", 10 * MB))
    house = House(upstream, make_proxy(upstream))
    span = f"{MB}-{2 * MB - 1}"
    part(house, release, span)
    read_again(house, release, span)
    house.proxy.stop()
    (path,) = (each for each in house.proxy.store.rglob("*") if each.is_file() and each.stat().st_size == MB)
    path.write_bytes(bytes(MB))
    house.proxy.start()
    answer = part(house, release, span)
    assert cache_status_of(answer) == "pypi-cache; fwd=partial; fwd-status=206; stored"
    assert answer.body == read_again(house, release, span).body == release.content[MB : 2 * MB]
    assert "damaged on the disk" in house.proxy.output
