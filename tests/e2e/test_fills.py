"""One file, many clients, upstreams that break: one download, the right bytes for everybody, and nothing left behind.

Every wheel is asked for as agents ask for it, by the default index's file URL. What the scripted upstreams have seen is counted:
"one download" is the claim.
"""

import os
import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from pkgcache.rules.policy.circuit_breaker import OPEN_SECONDS
from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import House, leftovers, open_house, published, tidied
from tests.support.index import PageStyle
from tests.support.limits import BREAKER_BY_CLOCK, script_with
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Seen, Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Wire, fetch, fetch_many

MB: Final = 1_000_000
CUTS: Final = int(os.environ.get("PYPI_CACHE_TEST_CUTS", "12"))
"""How many random cuts; 40 is what the issue wants shown (tests/bench/cuts.py)."""


@pytest.fixture(scope="module")
def open_for_all(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("fills") / "proxy") as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    """A proxy and its upstream, honest again after each test; each test publishes wheels of its own."""
    with tidied(open_for_all) as house:
        yield house


def gets(upstream: Upstream, release: ReleaseFile) -> list[Seen]:
    return [seen for seen in upstream.seen(method="GET") if seen.path.endswith(release.quoted_path.rpartition("/")[2])]


def assert_right(release: ReleaseFile, *answers: Fetched) -> None:
    for answer in answers:
        assert (answer.status, answer.complete, answer.error) == (200, True, ""), answer.body[:300]
        assert answer.sha256 == release.sha256


# Herd


def test_a_herd_is_one_download(house: House) -> None:
    release = published(house.upstream, "herd", 2 * MB)
    house.upstream.script(Behaviour("/herd-", pace=2e6))
    answers = fetch_many(50, house.proxy.port, file_url(release), ca=house.proxy.ca, keep=False)
    assert_right(release, *answers)
    assert len(gets(house.upstream, release)) == 1
    told = [answer.headers["Cache-Status"] for answer in answers]
    assert sum("; stored" in each for each in told) == 1, told
    assert sum("; collapsed" in each or "; hit" in each for each in told) == 49, told
    assert leftovers(house.proxy.store) == []


def test_a_late_joiner_catches_up_at_full_speed(house: House) -> None:
    """With 80 % there, who comes now has that at once, and waits for the rest alone."""
    release = published(house.upstream, "late", 2 * MB)
    gate = threading.Event()
    house.upstream.script(Behaviour("/late-", stall_after=1_600_000, gate=gate))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fetch, house.proxy.port, file_url(release), ca=house.proxy.ca)
        house.upstream.wait_until(lambda: house.upstream.bytes_sent(path_contains="/late-") == 1_600_000)
        url = file_url(release)
        with Wire(house.proxy.port, url, ca=house.proxy.ca) as late:
            early = late.request(url, read_limit=1_500_000)
            assert early.body == release.content[:1_500_000]
        gate.set()
        assert_right(release, first.result(), fetch(house.proxy.port, url, ca=house.proxy.ca))
    assert len(gets(house.upstream, release)) == 1


def test_slow_clients_hold_up_nobody(house: House) -> None:
    release = published(house.upstream, "slowly", 4 * MB)
    url = file_url(release)
    with Wire(house.proxy.port, url, ca=house.proxy.ca, receive_buffer=4096) as slow:
        slow.send(url)
        assert_right(release, fetch(house.proxy.port, url, ca=house.proxy.ca, keep=False))
        assert leftovers(house.proxy.store) == []
        assert_right(release, slow.receive(keep=False))
    assert len(gets(house.upstream, release)) == 1


# Two processes on one store


@pytest.fixture
def pair(make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path) -> tuple[Upstream, Proxy, Proxy]:
    """An upstream, and two proxies that share a store."""
    upstream = make_upstream()
    shared = {"pypi_cache_dir": str(tmp_path / "shared")}
    return upstream, make_proxy(upstream, options=shared), make_proxy(upstream, options=shared)


def ask_both(release: ReleaseFile, one: Proxy, other: Proxy, count: int) -> list[list[Fetched]]:
    with ThreadPoolExecutor(2) as pool:
        herds = [
            pool.submit(fetch_many, count, each.port, file_url(release), ca=each.ca, keep=False)
            for each in (one, other)
        ]
        return [herd.result() for herd in herds]


def test_two_processes_are_one_download(pair: tuple[Upstream, Proxy, Proxy], tmp_path: Path) -> None:
    upstream, one, other = pair
    release = published(upstream, "shared", 3 * MB)
    upstream.pace(3e6)
    for herd in ask_both(release, one, other, 20):
        assert_right(release, *herd)
    assert len(gets(upstream, release)) == 1
    upstream.down()
    for each in (one, other):
        assert_right(release, fetch(each.port, file_url(release), ca=each.ca))
    assert leftovers(tmp_path / "shared") == []


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_owner_goes_in_mid_fill(pair: tuple[Upstream, Proxy, Proxy], tmp_path: Path, how: str) -> None:
    """The other process goes on with what is there, and its clients see a pause."""
    upstream, owner, follower = pair
    release = published(upstream, "orphaned", 3 * MB)
    upstream.script(Behaviour("/orphaned-", pace=1.5e6, times=1))
    url = file_url(release)
    with Wire(owner.port, url, ca=owner.ca) as first:
        first.send(url)
        upstream.wait_for(1, path_contains="/orphaned-")
        with ThreadPoolExecutor(1) as pool:
            herd = pool.submit(fetch_many, 10, follower.port, url, ca=follower.ca, keep=False)
            upstream.wait_until(lambda: upstream.bytes_sent(path_contains="/orphaned-") > MB)
            owner.kill() if how == "killed" else owner.stop()
            assert_right(release, *herd.result())
    first_get, second_get = gets(upstream, release)
    assert "range" not in first_get.headers
    assert int(second_get.headers["range"].removeprefix("bytes=").removesuffix("-")) > MB // 2
    assert "if-range" not in second_get.headers, "the validator was another process's"
    upstream.down()
    assert_right(release, fetch(follower.port, url, ca=follower.ca))
    assert leftovers(tmp_path / "shared") == []


# Clients that leave


def leave_at(proxy: Proxy, url: str, size: int) -> None:
    with Wire(proxy.port, url, ca=proxy.ca) as wire:
        assert wire.request(url, read_limit=size).size == size


def test_the_first_of_ten_leaves(house: House) -> None:
    release = published(house.upstream, "first-leaves", 2 * MB)
    house.upstream.script(Behaviour("/first_leaves-", pace=1.5e6))
    url = file_url(release)
    with Wire(house.proxy.port, url, ca=house.proxy.ca) as first, ThreadPoolExecutor(1) as pool:
        first.send(url)
        house.upstream.wait_for(1, path_contains="/first_leaves-")
        others = pool.submit(fetch_many, 9, house.proxy.port, url, ca=house.proxy.ca, keep=False)
        assert first.receive(read_limit=release.size // 10).size == release.size // 10
        first.close()
        assert_right(release, *others.result())
    assert len(gets(house.upstream, release)) == 1


def test_all_leave_and_it_goes_on(house: House) -> None:
    """`pypi_cache_finish_abandoned` is 2 GB unless said otherwise."""
    release = published(house.upstream, "all-leave")
    house.upstream.script(Behaviour("/all_leave-", pace=2e6))
    leave_at(house.proxy, file_url(release), 100_000)
    house.upstream.wait_until(lambda: gets(house.upstream, release)[0].finished)
    assert leftovers(house.proxy.store) == []
    house.upstream.down()
    assert_right(release, fetch(house.proxy.port, file_url(release), ca=house.proxy.ca))


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("limit", ["0", "500k"])
def test_all_leave_and_it_is_too_large_to_go_on(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, limit: str, framing: str
) -> None:
    """Also where the upstream does not say how large it is, once it has turned out to be."""
    upstream = make_upstream()
    proxy = make_proxy(upstream, options={"pypi_cache_finish_abandoned": limit})
    release = published(upstream, "abandoned", 4 * MB)
    upstream.script(Behaviour("/abandoned-", stall_after=MB, framing=framing, times=1))  # type: ignore[arg-type]
    leave_at(proxy, file_url(release), 100_000)
    upstream.wait_until(lambda: gets(upstream, release)[0].aborted)
    assert leftovers(proxy.store) == []
    assert_right(release, fetch(proxy.port, file_url(release), ca=proxy.ca))
    assert len(gets(upstream, release)) == 2


def test_who_comes_right_after_the_last_has_left(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A stopped download is no answer for anybody: what it left is gone on with."""
    upstream = make_upstream()
    proxy = make_proxy(upstream, options={"pypi_cache_finish_abandoned": "0"})
    for number in range(5):
        release = published(upstream, f"again-{'x' * number}")
        upstream.script(Behaviour(r"/again", pace=3e6))
        leave_at(proxy, file_url(release), 50_000 + 40_000 * number)
        assert_right(release, fetch(proxy.port, file_url(release), ca=proxy.ca))


# Resume and failover


def test_it_is_resumed_where_it_broke_off(house: House) -> None:
    """`Range` from the first byte that is missing, and `If-Range` with the validator that this upstream gave."""
    release = published(house.upstream, "resumed")
    house.upstream.script(
        *(Behaviour("/resumed-", cut_after=300_000, pace=4e6, skip=number, times=1) for number in range(2))
    )
    assert_right(release, fetch(house.proxy.port, file_url(release), ca=house.proxy.ca))
    asked = gets(house.upstream, release)
    assert [seen.headers.get("range") for seen in asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert [seen.headers.get("if-range") for seen in asked] == [None, *[f'"{release.sha256[:32]}"'] * 2]


def cut_offsets(count: int, size: int) -> list[int]:
    source = random.Random(3)
    return [source.randrange(size) for _ in range(count)]


@pytest.fixture(scope="module")
def two_mirrors(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[tuple[Proxy, Upstream, Upstream]]:
    """`pypi=A B`."""
    with Upstream(ca) as a, Upstream(ca) as b:
        options = {"pypi_cache_index": [f"pypi={a.index_url} {b.index_url}"]}
        with Proxy(tmp_path_factory.mktemp("mirrors") / "p", options=options, upstream_ca=ca.bundle) as proxy:
            yield proxy, a, b
            assert not proxy.complaints, proxy.output


@pytest.mark.parametrize("cut_after", cut_offsets(CUTS, 700_000))
def test_both_mirrors_break_off_anywhere(two_mirrors: tuple[Proxy, Upstream, Upstream], cut_after: int) -> None:
    """A breaks off after that byte, and so does A's or B's continuation; the client sees the right file and nothing else."""
    proxy, a, b = two_mirrors
    release = make_wheel(f"cut-{cut_after}", payload_size=700_000)
    for upstream in (a, b):
        upstream.unscript()
        upstream.add(release)
        upstream.script(
            Behaviour("/cut_", cut_after=cut_after, times=1, reset=cut_after % 2 == 0),
            Behaviour("/cut_", cut_after=cut_after // 3, skip=1, times=1),
        )
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert_right(release, answer)
    assert leftovers(proxy.store) == []


def test_another_mirror_is_asked_without_if_range(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A's validator means nothing to B: the digest alone makes mixing safe."""
    a, b = make_upstream(), make_upstream()
    release = published(a, "failover")
    b.add(release)
    a.script(Behaviour("/failover-", cut_after=400_000, pace=4e6, times=1), Behaviour("/failover-", skip=1, status=503))
    proxy = make_proxy(a, b)
    assert_right(release, fetch(proxy.port, file_url(release), ca=proxy.ca))
    asked = gets(b, release)
    assert [seen.headers["range"] for seen in asked] == ["bytes=400000-"]
    assert "if-range" not in asked[0].headers


def test_an_upstream_that_ignores_range_is_skipped_forward(house: House) -> None:
    release = published(house.upstream, "no-ranges")
    house.upstream.script(
        Behaviour("/no_ranges-", cut_after=600_000, pace=4e6, times=1), Behaviour("/no_ranges-", ignore_range=True)
    )
    assert_right(release, fetch(house.proxy.port, file_url(release), ca=house.proxy.ca))
    assert [seen.status for seen in gets(house.upstream, release)] == [200, 200]


def test_a_mirror_that_lies_and_breaks_off_does_not_spoil_the_next(
    make_proxy: MakeProxy, make_upstream: MakeUpstream
) -> None:
    """A's wrong first half with B's right second half is wrong; B is then asked for all of it, and not blamed."""
    a, b = make_upstream(), make_upstream()
    release = published(a, "spoilt")
    b.add(release)
    a.script(
        Behaviour("/spoilt-", wrong_byte_at=5, cut_after=500_000, pace=4e6), Behaviour("/spoilt-", skip=1, status=503)
    )
    proxy = make_proxy(a, b)
    cut = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert not cut.complete
    assert_right(release, fetch(proxy.port, file_url(release), ca=proxy.ca))
    assert "range" not in gets(b, release)[-1].headers


def test_mirrors_that_lack_it_are_passed_over(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Also in the middle of a file: the one that has the rest may have lost it since."""
    a, b, c = make_upstream(), make_upstream(), make_upstream()
    release = published(a, "lacked")
    c.add(release)
    a.script(Behaviour("/lacked-", cut_after=300_000, pace=4e6, times=1), Behaviour("/lacked-", skip=1, status=404))
    proxy = make_proxy(a, b, c)
    assert_right(release, fetch(proxy.port, file_url(release), ca=proxy.ca))
    assert [len(gets(each, release)) for each in (a, b, c)] == [2, 1, 1]


def test_a_dead_mirror_is_left_alone_and_a_probe_brings_it_back(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    a, b = make_upstream(), make_upstream()
    releases = [published(a, f"broken-{'x' * number}", 1000) for number in range(8)]
    b.add(*releases)
    a.script(Behaviour("/broken", status=503))
    proxy = make_proxy(a, b, script=script_with(tmp_path, BREAKER_BY_CLOCK))

    def ask(number: int) -> int:
        """How often A was asked for it."""
        assert_right(releases[number], fetch(proxy.port, file_url(releases[number]), ca=proxy.ca))
        return len(gets(a, releases[number]))

    assert [ask(0), ask(1)] == [1, 1]
    assert [ask(2), ask(3)] == [0, 0], "a dead mirror was asked"
    proxy.lapse(OPEN_SECONDS)
    assert [ask(4), ask(5)] == [1, 0], "one probe is sent, and no more"
    a.unscript()
    proxy.lapse(OPEN_SECONDS)
    assert [ask(6), ask(7)] == [1, 1], "the probe did not bring it back"


def test_a_client_that_leaves_is_no_fault_of_the_upstream(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Ranges passed through, whose clients leave while the mirror pauses: it is not left alone for that."""
    a, b = make_upstream(), make_upstream()
    release, after = published(a, "paused"), published(a, "after", 1000)
    b.add(release, after)
    a.script(Behaviour("/paused-", stall_after=1000))
    proxy = make_proxy(a, b)
    url = file_url(release)
    for number in range(4):
        with Wire(proxy.port, url, ca=proxy.ca) as wire:
            wire.send(url, headers={"Range": "bytes=100-50000"})
            a.wait_until(lambda n=number: len(gets(a, release)) == n + 1 and gets(a, release)[n].bytes_sent == 1000)  # type: ignore[misc]
            time.sleep(0.1)
        a.wait_until(lambda n=number: gets(a, release)[n].aborted)  # type: ignore[misc]
    assert_right(after, fetch(proxy.port, file_url(after), ca=proxy.ca))
    assert [len(gets(each, after)) for each in (a, b)] == [1, 0]
    assert "upstream_failures_total{" not in proxy.get("/metrics").body.decode()


# Metadata and signatures


def metadata_url(release: ReleaseFile) -> str:
    return file_url(release, ".metadata")


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
@pytest.mark.parametrize("kind", ["json", "html"])
def test_metadata_that_the_mirror_lacks_is_taken_out_of_the_wheel(house: House, kind: str, ranges: bool) -> None:
    """By ranges of the wheel, against the page's digest; no fill of the wheel starts, and the second time nothing is asked."""
    release = published(house.upstream, f"taken-out-{kind}-{ranges}", 600_000)
    house.upstream.serves_metadata = False
    if not ranges:
        house.upstream.script(Behaviour(r"\.whl$", ignore_range=True))
    try:
        assert house.page(release.project, kind).status == 200
        got = house.fetch(metadata_url(release))
        assert (got.status, got.body) == (200, release.metadata)
        spans = [seen.headers.get("range", "") for seen in gets(house.upstream, release)]
        assert spans
        assert all(spans)
        if ranges:
            assert house.upstream.bytes_sent(path_contains=release.filename) < 300_000
        house.upstream.clear()
        assert house.fetch(metadata_url(release)).body == release.metadata
        assert house.upstream.requests == []
    finally:
        house.upstream.serves_metadata = True


def test_metadata_of_a_wheel_that_lies_is_refused(house: House) -> None:
    """The page's digest decides."""
    release = published(house.upstream, "lying-wheel", 0)
    other = make_wheel("lying-wheel", requires=("something-else",))
    house.upstream.serves_metadata = False
    house.upstream.script(Behaviour(r"lying_wheel-.*whl$", content=other.content))
    try:
        house.page(release.project)
        got = house.fetch(metadata_url(release))
        assert got.status == 502
        assert other.metadata not in got.body
        house.upstream.unscript()
        assert house.fetch(metadata_url(release)).body == release.metadata
    finally:
        house.upstream.serves_metadata = True


def test_metadata_is_verified_and_stored(house: House) -> None:
    release = published(house.upstream, "well-described", 0)
    house.page(release.project)
    house.upstream.script(Behaviour(r"\.metadata$", wrong_byte_at=3))
    wrong = house.fetch(metadata_url(release))
    assert wrong.body != release.metadata
    assert wrong.status == 502 or not wrong.complete or release.metadata == wrong.body
    house.upstream.unscript()
    for _ in range(2):
        assert house.fetch(metadata_url(release)).body == release.metadata
    assert house.upstream.count(path_contains=".metadata", method="GET", status=200) <= 3


def test_metadata_that_no_page_advertises_is_a_404(house: House) -> None:
    release = published(house.upstream, "undescribed", 0)
    house.upstream.style = PageStyle(core_metadata=False)
    house.upstream.serves_metadata = False
    try:
        house.page(release.project)
        assert house.fetch(metadata_url(release)).status == 404
    finally:
        house.upstream.serves_metadata = True


@pytest.mark.parametrize("suffix", [".asc", ".provenance"])
def test_signatures_and_provenance_are_cached(house: House, suffix: str) -> None:
    """Without a digest they are kept as a page is: by what the upstream says of their lifetime."""
    release = published(house.upstream, f"signed{suffix.replace('.', '-')}", 0)
    house.upstream.serve(f"/pypi/{release.path}{suffix}", b"-----BEGIN-----", Cache_Control="max-age=600")
    for _ in range(2):
        got = house.fetch(file_url(release, suffix))
        assert (got.status, got.body) == (200, b"-----BEGIN-----")
    assert house.upstream.count(path_contains=suffix) == 1


def test_a_signature_that_has_changed_replaces_the_stored_one(house: House) -> None:
    """Past its lifetime it is asked for again; the stored one is no answer to the download that is to replace it."""
    release = published(house.upstream, "re-signed", 0)
    path = f"/pypi/{release.path}.asc"
    house.upstream.serve(path, b"first", Cache_Control="max-age=0")

    def asked() -> bytes:
        return house.fetch(file_url(release, ".asc")).body

    assert asked() == b"first"
    # What has just been fetched is shared for a moment with those who have asked meanwhile
    assert eventually(asked, lambda _: house.upstream.count(path_contains=".asc") > 1) == b"first"
    house.upstream.serve(path, b"second", Cache_Control="max-age=0")
    eventually(asked, lambda got: got == b"second")


def test_names_of_growing_files_tell_nothing(house: House) -> None:
    release = published(house.upstream, "secretly")
    gate = threading.Event()
    house.upstream.script(Behaviour("/secretly-", stall_after=500_000, gate=gate))
    with Wire(house.proxy.port, file_url(release), ca=house.proxy.ca) as wire:
        wire.send(file_url(release))
        house.upstream.wait_until(lambda: house.upstream.bytes_sent(path_contains="/secretly-") == 500_000)
        found = [path.name for path in (house.proxy.store / "growing").iterdir()]
        assert found
        assert all(re.fullmatch(r"[0-9a-f]{32}\.(part|json|new)", name) for name in found)
        gate.set()
        assert_right(release, wire.receive())
    assert names.FILES_HOST not in "".join(found)
