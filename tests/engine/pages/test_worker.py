"""The process for large pages: it says what the code here says, and where it fails the work is done here."""

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pkgcache.engine.pages import worker
from pkgcache.engine.pages.worker import LARGE, PageWorker, without_files
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.json_api_build import find_release
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
        assert process.release(PAGES["json"], spec("json", "json"), version) == find_release(PAGES["json"], version)
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


def test_a_process_that_dies_is_replaced(process: PageWorker, caplog: pytest.LogCaptureFixture) -> None:
    """Killed between two pages, and while a page is finished: each time the page is worked on here, and the next one there."""
    caplog.set_level(logging.WARNING, logger="pkgcache")
    page, what = PAGES["json"], spec("json", "json")
    here, table = transform(page, what)
    process.transform(page, what, lambda _: None)
    for _ in range(2):
        running(process).send_signal(signal.SIGKILL)
        running(process).wait()
        assert process.transform(page, what, lambda _: 7) == (here, 7, table())
        assert process.transform(page, what, lambda _: 7) == (here, 7, table())
    assert "worked on in the proxy's own" in caplog.text


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
    assert process.transform(PAGES["json"], spec("json", "json"), lambda _: 7)[1] == 7, (
        "and nothing is started any more"
    )
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
