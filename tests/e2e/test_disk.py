"""A store in trouble fails no install: downloads go on uncached, one line says so, /healthz shows it, and it recovers by itself.

A small file system needs a mount, which root may make: without that the tests on one are left out.
"""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.factories import MakeProxy
from tests.support.house import published
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile
from tests.support.wire import Wire, fetch, fetch_many

MB = 1_000_000
NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def health(proxy: Proxy) -> dict[str, str]:
    """The lines of trouble on /healthz."""
    state = json.loads(proxy.get("/healthz").body)
    assert (state["status"] == "ok") == (not state["trouble"])
    found: dict[str, str] = state["trouble"]
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def get(proxy: Proxy, release: ReleaseFile) -> str:
    """Fetch a file, right to its last byte: its Cache-Status."""
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256), answer.error
    return answer.headers["Cache-Status"] or ""


def is_kept(proxy: Proxy, release: ReleaseFile) -> bool:
    """Whether a file that is asked for now comes from the store when it is asked for once more."""
    get(proxy, release)
    time.sleep(0.1)
    return "; hit" in get(proxy, release)


def published_all(upstream: Upstream, name: str, size: int, count: int = 1) -> list[ReleaseFile]:
    return [published(upstream, f"{name}-{n}", size, seed=n) for n in range(count)]


def test_a_full_disk(make_proxy: MakeProxy, upstream: Upstream, small_disk: Path) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_dir": str(small_disk / "store")})
    (kept,) = published_all(upstream, "kept", MB)
    assert is_kept(proxy, kept)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(MB))
                file.flush()
        except OSError:
            pass
    releases = published_all(upstream, "full", 3 * MB, 6)
    for release in releases:
        assert "stored" not in get(proxy, release)
    wait_until(lambda: "disk" in health(proxy))
    assert proxy.output.count("pypi_cache_min_free") == 1, proxy.output
    assert "pypi_cache_store_trouble 1.0" in proxy.get("/metrics").body.decode()
    ballast.unlink()
    wait_until(lambda: not health(proxy))
    assert is_kept(proxy, releases[0])
    assert proxy.output.count("disk works again") == 1


def test_files_larger_than_the_disk(make_proxy: MakeProxy, upstream: Upstream, small_disk: Path) -> None:
    """Eight clients at once, 40 MB and 100 MB on a disk of 64 MB, with the options' defaults."""
    proxy = make_proxy(upstream, options={"pypi_cache_dir": str(small_disk / "store")})
    releases = [*published_all(upstream, "large", 40 * MB, 3), *published_all(upstream, "huge", 100 * MB)]
    for release in releases:
        for answer in fetch_many(4, proxy.port, file_url(release), ca=proxy.ca, keep=False):
            assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256), answer.error
    (small,) = published_all(upstream, "small", MB)
    assert is_kept(proxy, small)


def test_a_file_larger_than_the_limit(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """It is served and not kept, Cache-Status does not promise that it is, one line says so, and nothing else goes for it."""
    proxy = make_proxy(upstream, options={"pypi_cache_max_size": "2m"})
    (kept,), (large,) = published_all(upstream, "kept", MB), published_all(upstream, "large", 5 * MB)
    assert is_kept(proxy, kept)
    assert get(proxy, large) == "pypi-cache; fwd=miss"
    wait_until(lambda: "served, not kept" in proxy.output)  # behind the client's back
    time.sleep(1.1)  # no download is remembered any more
    assert proxy.output.count("more than pypi_cache_max_size (2097152); served, not kept") == 1, proxy.output
    assert "; hit" not in get(proxy, large)
    assert "; hit" in get(proxy, kept)
    assert not health(proxy)


def test_a_read_only_disk(make_proxy: MakeProxy, upstream: Upstream, small_disk: Path) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_dir": str(small_disk / "store")})
    kept, more = (published_all(upstream, name, MB)[0] for name in ("kept", "more"))
    assert is_kept(proxy, kept)
    proxy.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    proxy.start()
    for release in (kept, more):
        get(proxy, release)
    assert "store" in health(proxy)
    assert proxy.get("/readyz").status == 200, "installs go on"
    assert proxy.output.count("cannot be used") == 1, proxy.output
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    wait_until(lambda: not health(proxy))
    assert "; hit" in get(proxy, kept), "it is there from before"
    assert is_kept(proxy, more)


def test_a_locked_database(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Another process holds the write lock: pages, files and hits go through meanwhile, and are stored once it has let go."""
    proxy = make_proxy(upstream)
    hit, *cold = published_all(upstream, "locked", 400_000, 4)
    assert is_kept(proxy, hit)
    other = sqlite3.connect(proxy.store / "entries" / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for release in cold:
        get(proxy, release)
        assert fetch(proxy.port, f"{proxy.url}/pypi/simple/{release.project}/", via="own").status == 200
    assert "; hit" in get(proxy, hit)
    assert other.in_transaction, "all of it while the lock was held"
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: not health(proxy))
    upstream.down()
    for release in cold:
        wait_until(lambda release=release: "; hit" in get(proxy, release))  # type: ignore[misc]


def test_a_database_that_is_damaged_while_it_runs(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream, options={"pypi_cache_memory": "2k"})
    before, after = published_all(upstream, "damaged", 400_000, 2)
    assert is_kept(proxy, before)
    database = proxy.store / "entries" / "cache.db"
    database.write_bytes(b"no database at all" * 10_000)
    (proxy.store / "entries" / "cache.db-wal").write_bytes(b"no log at all" * 10_000)
    for release in (before, after):
        get(proxy, release)
    wait_until(lambda: is_kept(proxy, before))
    wait_until(lambda: not health(proxy))
    assert proxy.output.count("the store is set aside") == 1, proxy.output


def test_a_folder_that_is_removed_while_it_runs(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream)
    before, after = published_all(upstream, "removed", 400_000, 2)
    assert is_kept(proxy, before)
    shutil.rmtree(proxy.store)
    for release in (before, after):
        get(proxy, release)
    wait_until(lambda: not health(proxy) and is_kept(proxy, after))


def test_out_of_file_handles(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Clients that are connected get all that they ask for; it is told once, shown, and over when there are handles again."""
    proxy = make_proxy(upstream)
    kept, *cold = published_all(upstream, "handles", 400_000, 4)
    assert is_kept(proxy, kept)
    time.sleep(1.1)  # no download is remembered any more
    with ExitStack() as stack:
        clients = [stack.enter_context(Wire(proxy.port, file_url(kept), ca=proxy.ca)) for _ in range(3)]
        page = stack.enter_context(Wire(proxy.port, proxy.url, via="own"))
        assert page.request("/healthz").status == 200
        limits = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
        stack.callback(resource.prlimit, proxy.pid, resource.RLIMIT_NOFILE, limits)
        resource.prlimit(
            proxy.pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{proxy.pid}/fd").iterdir())), limits[1])
        )
        for client, release in zip(clients, cold, strict=True):
            for each in (kept, release):
                answer = client.request(file_url(each))
                assert (answer.status, answer.complete, answer.sha256) == (200, True, each.sha256), answer.error
        state = json.loads(page.request("/healthz").body)
        assert "ulimit" in state["trouble"]["file handles"]
        assert proxy.output.count("ulimit") == 1, proxy.output
    wait_until(lambda: not health(proxy))
    assert proxy.output.count("file handles works again") == 1
    assert is_kept(proxy, cold[0])


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give a folder to somebody else"
)
def test_a_folder_that_belongs_to_somebody_else(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """The proxy may not even enter it, nor its files (root could: it is started without that power)."""
    proxy = make_proxy(upstream)
    kept, cold = published_all(upstream, "owned", 400_000, 2)
    assert is_kept(proxy, kept)
    proxy.stop()
    give_away(proxy.store, NOBODY)
    proxy.wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-chown"]
    proxy.start()
    for release in (kept, cold):
        assert "stored" not in get(proxy, release)
    assert "Permission denied" in health(proxy)["store"]
    assert proxy.output.count("cannot be used") == 1, proxy.output
    give_away(proxy.store, 0)
    wait_until(lambda: not health(proxy))
    assert "; hit" in get(proxy, kept), "it is there from before"
    assert is_kept(proxy, cold)


def give_away(folder: Path, owner: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner)


def test_something_in_the_folders_place(make_proxy: MakeProxy, upstream: Upstream, tmp_path: Path) -> None:
    """Nothing is kept until that is gone."""
    place = tmp_path / "in-the-way"
    place.write_text("I was here first")
    proxy = make_proxy(upstream, options={"pypi_cache_dir": str(place), "pypi_cache_ready_needs_store": True})
    (release,) = published_all(upstream, "nowhere", 400_000)
    assert "stored" not in get(proxy, release)
    assert "store" in health(proxy)
    assert proxy.output.count("nothing is kept") == 2, "the warning, and the banner"
    unready = proxy.get("/readyz")
    assert (unready.status, json.loads(unready.body)["reasons"]) == (503, ["the store cannot be used"])
    assert proxy.get("/healthz").status == 200, "nothing that a restart would mend"
    place.unlink()
    wait_until(lambda: not health(proxy))
    assert proxy.get("/readyz").status == 200
    assert is_kept(proxy, release)
