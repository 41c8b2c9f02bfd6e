"""Edits and checks the list of all projects while it streams: it is 30 MB and more, and is never held whole.

In HTML (PEP 503) upstreams write links as `name/`, `/simple/name/` or the whole URL. All three become `name/`, which is right at the
index's own URL, at a mirror's and at the proxy's, because the list is served only at a URL that ends in a slash. Every other byte
survives. In JSON (PEP 691) projects have no links, so there is nothing to edit.

Leaves out: links to anything but project pages under the upstream's own index URL, `<base href>`, and links in tags longer than
MAX_TAG.
"""

import re
from typing import Final

from pkgcache.rules.routing.urls import Url

MAX_TAG: Final = 4096
"""A tag that is cut by the end of a piece waits for the next piece, up to this many bytes."""

# A search begins anew at each `<a`, so the patterns end at the next `<`, and possessively wherever nothing else fits: what had no
# closing bracket was looked through from each `<a` to its end, 17 s for 128 kB.
_NAME: Final = rb"[A-Za-z0-9][A-Za-z0-9._-]*+/?+(?=[\"'\s>])"
_TO_LINK: Final = rb"<a\s(?:[^<>]*?\s)??href\s*+=\s*+[\"']?+"
_PROJECT: Final = re.compile(_TO_LINK + rb"(?:\./)?+" + _NAME, re.IGNORECASE)
_MARKS: Final = (b"pypi:repository-version", b"simple index")


class ProjectListEditor:
    """Edits one HTML list, piece by piece, and finds out whether it is one. `url` is the upstream's final URL of the list."""

    def __init__(self, url: Url) -> None:
        path = url.path[: url.path.rindex("/") + 1]
        places = b"|".join(
            re.escape(place.encode()) for place in (f"{url.origin}{path}", f"//{url.authority}{path}", path)
        )
        # Only links to project pages: a name, perhaps a slash, and the value's end.
        self._link = re.compile(
            rb"(" + _TO_LINK + rb")(?:" + places + rb")(?=" + _NAME + rb")",
            re.IGNORECASE,
        )
        self._rest = b""
        self.is_list = False

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what can be edited so far. A tag that is cut by the piece's end is held back."""
        data = self._rest + data
        cut = data.rfind(b"<", max(0, len(data) - MAX_TAG))
        if cut < 0 or b">" in data[cut:]:
            cut = len(data)
        self._rest = data[cut:]
        return self._edit(data[:cut])

    def end(self) -> bytes:
        """Return the bytes that were held back; call it once, after the last piece."""
        data, self._rest = self._rest, b""
        return self._edit(data)

    def _edit(self, data: bytes) -> bytes:
        edited = self._link.sub(rb"\1", data)
        if not self.is_list:
            self.is_list = _PROJECT.search(edited) is not None or any(mark in edited.lower() for mark in _MARKS)
        return edited


class ProjectListChecker:
    """Finds out, piece by piece, whether a JSON body is a complete list of projects: an object with a member `projects`.

    It is complete when it has as many closing brackets as opening ones. That is exact enough: no project's name contains brackets.
    """

    def __init__(self) -> None:
        self._before = b""
        self._named = False
        self._first = b""
        self._open = [0, 0]

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return it unchanged."""
        window = self._before + data  # the name may be cut by the end of a piece
        self._named = self._named or b'"projects"' in window
        self._before = window[-len(b'"projects"') :]
        self._first = self._first or data.strip(b" \t\r\n\xef\xbb\xbf")[:1]
        self._open[0] += data.count(b"{") - data.count(b"}")
        self._open[1] += data.count(b"[") - data.count(b"]")
        return data

    def end(self) -> bytes:
        """Return nothing, because nothing is held back."""
        return b""

    @property
    def is_list(self) -> bool:
        """Whether the pieces so far are a complete list."""
        return self._named and self._first == b"{" and self._open == [0, 0]
