"""The archive's format: what was written is read, and every cut and every changed byte is seen."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.cli.archive.archive_format import (
    MAX_JSON,
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


def archive(header: bytes, *, member: bytes = b"", kind: bytes = tarfile.REGTYPE, value: bytes = b"abc") -> bytes:
    """An archive with one entry, whose header and whose value's tar header may be odd."""
    file = io.BytesIO()
    ArchiveWriter(file).begin()
    for name, content, type_ in (("00000001.json", header, tarfile.REGTYPE), ("00000001/x", value, kind)):
        info = tarfile.TarInfo(name)
        info.size, info.type = len(content), type_
        block = member if member and name == "00000001/x" else info.tobuf(tarfile.GNU_FORMAT)
        file.write(block + content + bytes(-len(content) % 512))
    return file.getvalue()


GOOD = {"key": "k", "notes": {}, "size": 3, "digest": f"sha256:{hashlib.sha256(b'abc').hexdigest()}", "stored_at": 1.5}


def header_text(**more: Any) -> str:
    return json.dumps({**GOOD, "row": 1, **more})


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (header_text(), "it is cut short"),
        (header_text().replace("{", '{"size": 4, ', 1), "a name is there twice"),
        (header_text().replace('"notes": {}', '"notes": {"a": 1, "a": 2}'), "a name is there twice"),
        (header_text(notes=1).replace("1", "[" * 100_000, 1), "not JSON"),
        (header_text(notes=1).replace('"notes": 1', '"notes": ' + '{"a":' * 50_000 + "1" + "}" * 50_000), "not JSON"),
        (header_text().replace("1.5", "NaN"), "numbers of"),
        (header_text().replace("1.5", "-Infinity"), "numbers of"),
        (header_text().replace("1.5", "1e999"), "numbers of"),
        (header_text().replace("1.5", "1" * 5000), "not JSON"),
        (header_text(stored_at=-1), "numbers of"),
        (header_text(stored_at=True), "is not an entry's header"),
        (header_text(row=True), "is not an entry's header"),
        (header_text(row=10**30), "numbers of"),
        (header_text(size=10**30), "numbers of"),
        (header_text(size=-3), "numbers of"),
        (header_text(size=3.0), "is not an entry's header"),
        (header_text(key=None), "is not an entry's header"),
        (header_text(more=1), "is not an entry's header"),
        (header_text(digest="md5:" + "0" * 32), "not a digest"),
        ("[]", "not a JSON object"),
        ("\xff", "not JSON"),
        ("x" * (MAX_JSON + 1), "a header of 1,048,577 bytes"),
    ],
    ids=lambda value: value[:40],
)
def test_odd_headers(header: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason) as raised:
        read(archive(header.encode("latin-1")))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "kind",
    [
        *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
        *(tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE),
        *(tarfile.CONTTYPE, tarfile.SOLARIS_XHDTYPE, b"Z"),
    ],
)
def test_members_of_other_kinds(kind: bytes) -> None:
    with pytest.raises(ArchiveError, match="not a regular file"):
        read(archive(header_text().encode(), kind=kind))


def odd_member(name: str = "00000001/x", size: bytes = b"00000000003\0", linkname: bytes = b"") -> bytes:
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size
    block[157 : 157 + len(linkname)] = linkname
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (odd_member("00000002/x"), "is not its value"),
        (odd_member("../x"), "is not its value"),
        (odd_member("/etc/passwd"), "is not its value"),
        (odd_member("00000001.json"), "is not its value"),
        (odd_member(size=b"00000000004\0"), "has 4 bytes, and its header says 3"),
        (odd_member(size=b"\xff" * 12), "is not a regular file"),  # minus one, in base 256
        (odd_member(size=b"\x80" + b"\x7f" * 11), "is not a regular file"),  # 2**87
        (odd_member(linkname=b"/etc/passwd"), "is not a regular file"),
        (odd_member("00000001/x\x1b[2J", size=b"00000000004\0"), "x1b"),
        (b"x" * 512, "not a tar header"),
        (bytes(512), "not a tar header"),
    ],
    ids=["another", "up", "root", "itself", "size", "negative", "huge", "link", "escape", "noise", "nothing"],
)
def test_odd_members(member: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason) as raised:
        read(archive(header_text().encode(), member=member))
    assert str(raised.value).isprintable()
