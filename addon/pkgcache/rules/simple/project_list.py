"""The list of all projects as HTML (PEP 503): links that lead to the same projects at every address, edited a piece at a time.

Upstreams write `name/`, `/simple/name/` or the whole URL. All three become `name/`, which holds at the index's own URL, at a mirror's
and at the proxy's, since the list is only given at a URL that ends in a slash. A link that is so already stays, and so does every
other byte. JSON (PEP 691) names projects without links, and needs no edit.

Leaves out: links to anything but project pages under the upstream's own index URL, `<base href>`, and links that are split by a tag
longer than MAX_TAG.
"""

import re
from typing import Final

from pkgcache.rules.routing.urls import Url

MAX_TAG: Final = 4096
_NAME: Final = rb"[A-Za-z0-9][A-Za-z0-9._-]*/?(?=[\"'\s>])"
_PROJECT: Final = re.compile(rb"<a\s[^>]*?href\s*=\s*[\"']?(?:\./)?" + _NAME, re.IGNORECASE)
_MARKS: Final = (b"pypi:repository-version", b"simple index")


class RootEditor:
    """Edits one HTML list. `url`: the upstream's final URL of it."""

    def __init__(self, url: Url) -> None:
        path = url.path[: url.path.rindex("/") + 1]
        places = b"|".join(
            re.escape(place.encode()) for place in (f"{url.origin}{path}", f"//{url.authority}{path}", path)
        )
        # Only a project's page: a name, perhaps its slash, and then the value's end
        self._link = re.compile(
            rb"(<a\s(?:[^<>]*?\s)?href\s*=\s*[\"']?)(?:" + places + rb")(?=" + _NAME + rb")",
            re.IGNORECASE,
        )
        self._rest = b""
        self.is_list = False

    def feed(self, data: bytes) -> bytes:
        """The next piece, as far as it can be told."""
        data = self._rest + data
        cut = data.rfind(b"<", max(0, len(data) - MAX_TAG))
        if cut < 0 or b">" in data[cut:]:
            cut = len(data)
        self._rest = data[cut:]
        return self._edit(data[:cut])

    def end(self) -> bytes:
        """What is left."""
        data, self._rest = self._rest, b""
        return self._edit(data)

    def _edit(self, data: bytes) -> bytes:
        edited = self._link.sub(rb"\1", data)
        if not self.is_list:
            self.is_list = _PROJECT.search(edited) is not None or any(mark in edited.lower() for mark in _MARKS)
        return edited


class RootChecker:
    """Sees whether a JSON body is a list of projects, a piece at a time: an object with a member `projects`, and whole.

    Whole is what has as many closing brackets as opening ones: no project's name has any.
    """

    def __init__(self) -> None:
        self._before = b""
        self._named = False
        self._first = b""
        self._open = [0, 0]

    def feed(self, data: bytes) -> bytes:
        """The next piece, as it is."""
        seen = self._before + data
        self._named = self._named or b'"projects"' in seen
        self._before = seen[-len(b'"projects"') :]
        self._first = self._first or data.strip(b" \t\r\n\xef\xbb\xbf")[:1]
        self._open[0] += data.count(b"{") - data.count(b"}")
        self._open[1] += data.count(b"[") - data.count(b"]")
        return data

    def end(self) -> bytes:
        """There is nothing left."""
        return b""

    @property
    def is_list(self) -> bool:
        """Whether it was one."""
        return self._named and self._first == b"{" and self._open == [0, 0]
