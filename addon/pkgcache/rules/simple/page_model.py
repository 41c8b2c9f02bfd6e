"""An index page as read: its text, its links with their places in it, and edits of those places.

Both readers (`html_page`, `json_page`) make a `Page`; everything that changes a page does so by spans of its text, so that all other
bytes survive. Leaves out: how a page is read, and what its links mean (`links`).
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pkgcache.rules.simple.limits import MAX_LINK
from pkgcache.rules.simple.links import Target

type Kind = Literal["json", "html"]
"""The syntax of a page: which reader and which escapes it takes."""

NEEDS_NO_ESCAPE: Final = re.compile(r"[A-Za-z0-9./:=#_+\-]*")
"""Values that are spelt alike in an HTML attribute, quoted or not, and in a JSON string. Nearly all links are."""


class BrokenPage(ValueError):  # noqa: N818 - named as an answer, not as a fault of ours
    """The body is not an index page of version 1.x. The message says why, in one line."""


def broken_by(error: Exception) -> BrokenPage:
    """The answer for a page at which something else was raised than `BrokenPage`, whatever that is: in one line.

    >>> str(broken_by(ValueError("no" + chr(10) + "number")))
    'it cannot be worked on (ValueError: no number)'
    """
    return BrokenPage(f"it cannot be worked on ({type(error).__name__}: {' '.join(str(error).split())[:200]})")


class PageLink(Protocol):
    """A link of a page and what the page says about its file. Fields are read on demand, since a page may have 8,000 links."""

    @property
    def href(self) -> str:
        """The link's value, decoded (character references or JSON escapes replaced)."""

    @property
    def start(self) -> int:
        """Where the value begins in `Page.text`, behind its opening quote."""

    @property
    def end(self) -> int:
        """Where the value ends, before its closing quote."""

    @property
    def filename(self) -> str:
        """The file's name. In HTML the last segment of the URL's path, which clients go by; without one, the anchor's text."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """Digests in hex by algorithm."""

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        """Whether the metadata file exists (PEP 658, 714): its digests, or True where the page gives none."""

    @property
    def size(self) -> int | None:
        """The size in bytes (PEP 700). HTML pages do not give it."""

    @property
    def upload_time(self) -> str:
        """The upload time as the page spells it (PEP 700), or ''. HTML pages do not give it."""

    @property
    def yanked(self) -> bool | str:
        """Whether the file is yanked (PEP 592); a str is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A decoded body and its links, in order."""

    text: str
    encoding: str  # `text.encode(encoding)` gives the body back, byte for byte
    links: tuple[PageLink, ...]
    base_href: str = ""  # the first `<base href>`, decoded
    base_span: tuple[int, int] | None = None
    status: str = ""  # the project's (PEP 792); '' where the page gives none


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A page as a client gets it. The links keep the spans of the body before the edits."""

    body: bytes
    edited: bool  # False: `body` is the very object that was given
    links: tuple[tuple[PageLink, Target], ...]  # http(s) links only
    status: str = ""  # as in Page


def check_base(page: Page) -> None:
    """Raise BrokenPage for a `<base href>` longer than MAX_LINK: it becomes part of each relative link."""
    if len(page.base_href) > MAX_LINK:
        raise BrokenPage(f"its <base href> is longer than {MAX_LINK:,} characters")


def edit(page: Page, changes: Sequence[tuple[int, int, str]]) -> bytes:
    """Replace spans of `page.text` by escaped values; every other byte survives. ValueError where spans overlap.

    >>> edit(Page(text="<a href=x>", encoding="latin-1", links=()), [(8, 9, "y")])
    b'<a href=y>'
    """
    edited = io.BytesIO()  # pieces that are joined and then encoded take three times the memory of a page of 32 MB
    position = 0
    for start, end, value in sorted(changes):
        if start < position:
            raise ValueError(f"changes overlap at {start}")
        edited.write((page.text[position:start] + value).encode(page.encoding))
        position = end
    edited.write(page.text[position:].encode(page.encoding))
    return edited.getvalue()
