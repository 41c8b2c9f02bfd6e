"""Whether a file's first bytes are those of the format that its name tells: what is left to go by where no digest is known.

Leaves out: whether the rest is right.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 16
"""Bytes that are looked at."""

_MAGIC: Final = {
    (".whl", ".zip", ".egg"): b"PK",
    (".tar.gz", ".tgz"): b"\x1f\x8b",
    (".tar.bz2", ".tbz"): b"BZh",
    (".tar.xz", ".txz"): b"\xfd7zXZ",
    (".tar.zst",): b"\x28\xb5\x2f\xfd",
    (".exe",): b"MZ",
}


def begins_as_named(filename: str, first: bytes) -> bool:
    r"""Whether a file that is called so may begin like this. Of a format that is not known here: whether it does not begin as HTML.

    >>> begins_as_named("six-1.0.tar.gz", b"\x1f\x8b\x08"), begins_as_named("six-1.0.whl", b"<html>")
    (True, False)
    """
    name = filename.lower()
    magic = next((magic for endings, magic in _MAGIC.items() if name.endswith(endings)), None)
    return first.startswith(magic) if magic else not first.lstrip().startswith(b"<")
