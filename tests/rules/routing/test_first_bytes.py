"""What a file without a digest is known by."""

import pytest

from pkgcache.rules.routing.first_bytes import begins_as_named

GZIP, ZIP, XZ, BZIP2, ZSTD = b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"\xfd7zXZ\x00", b"BZh9", b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize(
    ("filename", "first"),
    [
        ("six-1.0-py3-none-any.whl", ZIP),
        ("six-1.0.zip", b"PK\x05\x06"),  # an archive without members
        ("six-1.0.egg", ZIP),
        ("six-1.0.tar.gz", GZIP),
        ("SIX-1.0.TAR.GZ", GZIP),
        ("six-1.0.tgz", GZIP),
        ("six-1.0.tar.bz2", BZIP2),
        ("six-1.0.tar.xz", XZ),
        ("six-1.0.tar.zst", ZSTD),
        ("six-1.0.exe", b"MZ"),
        ("six-1.0-py3-none-any.whl.metadata", b"Metadata-Version: 2.1"),
        ("six-1.0.tar", b"six-1.0/"),
        ("six-1.0.rpm", b"\xed\xab\xee\xdb"),
    ],
)
def test_what_it_may_be(filename: str, first: bytes) -> None:
    assert begins_as_named(filename, first)


@pytest.mark.parametrize(
    "filename", ["x.whl", "x.egg", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.exe", "x.tar", "x.whl.metadata"]
)
@pytest.mark.parametrize("first", [b"<html>", b"\r\n <!doctype html>"])
def test_a_web_page_is_none_of_them(filename: str, first: bytes) -> None:
    assert not begins_as_named(filename, first)


@pytest.mark.parametrize(
    ("filename", "first"), [("x.whl", GZIP), ("x.whl", b""), ("x.tar.gz", ZIP), ("x.tar.xz", GZIP)]
)
def test_another_format(filename: str, first: bytes) -> None:
    assert not begins_as_named(filename, first)
