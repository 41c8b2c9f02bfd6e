"""The archive's format: what was written is read, and every cut and every changed byte is seen."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.cli.archive.archive_format import (
    ArchiveError,
    ArchiveReader,
    ArchiveWriter,
    EntryHeader,
    WrongValueError,
    checked,
    whole_part,
)


def header_of(value: bytes, number: int, **more: Any) -> EntryHeader:
    digest = f"sha256:{hashlib.sha256(value).hexdigest()}"
    return EntryHeader(
        **{
            "key": f"k{number}",
            "notes": {},
            "size": len(value),
            "digest": digest,
            "stored_at": 1.5,
            "row": number,
            **more,
        }
    )


def written(values: list[bytes]) -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.begin(globs=[])
    for number, value in enumerate(values, 1):
        writer.add(header_of(value, number), f"../../etc/passwd{number}", [value])
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> list[bytes]:
    return [b"".join(checked(item.header, item.value)) for item in ArchiveReader(io.BytesIO(data)).items()]


def skimmed(data: bytes) -> list[int]:
    """Read the headers of an archive's entries, and none of their values."""
    return [item.header.size for item in ArchiveReader(io.BytesIO(data)).items()]


VALUES = [b"", b"x", b"y" * 512, b"z" * 3000]


def test_it_is_a_tar() -> None:
    """Plain tar can list and unpack it, and no name leads out of a folder."""
    with tarfile.open(fileobj=io.BytesIO(written(VALUES))) as tar:
        names = tar.getnames()
        assert names[:3] == ["pypi-cache-export.json", "00000001.json", "00000001/_.._etc_passwd1"]
        assert not [name for name in names if ".." in Path(name).parts or name.startswith("/")]
        member = tar.extractfile("00000004/_.._etc_passwd4")
        assert member is not None
        assert member.read() == VALUES[3]


@given(st.lists(st.binary(max_size=2000), max_size=6))
def test_what_was_written_is_read(values: list[bytes]) -> None:
    assert read(written(values)) == values


@given(st.integers(min_value=0), st.booleans())
def test_a_cut_is_seen(cut: int, skips: bool) -> None:
    """Wherever an archive ends too early, that is an error: never a smaller archive."""
    data = written(VALUES)
    cut %= len(data) - 1024  # tar's own end may be lacking
    with pytest.raises(ArchiveError):
        (skimmed if skips else read)(data[:cut])


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_seen_or_means_nothing(at: int, change: int) -> None:
    """Values and headers are held against digests; the rest is padding and tar's own fields."""
    data = bytearray(written(VALUES))
    data[at % len(data)] ^= change
    try:
        values = read(bytes(data))
    except (ArchiveError, WrongValueError):
        return
    assert values == VALUES


@given(st.integers(min_value=0))
def test_an_export_goes_on_where_it_was_cut(cut: int) -> None:
    """Whatever is left of it: the rest is written behind what is whole, and the archive is the very one."""
    whole = written(VALUES)
    file = io.BytesIO(whole[: cut % len(whole)])
    try:
        _, tally, row = whole_part(file, lambda _: None)
    except ArchiveError:
        assert cut % len(whole) < 1024
        return
    writer = ArchiveWriter(file, tally)
    for number, value in enumerate(VALUES, 1):
        if number > row:
            writer.add(header_of(value, number), f"../../etc/passwd{number}", [value])
    writer.finish()
    assert file.getvalue() == whole


def test_a_wrong_value_leaves_no_trace() -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.begin()
    before = file.getvalue()
    for wrong in (replace(header_of(b"abc", 1), size=4), header_of(b"abd", 1)):
        with pytest.raises(WrongValueError):
            writer.add(wrong, "x", [b"abc"])
        assert file.getvalue() == before
