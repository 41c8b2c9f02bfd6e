"""`pypi_cache_max_size` and `pypi_cache_min_free` hold while files grow, whether their length is known or not, for all of them together.

The client gets its file all the same, as far as its bytes can be verified without the disk.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy
from tests.support.house import leftovers, published
from tests.support.index import JSON_TYPE
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile
from tests.support.wire import Fetched, fetch, fetch_many

MB = 1_000_000
LIMIT = 12 * 1024 * 1024
SLACK = 4_000_000
"""The database and its log, and a chunk of each download on its way."""


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Bytes of all files below a folder, looked at all the time; the most of it is the list's one value.

    A look takes a while, in which files are moved, evicted and grow: only those count that are still there when all have been seen.
    """
    most, stop = [0], threading.Event()

    def sizes() -> Iterator[tuple[Path, os.stat_result]]:
        for path in folder.rglob("*"):
            with suppress(OSError):
                yield path, path.stat()

    def look() -> None:
        while not stop.wait(0.005):
            seen, left = list(sizes()), {(path, found.st_ino) for path, found in sizes()}
            most[0] = max(most[0], sum(found.st_size for path, found in seen if (path, found.st_ino) in left))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def get(proxy: Proxy, release: ReleaseFile) -> Fetched:
    return fetch(proxy.port, file_url(release), ca=proxy.ca)


@pytest.fixture
def limited(make_proxy: MakeProxy, upstream: Upstream) -> Proxy:
    return make_proxy(upstream, options={"pypi_cache_max_size": str(LIMIT), "pypi_cache_min_free": "0"})


def test_files_of_any_length(limited: Proxy, upstream: Upstream) -> None:
    """One after the other, over a store that is nearly full: evicted for what fits, served uncached where it does not."""
    kept = [published(upstream, f"kept-{number}", 3 * MB, seed=number) for number in range(3)]
    for release in kept:
        assert get(limited, release).sha256 == release.sha256
    cases = {"length": (5 * MB, True), "chunked": (5 * MB, True), "close": (5 * MB, True)}
    sizes = {**cases, **{f"{framing}-large": (16 * MB, False) for framing in cases}}
    with watched(limited.store) as most:
        for name, (size, fits) in sizes.items():
            release = published(upstream, f"grows-{name}", size, seed=len(name))
            framing = name.removesuffix("-large")
            upstream.script(Behaviour(f"grows_{name.replace('-', '_')}-", framing=framing))  # type: ignore[arg-type]
            for again in range(2):
                answer = get(limited, release)
                assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256), answer.error
                assert not leftovers(limited.store)
                assert ("; hit" in (answer.headers["Cache-Status"] or "")) == (fits and bool(again)), name
            if not fits:
                what = f"{release.filename}: "
                assert sum(what in line and "served, not kept" in line for line in limited.output.splitlines()) == 1
    assert most[0] <= LIMIT + SLACK, most
    assert not leftovers(limited.store)


def test_many_that_grow_at_once(limited: Proxy, upstream: Upstream) -> None:
    """Each fits, but not all of them together: some are served uncached."""
    releases = [published(upstream, f"together-{number}", 5 * MB, seed=number) for number in range(6)]
    upstream.script(Behaviour(r"together_[024]-.*\.whl", framing="chunked"))
    upstream.pace(15e6)
    threads = []
    answers: dict[str, Fetched] = {}
    with watched(limited.store) as most:
        for release in releases:
            thread = threading.Thread(
                target=lambda release=release: answers.update({release.filename: get(limited, release)})
            )
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
    upstream.pace(None)
    for release in releases:
        answer = answers[release.filename]
        assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256), answer.error
    assert most[0] <= LIMIT + SLACK, most
    assert not leftovers(limited.store)


def test_readers_at_different_places_when_the_limit_is_reached(limited: Proxy, upstream: Upstream) -> None:
    """Each goes on from where it is, with a download of its own."""
    release = published(upstream, "readers", 16 * MB)
    upstream.script(Behaviour(r"readers-.*\.whl", framing="chunked"))
    for answer in fetch_many(4, limited.port, file_url(release), ca=limited.ca, keep=False):
        assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256), answer.error


def test_a_list_of_projects(limited: Proxy, upstream: Upstream) -> None:
    """Its length is known only at the end: it stops at the limit, and is no trouble of the store."""
    names = ",".join(f'{{"name":"{"x" * 40}{number:08}"}}' for number in range(300_000))
    page = f'{{"meta":{{"api-version":"1.0"}},"projects":[{names}]}}'.encode()
    assert len(page) > LIMIT
    upstream.serve(f"{upstream.prefix}/simple/", page, JSON_TYPE)
    with watched(limited.store) as most:
        answer = fetch(limited.port, f"{limited.url}/pypi/simple/", via="own", headers={"Accept": JSON_TYPE})
    assert not answer.complete
    assert most[0] <= LIMIT + SLACK, most
    assert json.loads(limited.get("/healthz").body)["trouble"] == {}
    assert not leftovers(limited.store)


def test_a_small_disk(make_proxy: MakeProxy, upstream: Upstream, tmp_path: Path) -> None:
    """A file without a length on a disk of 64 MB: a tenth of it stays free, and the client gets it all."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        proxy = make_proxy(upstream, options={"pypi_cache_dir": str(folder / "store")})
        release = published(upstream, "no-length", 75 * MB)
        upstream.script(Behaviour(r"no_length-.*\.whl", framing="chunked"))
        with watched(folder) as most:
            assert get(proxy, release).sha256 == release.sha256
        assert most[0] <= 0.9 * 64 * 1024 * 1024 + SLACK, most
        proxy.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
