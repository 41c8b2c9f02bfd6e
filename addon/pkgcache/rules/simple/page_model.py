"""rules/simple/page_model.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pkgcache.rules.simple.links import Target


class BrokenPage(ValueError):  # noqa: N818 - named as an answer, not as a fault of ours
    """A body that is no PEP 691 page of version 1; its text is one line that says why."""


class PageLink(Protocol):
    """One link and what its page says about the file; that is read when it is asked for, as a page may have 8,000 of them."""

    @property
    def href(self) -> str:
        """Decoded."""

    @property
    def start(self) -> int:
        """Where the value in `Page.text` begins, without quotes."""

    @property
    def end(self) -> int:
        """Where it ends."""

    @property
    def filename(self) -> str:
        """In HTML the last segment of the path, which is what clients go by; else the anchor's text."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """By name."""

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        """The metadata's hashes; True: it is there, without a hash."""

    @property
    def size(self) -> int | None:
        """In bytes; HTML does not tell."""

    @property
    def upload_time(self) -> str:
        """As the page spells it; HTML does not tell."""

    @property
    def yanked(self) -> bool | str:
        """A str is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A decoded body and its links, in order."""

    text: str
    encoding: str  # `text.encode(encoding)` is the body
    links: tuple[PageLink, ...]
    base_href: str = ""  # the first `<base href>`, decoded
    base_span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A page as a client is to see it. The links' spans are those of the body before the edits."""

    body: bytes
    edited: bool  # False: `body` is the very object that was given
    links: tuple[tuple[PageLink, Target], ...]  # http(s) links only


def edit(page: Page, changes: Sequence[tuple[int, int, str]]) -> bytes:
    """Put escaped values in place of spans of `page.text`; every other byte survives. Spans must not overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, value in sorted(changes):
        if start < position:
            raise ValueError(f"changes overlap at {start}")
        pieces += (page.text[position:start], value)
        position = end
    pieces.append(page.text[position:])
    return "".join(pieces).encode(page.encoding)
