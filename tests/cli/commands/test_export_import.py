"""`export` and `import`: what crosses the air gap, what is refused, and runs that are cut short by SIGINT, SIGKILL or a full disk."""

import contextlib
import fcntl
import gzip
import json
import os
import resource
import signal
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pkgcache.cli.archive.archive_format import ArchiveWriter, EntryHeader
from pkgcache.engine.pages.stored_page import body_digest
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import parse_key
from tests.cli.conftest import Command, opened_store
from tests.cli.stores import FETCHED, PRIVATE, damage, file_notes, file_of, keys, make_store, put_file, put_page
from tests.support import clients
from tests.support.clients import PIP_ENV, UV_ENV, Way, installed
from tests.support.factories import MakeProxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel

WHEEL = make_wheel("alpha", "1.0")
KEY = f"file|-|blake2b:{WHEEL.blake2b}|{WHEEL.filename}"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def filled(store: Path) -> dict[str, str]:
    return make_store(store)


def values(folder: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    """All that a store has, in full."""
    found = {}
    with opened_store(folder) as entries:
        for row in entries.rows():
            entry = entries.get(row.key)
            assert entry is not None
            found[row.key] = (entry.notes, entry.file.read() if entry.file else entry.value)
    return found


def test_there_and_back(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    """All but what credentials fetched; twice is once; what is damaged is left out and named."""
    file, other = tmp_path / "a.tar", tmp_path / "other"
    ran = command("export", "--dir", store, file, "--json").ended(0).json
    assert (ran["entries"], ran["private_left_out"], ran["wrong_left_out"]) == (5, 1, [])
    assert not file.with_name("a.tar.partial").exists()
    assert PRIVATE.encode() not in file.read_bytes()
    ran = command("import", "--dir", other, file, "--json").ended(0).json
    assert (ran["entries"], ran["there_already"], ran["refused"]) == (5, 0, [])
    whole = values(store)
    del whole[filled["private"]]
    assert values(other) == whole
    assert command("import", "--dir", other, file, "--json").ended(0).json["there_already"] == 5
    command("verify", "--dir", other).ended(0)
    assert f"{file} exists: choose another name, or use --force" in command("export", "--dir", store, file).ended(2).err
    damage(file_of(store, filled["large"]))
    ran = command("export", "--dir", store, file, "--force").ended(1)
    assert "left out, damaged" in ran.err
    assert "alpha-1.0" in ran.err
    assert command("import", "--dir", tmp_path / "third", file, "--json").ended(0).json["entries"] == 4


def test_some_projects(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    file, other = tmp_path / "a.tar", tmp_path / "other"
    assert command("export", "--dir", store, file, "al*", "--json").ended(0).json["entries"] == 3
    assert command("import", "--dir", other, file, "beta", "--json").ended(0).json["entries"] == 0
    assert command("import", "--dir", other, file, "alpha", "--json").ended(0).json["entries"] == 3
    assert (
        "holds nothing of nobody that" in command("export", "--dir", store, tmp_path / "b.tar", "nobody").ended(1).err
    )
    assert not list(tmp_path.glob("b.tar*"))


def test_the_newer_page_stays(command: Command, store: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "a.tar", tmp_path / "other"
    with opened_store(store) as entries:
        put_page(entries, "old", make_wheel("old"), fetched=FETCHED)
        put_page(entries, "new", make_wheel("new"), fetched=FETCHED + 100)
        put_page(entries, "gone", status=404)
    with opened_store(other) as entries:
        put_page(entries, "old", fetched=FETCHED + 100)
        put_page(entries, "new", fetched=FETCHED)
    command("export", "--dir", store, file).ended(0)
    ran = command("import", "--dir", other, file, "--json").ended(0).json
    assert (ran["entries"], ran["there_already"]) == (1, 1)
    times = {parse_key(key).project: notes["response_time"] for key, (notes, _) in values(other).items()}
    assert times == {"old": FETCHED + 100, "new": FETCHED + 100}


MANY = 40


def large_store(folder: Path) -> list[str]:
    """Many large values, each in a file of its own: their keys, in order."""
    with opened_store(folder) as entries:
        return [
            put_file(entries, make_wheel("many", f"{number}.0", payload_size=60_000, seed=number))
            for number in range(MANY)
        ]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_export_goes_on(by: signal.Signals, command: Command, store: Path, tmp_path: Path) -> None:
    """It is stopped at its middle entry, whose file opens slowly as long as that takes: half of the archive is not written twice."""
    middle = file_of(store, large_store(store)[MANY // 2])
    file, partial = tmp_path / "a.tar", tmp_path / "a.tar.partial"
    command("export", "--dir", store, file).ended(0)
    with tarfile.open(file) as tar:
        at = tar.getmember(f"{MANY // 2 + 1:08}.json").offset
    file.unlink()
    slow = command.slow_to_open(middle.name, tmp_path)
    half: Callable[[int], bool] = lambda _: partial.exists() and partial.stat().st_size == at  # noqa: E731
    ran = slow.interrupted(half, "export", "--dir", store, file, by=by)
    if by is not signal.SIGKILL:
        assert ran.ended(130).err.startswith(
            f"interrupted: {MANY // 2} entries of {MANY} are in {partial}; run it again"
        )
    assert not file.exists()
    written = partial.stat()
    ran = command("export", "--dir", store, file).ended(0)
    assert f"{MANY // 2} entries already; continuing" in ran.err
    assert file.stat().st_ino == written.st_ino
    assert not partial.exists()
    assert command("import", "--dir", tmp_path / "other", file, "--json").ended(0).json["entries"] == MANY


def test_an_export_onto_a_full_disk(command: Command, store: Path, tmp_path: Path) -> None:
    """One line that names the file; what is written stays, and the same command goes on. A limit of file sizes stands for the disk."""
    large_store(store)
    file, partial = tmp_path / "a.tar", tmp_path / "a.tar.partial"
    limit = 1_000_000
    ran = command.process(
        "export", "--dir", store, file, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ).ended(1)
    assert ran.err == f"Error: {partial}: File too large; run it again to continue\n"
    assert 500_000 < partial.stat().st_size <= limit
    assert "already; continuing" in command("export", "--dir", store, file).ended(0).err
    assert command("import", "--dir", tmp_path / "other", file, "--json").ended(0).json["entries"] == MANY


def test_one_export_at_a_time(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "a.tar.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another export is writing it" in command("export", "--dir", store, tmp_path / "a.tar").ended(2).err


def test_a_link_laid_where_the_archive_grows(
    command: Command, store: Path, filled: dict[str, str], tmp_path: Path
) -> None:
    """In a shared folder: one line, and what the link leads to is as it was, or still not there. FILE itself may be no link either."""
    file, other = tmp_path / "a.tar", tmp_path / "other"
    partial = tmp_path / "a.tar.partial"
    other.write_bytes(b"ours")
    for lay in (partial.symlink_to, partial.hardlink_to, lambda _: partial.symlink_to("nowhere")):
        lay(other)
        ran = command("export", "--dir", store, file, "--force").ended(2)
        assert f"{partial} is no archive of yours: it " in ran.err
        assert "remove it, or choose another name" in ran.err
        assert other.read_bytes() == b"ours"
        partial.unlink()
    assert not (tmp_path / "nowhere").exists()
    file.symlink_to("nowhere")
    assert "exists: choose another name" in command("export", "--dir", store, file).ended(2).err


@pytest.mark.parametrize("left", ["nothing", "its beginning", "something else", "all but the new name"])
def test_a_left_over_of_ours_is_in_nobodys_way(
    left: str, command: Command, store: Path, filled: dict[str, str], tmp_path: Path
) -> None:
    file, partial = tmp_path / "a.tar", tmp_path / "a.tar.partial"
    command("export", "--dir", store, file).ended(0)
    whole = file.read_bytes()
    file.unlink()
    partial.write_bytes({"nothing": b"", "its beginning": whole[:300], "something else": b"x" * 2000}.get(left, whole))
    command("export", "--dir", store, file).ended(0)
    ran = command("import", "--dir", tmp_path / "other", file, "--json").ended(0).json
    assert (ran["entries"], partial.exists()) == (5, False)


def test_an_export_to_nowhere(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    ran = command("export", "--dir", store, tmp_path / "no" / "a.tar").ended(2)
    assert "cannot be written: No such file or directory" in ran.err


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_import_goes_on(by: signal.Signals, command: Command, store: Path, tmp_path: Path) -> None:
    """The archive comes through a pipe that gives half of it, so that the import must wait when the signal comes."""
    large_store(store)
    file, other, pipe = tmp_path / "a.tar", tmp_path / "other", tmp_path / "pipe"
    command("export", "--dir", store, file).ended(0)
    whole = file.read_bytes()
    os.mkfifo(pipe)

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb") as output:
            output.write(whole[: len(whole) // 2])
            output.flush()
            stopped.wait(60)

    stopped = threading.Event()
    feeder = threading.Thread(target=feed)
    feeder.start()
    begun: Callable[[int], bool] = lambda _: len(list((other / "entries").glob("*/*/*.val"))) >= MANY // 2 - 2  # noqa: E731
    ran = command.interrupted(begun, "import", "--dir", other, pipe, by=by)
    stopped.set()
    feeder.join()
    if by is signal.SIGINT:
        assert "run it again to continue" in ran.ended(130).err
        assert list((other / "growing").iterdir()) == []
    assert command("verify", "--dir", other, "--json").ended(0).json["wrong"] == []
    there = len(keys(other))
    assert MANY // 2 - 4 <= there < MANY  # the one that was being stored when the signal came may be lacking
    ran2 = command("import", "--dir", other, file, "--json").ended(0).json
    assert (ran2["entries"], ran2["there_already"]) == (MANY - there, there)
    assert list((other / "growing").iterdir()) == []


def test_an_export_of_another_store_is_not_gone_on_with(
    command: Command, store: Path, filled: dict[str, str], tmp_path: Path
) -> None:
    file, other = tmp_path / "a.tar", tmp_path / "other"
    make_store(other)
    with (tmp_path / "a.tar.partial").open("wb") as partial:
        ArchiveWriter(partial).begin(globs=[], store="another")
    assert "is of another store, or of other projects" in command("export", "--dir", store, file).ended(2).err


def test_damaged_archives(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    """A turned byte, a cut, no archive at all: each is one line, and only what is right comes in."""
    file, other = tmp_path / "a.tar", tmp_path / "other"
    command("export", "--dir", store, file).ended(0)
    whole = file.read_bytes()
    turned = bytearray(whole)
    turned[whole.index(b"PK\x03\x04") + 2000] ^= 1
    file.write_bytes(turned)
    ran = command("import", "--dir", other, file).ended(1)
    assert "refused: alpha alpha-1.0-py3-none-any.whl: its blake2b is " in ran.err
    assert "4 entries imported" in ran.out
    file.write_bytes(whole[: len(whole) * 2 // 3])
    ran = command("import", "--dir", tmp_path / "third", file).ended(1)
    assert "it is cut short: it ends at byte" in ran.err
    assert keys(tmp_path / "third") < set(filled.values())
    for wrong in (b"", b"x" * 2000, bytes(2000)):
        file.write_bytes(wrong)
        assert (
            "it is not an archive of pypi-cache; expected what" in command("import", "--dir", other, file).ended(2).err
        )
    assert "does not exist" in command("import", "--dir", other, tmp_path / "no.tar").ended(2).err


def test_a_forged_archive(command: Command, store: Path, tmp_path: Path) -> None:
    """Another file under a file's key does not come in, whatever its header says, nor does anything under an odd key."""
    file = tmp_path / "a.tar"
    forged = make_wheel("alpha", "1.0", seed=9, payload_size=BIG_ENOUGH)
    with file.open("w+b") as output:
        writer = ArchiveWriter(output)
        writer.begin(globs=[])
        notes = {**file_notes(forged, f"blake2b:{forged.blake2b}"), "size": forged.size}
        for key in (KEY, KEY.replace("|-|", f"|{PRIVATE}|"), "view|own|json|page|-|pypi|alpha|json", "secret"):
            header = EntryHeader(key=key, notes=notes, size=forged.size, digest=notes["digest"], stored_at=1.0, row=1)
            writer.add(header, "x", [forged.content])
        writer.finish()
    ran = command("import", "--dir", store, file, "--json").ended(1).json
    assert len(ran["refused"]) == 4
    assert keys(store) == set()


@pytest.mark.parametrize("time", ["NaN", "Infinity", "1e308", "-1", '"now"', "true"])
def test_a_row_that_makes_no_sense(
    time: str, command: Command, store: Path, filled: dict[str, str], tmp_path: Path
) -> None:
    """It is left out, named, and costs the others nothing: neither the export nor, out of another's archive, the import."""
    file, other = tmp_path / "a.tar", tmp_path / "other"
    command("export", "--dir", store, file).ended(0)
    whole = file.read_bytes()
    with opened_store(store) as entries, entries.database.transaction(5):
        change = "UPDATE Cache SET tag = replace(tag, '\"response_time\": 1700000000.0', ?) WHERE key = ?"
        entries.database.sql(change, (f'"response_time": {time}', filled["page"]))
    ran = command("export", "--dir", store, file, "--force", "--json").ended(1).json
    assert (ran["entries"], len(ran["wrong_left_out"])) == (4, 1)
    assert command("import", "--dir", other, file, "--json").ended(0).json["entries"] == 4
    wrong = f"{time:>12}"  # as long as the right one, so that the tar's own sizes stay
    at = whole.index(b'"response_time":1700000000.0', whole.index(filled["page"].encode()))
    file.write_bytes(whole[:at] + f'"response_time":{wrong}'.encode() + whole[at + 28 :])
    ran = command("import", "--dir", tmp_path / "third", file, "--json").ended(1).json
    assert ran["entries"] == 4
    assert "response_time is" in ran["refused"][0]


BIG_ENOUGH = 70_000


def test_too_small_a_store(command: Command, store: Path, filled: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    command("export", "--dir", store, file).ended(0)
    ran = command("import", "--dir", tmp_path / "other", "--set", "pypi_cache_max_size=100k", file).ended(2)
    assert "expected a larger --set pypi_cache_max_size=" in ran.err


def page_of(entries: Entries, index: str, project: str, *urls: str) -> None:
    """Put a page with these links into a store."""
    files = [{"filename": url.rpartition("/")[2], "url": url, "hashes": {}} for url in urls]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": project, "files": files}).encode()
    page = f"https://{index}.example/simple/{project}/"
    notes = {
        "status": 200,
        "headers": [],
        "request_time": FETCHED,
        "response_time": FETCHED,
        "url": page,
        "upstream": page,
        "of": body_digest(body),
        "kind": "json",
        "based": False,
    }
    assert entries.put(f"page|-|{index}|{project}|json", gzip.compress(body, mtime=0), notes)


def test_learned_hosts(command: Command, store: Path, tmp_path: Path) -> None:
    """Those of the pages that it brings of indexes that are configured here, by the proxy's own rule. Its list is not believed."""
    file, other = tmp_path / "a.tar", tmp_path / "other"
    now = time.time()
    with opened_store(store) as entries:
        rows = [[f"{number}.listed.example", 443, "corp", now] for number in range(20)]
        entries.put("hosts", b"-", {"hosts": [*rows, ["evil.example", 443, "pypi", now]]})
        page_of(
            entries,
            "corp",
            "six",
            "https://files.example/six-1.0.tar.gz",
            "https://git.example/six",
            "https://other.example/another-1.0.tar.gz",
            "https://corp.example/six-2.0.tar.gz",
            "http://files.example:8080/a/six-3.0-py3-none-any.whl",
        )
        page_of(entries, "corp", "many", *(f"https://{n}.many.example/many-1.0.tar.gz" for n in range(20)))
        page_of(entries, "elsewhere", "six", "https://unconfigured.example/six-1.0.tar.gz")
    with opened_store(other) as entries:
        entries.put("hosts", b"-", {"hosts": [["own.example", 443, "corp", now]]})
    command("export", "--dir", store, file).ended(0)
    corp = "pypi_cache_index=corp=https://corp.example/simple"
    ran = command("import", "--dir", other, file, "--set", corp, "--json").ended(0).json
    learned = {("own.example", 443), ("files.example", 443), ("files.example", 8080)}
    learned |= {(f"{number}.many.example", 443) for number in range(4)}
    assert ran["hosts"] == len(learned) - 1
    with opened_store(other) as entries:
        notes = entries.notes("hosts")
        assert notes is not None
        assert {(host, port) for host, port, _, _ in notes["hosts"]} == learned
        assert {row[2] for row in notes["hosts"]} == {"corp"}
    assert command("import", "--dir", other, file, "--set", corp, "--json").ended(0).json["hosts"] == 0


def test_an_archives_list_of_hosts_alone(command: Command, store: Path, tmp_path: Path) -> None:
    with opened_store(store) as entries:
        entries.put("hosts", b"-", {"hosts": [["evil.example", 443, "pypi", time.time()]]})
    command("export", "--dir", store, tmp_path / "a.tar").ended(0)
    ran = command("import", "--dir", tmp_path / "other", tmp_path / "a.tar", "--json").ended(0).json
    assert (ran["hosts"], ran["refused"]) == (0, [])
    assert keys(tmp_path / "other") == set()


@pytest.mark.parametrize("way", [PIP_ENV, UV_ENV], ids=str)
def test_across_the_air_gap(
    way: Way, command: Command, upstream: Upstream, make_proxy: MakeProxy, tmp_path: Path, home: Path
) -> None:
    """Warm one store, export, import into an empty one, and install from a proxy that has no upstream at all."""
    store, other, file = tmp_path / "one", tmp_path / "two", tmp_path / "cache.tar"
    index = f"pypi_cache_index=pypi={upstream.index_url}"
    command("warm", "--dir", store, "--set", index, "beta", "Gamma.Ray").ended(0)
    command("export", "--dir", store, file).ended(0)
    upstream.down()
    command("import", "--dir", other, file, "--set", index).ended(0)
    proxy = make_proxy(upstream, options={"pypi_cache_dir": str(other), "pypi_cache_offline": True})
    target = tmp_path / "target"
    way.install(proxy, home, ["beta", "Gamma.Ray"], target).ok()
    assert installed(target) == {"beta": "1.0", "alpha": "2.0", "gamma-ray": "1.0"}
    assert clients.pip_download(home, ["alpha==1.0"], tmp_path / "d", env=PIP_ENV.env(proxy)).returncode != 0
