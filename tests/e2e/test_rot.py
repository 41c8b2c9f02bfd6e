"""A flipped bit in a stored file: the client gets the right bytes or a cut connection, never the wrong file; the next request is right."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.store.watch import HOT_SECONDS
from tests.support.factories import MakeProxy
from tests.support.house import slug
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, fetch

SIZES: Final = (1_000, 60_000, 300_000, 20_000_000)
"""In memory, in memory, re-hashed before the answer, re-hashed beside it."""

RANGES: Final = ("bytes=0-999", "bytes=200-499", "bytes=-500")


def stored_file(proxy: Proxy, release: ReleaseFile) -> Path:
    """Where a release's bytes lie."""
    found = [path for path in (proxy.store / "entries").rglob("*.val") if path.read_bytes() == release.content]
    assert len(found) == 1
    return found[0]


def flip(path: Path, *, offset: int, hidden: bool) -> None:
    """Change one bit; `hidden`: the file's times are put back, as far as anybody can."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    if hidden:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def assert_never_wrong(answer: Fetched, release: ReleaseFile) -> None:
    assert answer.status == 200
    assert not answer.complete or answer.sha256 == release.sha256


@pytest.mark.parametrize("when", ["running", "asked for before", "before the start"])
@pytest.mark.parametrize("hidden", [False, True], ids=["written", "times put back"])
def test_a_flipped_bit(make_proxy: MakeProxy, upstream: Upstream, when: str, hidden: bool) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_memory": "2k"})  # what is in memory cannot rot
    releases = [make_wheel(slug(f"rot {size}"), payload_size=size, seed=size) for size in SIZES]
    upstream.add(*releases)
    for release in releases:
        assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
        if when == "asked for before":
            proxy.at_rest()
            assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
    proxy.at_rest()
    files = [stored_file(proxy, release) for release in releases]
    if when == "before the start":
        proxy.stop()
    for file, release in zip(files, releases, strict=True):
        flip(file, offset=release.size // 2, hidden=hidden)
    if when == "before the start":
        proxy.start()
    for release in releases:
        answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
        assert_never_wrong(answer, release)
        again = fetch(proxy.port, file_url(release), ca=proxy.ca)
        assert (again.complete, again.sha256) == (True, release.sha256)
        assert upstream.count(method="GET", path_contains=release.filename) == 2, "fetched once more, and once only"
    assert proxy.output.count("damaged on the disk") == len(releases)
    assert f"pypi_cache_store_damaged_total {len(releases)}.0" in proxy.get("/metrics").body.decode()


@pytest.mark.parametrize("size", [60_000, 2_000_000, 20_000_000])
def test_a_flipped_bit_and_ranges(make_proxy: MakeProxy, upstream: Upstream, size: int) -> None:
    """A range of a stored file that was not looked at lately waits until all of it was."""
    proxy = make_proxy(upstream, options={"pypi_cache_memory": "2k"})
    for number, span in enumerate(RANGES):
        release = make_wheel(f"ranged-{number}", payload_size=size, seed=number)
        upstream.add(release)
        assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
        proxy.at_rest()
        flip(stored_file(proxy, release), offset=300 if number < 2 else release.size - 100, hidden=True)
        answer = fetch(proxy.port, file_url(release), ca=proxy.ca, headers={"Range": span})
        first, _, last = span.removeprefix("bytes=").partition("-")
        right = release.content[int(first) : int(last) + 1] if first else release.content[-int(last) :]
        assert (answer.status, answer.body) == (206, right)
        whole = fetch(proxy.port, file_url(release), ca=proxy.ca, keep=False)
        assert (whole.complete, whole.sha256) == (True, release.sha256)


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "started anew"])
@pytest.mark.parametrize("size", SIZES)
def test_a_flipped_bit_and_many_readers(make_proxy: MakeProxy, upstream: Upstream, size: int, restarted: bool) -> None:
    """Eight at once, of which some ask for a range: none gets the wrong file to its end, and it is fetched once more, and once only."""
    proxy = make_proxy(upstream, options={"pypi_cache_memory": "2k"})
    release = make_wheel("many", payload_size=size)
    upstream.add(release)
    url, half = file_url(release), release.size // 2
    assert fetch(proxy.port, url, ca=proxy.ca, keep=False).sha256 == release.sha256
    proxy.at_rest()
    if restarted:
        proxy.stop()
    flip(stored_file(proxy, release), offset=half, hidden=True)
    if restarted:
        proxy.start()
    with ThreadPoolExecutor(8) as pool:
        spans = {"Range": f"bytes={half - 400}-{half + 399}"}
        ranges = [pool.submit(fetch, proxy.port, url, ca=proxy.ca, headers=spans) for _ in range(2)]
        answers = [pool.submit(fetch, proxy.port, url, ca=proxy.ca, keep=False) for _ in range(6)]
        for each in answers:
            assert_never_wrong(each.result(), release)
        for each in ranges:
            answer = each.result()
            right = release.content[half - 400 : half + 400]
            assert not answer.complete or (answer.status, answer.body) == (206, right)
    again = fetch(proxy.port, url, ca=proxy.ca, keep=False)
    assert (again.complete, again.sha256) == (True, release.sha256)
    whole = [each for each in upstream.requests if release.filename in each.path and "range" not in each.headers]
    assert len(whole) == 2, "fetched once more, and once only"
    assert proxy.output.count("damaged on the disk") == 1


def test_what_is_in_memory_cannot_rot(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A small file that was asked for lately, with the options' defaults: its row is looked at again, and not its file."""
    proxy = make_proxy(upstream)
    release = make_wheel("hot", payload_size=60_000)
    upstream.add(release)
    for _ in range(2):
        assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
        proxy.at_rest()
    flip(stored_file(proxy, release), offset=release.size // 2, hidden=True)
    for _ in range(2):
        answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
        assert (answer.sha256, "; hit" in answer.headers["Cache-Status"]) == (release.sha256, True)
        proxy.lapse(HOT_SECONDS + 1)
    proxy.restart()
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (answer.complete, answer.sha256) == (True, release.sha256)
    assert upstream.count(method="GET", path_contains=release.filename) == 2


def test_a_good_file_is_not_fetched_again(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Somebody has touched it, and its bytes are the same."""
    proxy = make_proxy(upstream)
    release = make_wheel("touched", payload_size=400_000)
    upstream.add(release)
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
    proxy.at_rest()
    os.utime(stored_file(proxy, release))
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert answer.sha256 == release.sha256
    assert "; hit" in answer.headers["Cache-Status"]
    assert upstream.count(method="GET", path_contains=release.filename) == 1
