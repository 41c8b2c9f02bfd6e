"""Reading advisories: folders, JSON and zips, in a process of its own; what is hostile costs that process alone."""

import asyncio
import contextlib
import io
import json
import os
import signal
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import pytest

from pkgcache.engine.advisories import process, reading
from pkgcache.engine.advisories.process import answer_of, read_advisories
from pkgcache.engine.advisories.reading import UNCHANGED, Reading, UnreadableError, index_of, signature_of
from pkgcache.rules.policy.advisories import Advisories
from tests.support.waiting import eventually


def osv(project: str, shown: str = "MAL-1", **more: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": project}
    return {"id": shown, "affected": [{"package": package, "versions": ["1.0"]}], **more}


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def text_of(value: object) -> bytes:
    return json.dumps(value).encode()


def advisories(text: bytes) -> Advisories:
    return Advisories(text, "malicious", yank=True)


def read(source: Path | IO[bytes]) -> Advisories:
    return advisories(b"".join(index_of(source, {})))


ONE: Final = text_of(osv("six"))
FOUND: Final[dict[str, tuple[bytes, int, int]]] = {
    # a file → its content, the records in it, how many files of it are unreadable
    "one record": (ONE, 1, 0),
    "white space before it": (b" \n" + ONE, 1, 0),
    "a byte order mark": (b"\xef\xbb\xbf" + ONE, 1, 0),
    "UTF-16": (json.dumps(osv("six")).encode("utf-16"), 1, 0),
    "an array": (text_of([osv("six"), osv("flask", "MAL-2")]), 2, 0),
    "an empty array": (b"[]", 0, 0),
    "an answer of the API": (text_of({"vulns": [osv("six")]}), 1, 0),
    "a zip": (packed({"a.json": ONE, "b/c.JSON": text_of(osv("flask", "MAL-2"))}), 2, 0),
    "a zip without compression": (packed({"a.json": ONE}, zipfile.ZIP_STORED), 1, 0),
    "a zip with other files": (packed({"a.json": ONE, "readme.txt": b"x", "b/": b""}), 1, 0),
    "a zip with a broken file": (packed({"a.json": ONE, "b.json": b"{", "c.json": ONE, "d.json": ONE}), 1, 1),
    "a zip with wrong types": (packed({"a.json": ONE, "b.json": b'{"id": 7}', "c.json": ONE}), 1, 1),
    "a zip with deep JSON": (packed({"a.json": ONE, "b.json": b"[" * 200_000, "c.json": ONE}), 1, 1),
    "a zip with a large number": (packed({"a.json": ONE, "b.json": b'{"id":' + b"9" * 9999 + b"}", "c.json": ONE}), 1, 1),
    "a zip with another spelling": (packed({"a.json": ONE, "b.json": ONE.replace(b"PyPI", b"pypi"), "c.json": ONE}), 1, 1),
    "names that lead elsewhere": (packed({"../../a.json": ONE, "/etc/b.json": text_of(osv("flask", "MAL-2"))}), 2, 0),
}  # fmt: skip


@pytest.mark.parametrize(("content", "records", "unreadable"), FOUND.values(), ids=FOUND)
def test_what_is_read(content: bytes, records: int, unreadable: int, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(content)
    about = read(path).about
    assert (about["records"], about["unreadable"]) == (records, unreadable)
    assert about.get("first_unreadable", "").startswith("b.json (it" if unreadable else "")
    with path.open("rb") as file:
        assert read(file).about == about


def corrupted(content: bytes) -> bytes:
    """A zip with one wrong bit in the middle of its first file."""
    at = len(ONE) // 2 + 30
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def overlapping() -> bytes:
    """A zip whose three names have one file's bytes: what a bomb of some kB makes terabytes of."""
    content = packed({"a.json": ONE})
    at = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[at:end]
    size = struct.pack("<HHLL", 3, 3, len(entry) * 3, at)
    return content[:at] + entry * 3 + content[end : end + 8] + size + b"\0\0"


FAILS: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "1 of 1 files"),
    "a page": (b"<!DOCTYPE html>", "1 of 1 files"),
    "another value": (b"7", "1 of 1 files"),
    "an object that is no record": (b'{"error": "not found"}', "1 of 1 files"),
    "deep JSON": (b'{"a":' * 100_000, "1 of 1 files"),
    "half a zip": (packed({"a.json": ONE})[:60], "no whole zip"),
    "the beginning of a zip": (b"PK", "no whole zip"),
    "a zip of nothing": (packed({}), "holds no JSON file"),
    "a zip of other files": (packed({"a.txt": ONE}), "holds no JSON file"),
    "a zip of broken files": (packed({"a.json": b"{", "b.json": b"", "c.json": ONE}), "2 of 3 files"),
    "a zip with a wrong bit": (corrupted(packed({"a.json": ONE})), "1 of 1 files"),
    "a zip in bzip2": (packed({"a.json": ONE}, zipfile.ZIP_BZIP2), "1 of 1 files"),
    "a zip in lzma": (packed({"a.json": ONE}, zipfile.ZIP_LZMA), "1 of 1 files"),
    "files that overlap": (overlapping(), "2 of 3 files"),
}


@pytest.mark.parametrize(("content", "why"), FAILS.values(), ids=FAILS)
def test_what_cannot_be_read(content: bytes, why: str, tmp_path: Path) -> None:
    """It fails as a whole, so that what was read before stays."""
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=why):
        read(path)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(packed({"a.json": ONE}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (path := tmp_path / "source").write_bytes(content)
    with pytest.raises(UnreadableError):
        read(path)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "1.json").write_bytes(ONE)
    (tmp_path / "a" / "2.JSON").write_bytes(text_of(osv("flask", "MAL-2")))
    (tmp_path / "a" / "b" / "all.zip").write_bytes(packed({"x.json": text_of(osv("django", "GHSA-3"))}))
    (tmp_path / "a" / "notes.txt").write_text("{")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = read(tmp_path)
    assert found.about == {"format": 1, "records": 3, "malicious": 2, "projects": 3, "unreadable": 0}
    assert all(found.names(project) for project in ("six", "flask", "django"))


def test_an_empty_folder_is_one_without_records(tmp_path: Path) -> None:
    """Whoever has removed the last record of their own wants it to be gone."""
    assert read(tmp_path).about["records"] == 0


ODD: Final[dict[str, Callable[[Path], object]]] = {
    "a pipe": os.mkfifo,  # it was waited for, 5 minutes at each start and look
    "a link to a pipe": lambda path: [
        make(each) for make, each in ((os.mkfifo, path.with_suffix(".pipe")), (path.symlink_to, path.with_suffix(".pipe")))
    ],
    "a link to nothing": lambda path: path.symlink_to("nothing"),  # none of the others was read
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a folder": lambda path: path.symlink_to("."),
    "many that are no records": lambda path: path.write_bytes(b"[" + b"{}," * 2 * reading.MAX_BROKEN + b"{}]"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_file_in_a_folder(name: str, tmp_path: Path) -> None:
    """It counts as one that cannot be read; the others are read, with the process's limits of memory."""
    (tmp_path / "1.json").write_bytes(ONE)
    (tmp_path / "3.json").write_bytes(ONE)
    ODD[name](tmp_path / "2.json")
    found = advisories(await read_advisories(tmp_path))
    assert found.names("six")
    assert found.about["unreadable"] == (name != "a link to a folder")


async def test_a_source_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(path := tmp_path / "pipe.json")
    with pytest.raises(UnreadableError, match="no regular file"):
        await read_advisories(path)


@pytest.mark.parametrize("inner", ["", "inner"])
def test_a_folder_that_may_not_be_read(inner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counted as an empty one, so that nothing was blocked any more."""
    (tmp_path / "inner").mkdir()
    scandir = os.scandir

    def fails(path: str) -> Any:
        if Path(path) == tmp_path / inner:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fails)
    with pytest.raises(PermissionError):
        read(tmp_path)


def test_a_signature_changes_with_the_files(tmp_path: Path) -> None:
    seen = [signature_of(tmp_path)]
    (tmp_path / "1.json").write_bytes(ONE)
    seen.append(signature_of(tmp_path))
    (tmp_path / "2.json").write_bytes(ONE)
    seen.append(signature_of(tmp_path))
    (tmp_path / "2.json").write_bytes(ONE + b" ")
    seen.append(signature_of(tmp_path))
    (tmp_path / "1.json").unlink()
    seen.append(signature_of(tmp_path))
    assert len(set(seen)) == len(seen)
    (tmp_path / "notes.txt").write_text("x")
    assert signature_of(tmp_path) == seen[-1]
    assert signature_of(tmp_path / "2.json") != signature_of(tmp_path / "notes.txt")


LIMITS: Final[dict[str, tuple[str, int, Callable[[], bytes], str]]] = {
    "a large file": ("MAX_FILE", 99, lambda: packed({"a.json": ONE + b" " * 99}), "1 of 1 files"),
    "many files": ("MAX_FILES", 3, lambda: packed({f"{number}.json": ONE for number in range(4)}), "more than 3 files"),
    "much in all": ("MAX_TOTAL", 500, lambda: packed({f"{number}.json": ONE for number in range(9)}), "unpacked"),
}  # fmt: skip


@pytest.mark.parametrize(("limit", "value", "content", "why"), LIMITS.values(), ids=LIMITS)
def test_limits(
    limit: str, value: int, content: Callable[[], bytes], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, limit, value)
    (path := tmp_path / "source").write_bytes(content())
    with pytest.raises(UnreadableError, match=why):
        read(path)


def test_a_bomb_is_not_unpacked_beyond_its_limit() -> None:
    """1 GB of blanks in 1 MB: no more than the limit of one file is read of it."""
    unpacked = 0

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal unpacked
            unpacked += size or 0
            return b" " * (size or 0)

    each = Reading()
    each._read_json(Counting())
    assert unpacked == reading.MAX_FILE + 1
    assert each.broken == 1


# The process


async def test_the_process(tmp_path: Path) -> None:
    (path := tmp_path / "all.zip").write_bytes(packed({"a.json": ONE}))
    text = await read_advisories(path)
    found = advisories(text)
    assert found.about["records"] == 1
    assert found.names("six")
    assert await read_advisories(path, found.about["signature"]) == UNCHANGED
    with path.open("rb") as file:
        assert advisories(await read_advisories(file)).names("six")
    path.unlink()
    with pytest.raises(UnreadableError, match="No such file"):
        await read_advisories(path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), f"!it takes more than {reading.MEMORY >> 20} MiB of memory\n"),
        (RecursionError(), f"!it takes more than {reading.MEMORY >> 20} MiB of memory\n"),
        (UnreadableError("no\nzip"), "!no zip\n"),
        (PermissionError(13, "Permission denied"), "!Permission denied\n"),
    ],
)
def test_what_the_process_says_of_trouble(
    error: Exception,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """A central directory of 3,000,000 names was tried: that is what is said after 20 s, and the proxy goes on."""

    def fails(*_: object) -> Iterator[bytes]:
        raise error

    monkeypatch.setattr(reading, "index_of", fails)
    monkeypatch.setattr(reading, "_limit", lambda: None)
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path), ""])
    reading.serve()
    assert capsysbinary.readouterr().out.decode() == says


async def test_who_stops_waiting_ends_the_process(tmp_path: Path) -> None:
    with endless() as pipe:
        task = asyncio.create_task(read_advisories(pipe, str(tmp_path)))
        found = await asyncio.to_thread(eventually, lambda: _children_reading(tmp_path))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert found
    assert not _children_reading(tmp_path)


async def test_a_process_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SECONDS", 0.01)
    with endless() as pipe, pytest.raises(UnreadableError, match=r"takes more than 0\.01 s"):
        await read_advisories(pipe, str(tmp_path))
    assert not _children_reading(tmp_path)


@contextlib.contextmanager
def endless() -> Iterator[IO[bytes]]:
    """An answer to which nobody will ever write."""
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as pipe, os.fdopen(writes, "wb"):
        yield pipe


def _children_reading(path: Path) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(path).encode() in (each / "cmdline").read_bytes().split(b"\0"):
                found.append(int(each.name))
    return found


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (b"!it is no whole zip\n", 0, "it is no whole zip"),
        (b"", -signal.SIGKILL, "exit code -9"),
        (b"", 0, "has ended"),
        (b'{"format":1}\nsix\t[', -signal.SIGXCPU, "has ended"),
        (b'{"format":1}\nsix\t[]\n', 1, "has ended"),
        (b'{"format":1}\nsix\t[', 0, "has ended"),
    ],
)
def test_what_the_process_answers(answer: bytes, code: int, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        answer_of(answer, code)
