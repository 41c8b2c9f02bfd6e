"""One variant of a page: its bytes and what is said of them, in memory and in the store."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from pkgcache.engine.pages.stored_page import PageAnswer
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import VariantNotes
from pkgcache.rules.http.validation import strong_tag
from pkgcache.rules.simple.page_model import Kind
from pkgcache.rules.simple.representations import Representation

VARIANT_BYTES = 512
"""What a variant takes in memory beside its two bodies, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageVariant:
    """A page as one kind of client sees it. `source_digest` is that of the stored page. `edited`: its bytes are not the upstream's.

    `filtered`: files are left out for now (cooldown, offline), so it is not stored, and its bytes say nothing of the page's own date.
    """

    source_digest: str
    key: StoreKey
    kind: Kind
    plain: bytes
    gzipped: bytes
    etag: str
    edited: bool
    filtered: bool = False
    answers: dict[tuple[Representation, bool], PageAnswer] = field(default_factory=dict, compare=False)
    """The answers that it was last, by representation and whether gzipped."""

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.plain) + len(self.gzipped) + VARIANT_BYTES


def notes_of(variant: PageVariant) -> VariantNotes:
    """What is noted beside a variant's bytes, the plain ones and then the gzipped ones."""
    return VariantNotes(
        source_digest=variant.source_digest,
        plain_size=len(variant.plain),
        etag=variant.etag,
        edited=variant.edited,
        gzip_crc=zlib.crc32(variant.gzipped),
    )


def checked_variant(key: StoreKey, kind: Kind, notes: VariantNotes, value: bytes) -> PageVariant | None:
    """A stored variant; None where it is not what was stored."""
    plain, gzipped = value[: notes.plain_size], value[notes.plain_size :]
    if strong_tag(plain) != notes.etag or zlib.crc32(gzipped) != notes.gzip_crc:
        return None
    return PageVariant(
        source_digest=notes.source_digest,
        key=key,
        kind=kind,
        plain=plain,
        gzipped=gzipped,
        etag=notes.etag,
        edited=notes.edited,
    )
