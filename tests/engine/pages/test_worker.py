"""The process for large pages: it says what the code here says, and what is too much for it is not tried here."""

import contextlib
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from packaging.version import Version

from pkgcache.engine.pages import worker
from pkgcache.engine.pages.worker import DENSE, LARGE, PageWorker, is_large
from pkgcache.engine.pages.worker_process import without_files
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.json_api_build import Release, find_release
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage, Kind
from pkgcache.rules.simple.transform import TransformSpec, transform
from tests.support.index import project_html, project_json
from tests.support.wheels import make_wheel

MIRROR = "https://mirror.test/pypi/simple/large/"


RELEASES = [make_wheel("large", f"1.{number}") for number in range(400)]
PAGES: dict[Kind, bytes] = {
    "json": project_json("large", RELEASES, MIRROR),
    "html": project_html("large", RELEASES, MIRROR),
}
NO_PAGES: dict[Kind, bytes] = {
    "json": json.dumps({"files": None, "filler": "x" * LARGE}).encode(),
    "html": b"<html>" + b"Welcome to the hotel " * LARGE,
}


def spec(stored: Kind, wanted: Kind, **more: Any) -> TransformSpec:
    context = PageContext(
        upstream=parse_url(MIRROR),
        client_url=parse_url("https://index.test/simple/large/"),
        canonical_files="https://files.test",
        own_prefix="",
    )
    return TransformSpec(
        stored=stored, wanted=wanted, project="large", context=context, shares_pypi_files=True, check=True, **more
    )


@pytest.fixture
def process() -> Iterator[PageWorker]:
    started = PageWorker()
    yield started
    started.close()


def running(process: PageWorker) -> subprocess.Popen[bytes]:
    assert process._process is not None
    return process._process


@pytest.mark.parametrize("stored", ["json", "html"])
@pytest.mark.parametrize("wanted", ["json", "html"])
def test_it_says_what_is_said_here(stored: Kind, wanted: Kind, process: PageWorker) -> None:
    page = PAGES[stored]
    assert len(page) > LARGE
    here, table = transform(page, spec(stored, wanted))
    for _ in range(2):
        made, done, text = process.transform(page, spec(stored, wanted), lambda made: len(made.body))
        assert (made, done, text) == (here, len(here.body), table())
    again, _, _ = process.transform(made.body, spec(wanted, wanted), lambda _: None)
    assert again.edited is False
    assert again.body is made.body
    gone = frozenset(each.filename for each in RELEASES[1:])
    assert process.remove(page, spec(stored, stored), gone) == without_files(page, spec(stored, stored), gone)
    assert process.remove(page, spec(stored, stored), frozenset()).body is page
    assert running(process).poll() is None


def test_a_release(process: PageWorker) -> None:
    for version in ("1.7", "", "3.0", "nonsense"):
        assert process.release(PAGES["json"], version) == find_release(PAGES["json"], version)
    running(process)


@pytest.mark.parametrize("kind", ["json", "html"])
def test_what_is_no_page(kind: Kind, process: PageWorker) -> None:
    """It is refused in the same words, and the process goes on."""
    with pytest.raises(BrokenPage) as here:
        transform(NO_PAGES[kind], spec(kind, kind))
    with pytest.raises(BrokenPage) as there:
        process.transform(NO_PAGES[kind], spec(kind, kind), len)
    assert str(there.value) == str(here.value)
    assert process.transform(PAGES[kind], spec(kind, kind), lambda _: None)[0].edited
    assert running(process).poll() is None


def test_small_pages_need_no_process(process: PageWorker) -> None:
    page = project_json("small", RELEASES[:3], MIRROR)
    assert process.transform(page, spec("json", "json"), lambda _: None)[0].edited
    assert process._process is None


@pytest.mark.parametrize(
    ("page", "large"),
    [
        (bytes(LARGE - 1), False),
        (bytes(LARGE), True),
        (b"<a href=%>" * (DENSE[b"<"] - 1), False),
        (b"<a href=%>" * DENSE[b"<"], True),
        (b'{"files":[' + b"{}," * DENSE[b"{"] + b"1]}", True),
        (b'{"files":[' + b"0," * DENSE[b","] + b"0]}", True),
        (b'{"files":[' + b"[]," * DENSE[b"["] + b"0]}", True),
        (b'{"files":[],' + b",".join(b'"%d":0' % n for n in range(DENSE[b","] + 1)) + b"}", True),
        (b"<a " + b"x=y " * DENSE[b"="] + b">", True),
        (b'<a title="' + b"&amp;" * DENSE[b"&"] + b'">', True),
        (b'<a title="' + b"&" * (DENSE[b"&"] - 1) + b'">', False),
        (PAGES["html"], True),
        (b"", False),
    ],
)
def test_which_pages_are_large(page: bytes, large: bool, process: PageWorker) -> None:
    """By their size, or by how much there is in them: 12,000 odd links in 128 kB took 0.9 s, 30,000 attributes 0.4 s."""
    assert is_large(page) == large
    kind: Kind = "json" if page.startswith(b"{") else "html"
    with contextlib.suppress(BrokenPage):
        process.transform(page, spec(kind, kind), lambda _: None)
    assert (process._process is not None) == large


def test_a_process_that_dies_is_replaced(process: PageWorker, caplog: pytest.LogCaptureFixture) -> None:
    """Killed between two pages: a new one works on the next page, and on those after it."""
    caplog.set_level(logging.WARNING, logger="pkgcache")
    page, what = PAGES["json"], spec("json", "json")
    here, table = transform(page, what)
    process.transform(page, what, lambda _: None)
    for _ in range(2):
        running(process).send_signal(signal.SIGKILL)
        running(process).wait()
        assert process.transform(page, what, lambda _: 7) == (here, 7, table())
        assert process.transform(page, what, lambda _: 7) == (here, 7, table())
    assert len(caplog.records) == 2


# What is too much for the process


@pytest.fixture
def never_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's own process must not work on the page."""

    def work(*_: object) -> NoReturn:
        raise AssertionError("the proxy's own process works on the page")

    for name in ("transform", "without_files", "find_release", "build_document"):
        monkeypatch.setattr(worker, name, work)


def works(process: PageWorker, page: bytes) -> list[Callable[[], object]]:
    """All that can be asked of a page."""
    release = Release(version=Version("1.0"), files=())
    return [
        lambda: process.transform(page, spec("json", "json"), lambda _: None),
        lambda: process.remove(page, spec("json", "json"), frozenset()),
        lambda: process.release(page, "1.0"),
        lambda: process.document("large", release, None, page),
    ]


@pytest.mark.usefixtures("never_here")
def test_too_much_memory(process: PageWorker) -> None:
    """24 MB of JSON become 8 million lists. The process says so and ends; the next page is worked on by a new one."""
    page = b'{"meta": {"x": [' + b"[]," * 8_000_000 + b'[]]}, "files": []}'
    with pytest.raises(BrokenPage, match="more than 176 MiB of memory"):
        process.transform(page, spec("json", "json"), lambda _: None)
    assert process._process is None
    assert process.transform(PAGES["json"], spec("json", "json"), lambda _: None)[0].edited


@pytest.mark.usefixtures("never_here")
@pytest.mark.parametrize(("earlier", "started"), [(0, 1), (1, 2), (2, 2)])
def test_what_earlier_pages_have_left_is_not_in_the_way(
    earlier: int, started: int, process: PageWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is too much for a process which has worked on others is given to a new one, once."""
    start, starts = process._start, []
    monkeypatch.setattr(process, "_start", lambda: starts.append(1) or start())
    for _ in range(earlier):
        process.transform(PAGES["json"], spec("json", "json"), lambda _: None)
    with pytest.raises(BrokenPage, match="MiB of memory"):
        process.transform(b'{"x":[' + b"[]," * 3_000_000 + b'0], "files": []}', spec("json", "json"), lambda _: None)
    assert len(starts) == started


@pytest.mark.usefixtures("never_here")
def test_too_much_time(process: PageWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_CHILD", ("tests.engine.pages.odd_worker", "serve_never"))
    for work in works(process, PAGES["json"]):
        assert process._start()
        child = running(process)
        monkeypatch.setattr(worker, "PAGE_SECONDS", 0.2)
        with pytest.raises(BrokenPage, match=r"more than 0\.2 s"):
            work()
        assert child.returncode == -signal.SIGKILL
        monkeypatch.setattr(worker, "PAGE_SECONDS", 20.0)


@pytest.mark.usefixtures("never_here")
def test_a_page_that_ends_the_process(
    process: PageWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried once more, in a new process, and then refused."""
    caplog.set_level(logging.WARNING, logger="pkgcache")
    monkeypatch.setattr(worker, "_CHILD", ("tests.engine.pages.odd_worker", "serve"))
    for work in works(process, PAGES["json"]):
        with pytest.raises(BrokenPage, match="ended at it, twice"):
            work()
    assert len(caplog.records) == 4
    monkeypatch.undo()
    assert process.transform(PAGES["json"], spec("json", "json"), lambda _: None)[0].edited


def test_a_process_that_ends_between_page_and_table(process: PageWorker) -> None:
    page, what = PAGES["json"], spec("json", "json")
    process.transform(page, what, lambda _: None)
    file = {"filename": "large-1.0.tar.gz", "url": "large-1.0.tar.gz", "upload-time": "x" * (2 << 20)}
    large = json.dumps({"files": [file]}).encode()  # its table is more than a pipe holds
    with pytest.raises(BrokenPage, match="ended at it"):
        process.transform(large, what, lambda _: running(process).kill())
    assert process.transform(page, what, lambda _: 7)[1] == 7


def test_a_stop_does_not_wait_for_a_page(process: PageWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_CHILD", ("tests.engine.pages.odd_worker", "serve_never"))
    monkeypatch.setattr(worker, "PAGE_SECONDS", 600.0)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(process.transform, PAGES["json"], spec("json", "json"), lambda _: None)
        while process._pipe is None:
            time.sleep(0.01)
        process.close()
        with pytest.raises(BrokenPage, match="stopping"):
            working.result()
    assert process._process is None


def test_an_error_while_a_page_is_finished(process: PageWorker) -> None:
    """What belongs to that page is not taken for an answer to the next."""
    page, what = PAGES["json"], spec("json", "json")
    with pytest.raises(TypeError):
        process.transform(page, what, len)  # type: ignore[arg-type]
    here, table = transform(PAGES["html"], spec("html", "html"))
    assert process.transform(PAGES["html"], spec("html", "html"), lambda _: 7) == (here, 7, table())


def test_where_there_is_no_python_to_start(
    process: PageWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and all work is done here."""
    caplog.set_level(logging.WARNING, logger="pkgcache")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    for _ in range(2):
        assert process.transform(PAGES["json"], spec("json", "json"), lambda _: 7)[1] == 7
    assert len(caplog.records) == 1


def test_it_is_gone_when_it_is_closed(process: PageWorker) -> None:
    process.transform(PAGES["json"], spec("json", "json"), lambda _: None)
    child = running(process)
    process.close()
    assert child.returncode == 0
    with pytest.raises(BrokenPage, match="stopping"):
        process.transform(PAGES["json"], spec("json", "json"), lambda _: 7)
    assert process._process is None


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also where that was killed, and could say nothing."""
    script = (
        "import sys; sys.path[:] = sys.argv[1:]\n"
        "from tests.engine.pages import test_worker as these\n"
        "process = these.PageWorker()\n"
        "process.transform(these.PAGES['json'], these.spec('json', 'json'), lambda _: None)\n"
        "print(these.running(process).pid, flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(worker.__file__).parents[3]
    path = [str(root), str(root / "addon"), *sys.path]
    found = subprocess.run([sys.executable, "-c", script, *path], stdout=subprocess.PIPE, timeout=30, check=False)
    assert found.returncode == -signal.SIGKILL
    child = Path("/proc", found.stdout.decode().strip(), "cmdline")
    for _ in range(500):
        if not child.exists() or b"pkgcache.engine.pages.worker" not in child.read_bytes():
            return
        signal.sigtimedwait([], 0.01)
    raise AssertionError("it is still there")
