"""Answers of which nobody can tell before their end whether they are the file: compressed once more, or called a web page.

Some servers send a `.tar.gz` with `Content-Encoding: gzip` because it is gzip, and mean the bytes as they are; others compress a file
although nobody asked them to. Some call everything `text/html`; so does a captive portal. The digest tells, and where there is none
the first bytes do. Until then no client hears of such an answer, and its size is bounded.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from dataclasses import dataclass
from typing import Final

from pkgcache.engine.upstream.errors import Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.content_coding import content_coding
from pkgcache.rules.routing.digests import Digest, Hasher
from pkgcache.rules.routing.first_bytes import FIRST, begins_as_named
from pkgcache.rules.routing.urls import Url

MAX_SPOOLED: Final = 1 << 30
"""Bytes of such a file, as it comes and decompressed. The largest wheels have 800 MB."""

SMALL: Final = 128 << 20
"""Bytes that a local network brings in a second or two. uv unpacks a wheel while it comes, and gives up at the first wrong bytes."""

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why an answer may not be the file. `coding` is empty where it is only its type."""

    failure: Failure
    url: Url
    detail: str
    coding: str = ""

    @property
    def error(self) -> UpstreamError:
        """The refusal of the answer."""
        return UpstreamError(self.failure, self.url, self.detail)


def doubt_about(response: UpstreamResponse) -> Doubt | None:
    """Why a response may not be a file's own bytes; None where nothing says so."""
    if coding := content_coding(response.headers.get("Content-Encoding")):
        return Doubt(Failure.WRONG_ENCODING, response.url, f"sent as {coding}, which was not asked for", coding)
    # A captive portal answers 200 with its log-in form, whatever was asked for.
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        return Doubt(Failure.WRONG_TYPE, response.url, "a web page instead of the file (a captive portal?)")
    return None


def doubt_if_small(response: UpstreamResponse) -> Doubt | None:
    """A shared tier's answer of up to SMALL bytes: all of it is read and compared with its digest before a client hears of it.

    That takes a moment, and a wrong object then costs nobody an install. A larger one comes to clients as it grows, and is cut.
    """
    length = response.headers.get("Content-Length", "")
    if response.status != 200 or not length.isdigit() or int(length) > SMALL:
        return None
    return Doubt(Failure.WRONG_DIGEST, response.url, "it is not what its digest says")


@dataclass(frozen=True, slots=True)
class Judged:
    """The file's length and the hash of it."""

    size: int
    hasher: Hasher


def judge(descriptor: int, raw: Judged, doubt: Doubt, digest: Digest | None, filename: str) -> Judged:
    """Find out which bytes are the file: those in `descriptor`, or what they are compressed. The file holds the right ones afterwards.

    For a thread. Raises UpstreamError where neither are, and OSError.
    """
    first = os.pread(descriptor, FIRST, 0)
    if digest is not None and not digest.mismatch(raw.hasher.hexdigest()):
        return raw
    if doubt.coding == "gzip":
        hasher = (digest or Digest("sha256", "0" * 64)).hasher()
        with tempfile.TemporaryFile() as plain:
            size = _decompress(descriptor, plain.fileno(), hasher, doubt)
            begins = begins_as_named(filename, os.pread(plain.fileno(), FIRST, 0))
            if begins if digest is None else not digest.mismatch(hasher.hexdigest()):
                _copy(plain.fileno(), descriptor, size)
                return Judged(size, hasher)
    if digest is None and begins_as_named(filename, first):
        return raw
    raise doubt.error


def _decompress(source: int, target: int, hasher: Hasher, doubt: Doubt) -> int:
    """Decompress all of a file, hash it, and return its size; 0 where it is not compressed as it says."""
    size = 0
    with open(os.dup(source), "rb") as raw:  # noqa: PTH123  a descriptor
        raw.seek(0)
        try:
            with gzip.GzipFile(fileobj=raw) as plain:
                while piece := plain.read(_PIECE):
                    if size + len(piece) > MAX_SPOOLED:
                        raise UpstreamError(Failure.WRONG_LENGTH, doubt.url, f"longer than {MAX_SPOOLED:,} bytes")
                    hasher.update(piece)
                    size += os.pwrite(target, piece, size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            os.ftruncate(target, 0)
            return 0
    return size


def _copy(source: int, target: int, size: int) -> None:
    os.ftruncate(target, 0)
    for offset in range(0, size, _PIECE):
        os.pwrite(target, os.pread(source, min(_PIECE, size - offset), offset), offset)
