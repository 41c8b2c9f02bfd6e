"""The facts that a page gives about its files, as one text: written once for each page, and read one file at a time.

As objects the facts of 8,000 files would cost many times the memory of one string. The text is a JSON object, from a file's key to an
array of facts. The key is the URL that identifies the file; in PyPI's layout the release path alone, which is the same on all mirrors.
The project's status, where the page gives one, is a text before them, and its key is empty.

Leaves out: what only the page itself needs (requires-python, provenance, signatures).
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pkgcache.rules.routing.digests import parse_release_path
from pkgcache.rules.simple.links import Target
from pkgcache.rules.simple.page_model import PageLink

_PLAIN_RELEASE: Final = re.compile(r"/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[A-Za-z0-9_][A-Za-z0-9._+\-]*")
_REMEMBERED: Final = (
    16_384  # look-ups remembered at most, so that asking for files that are not there cannot fill the memory
)
_DECODER: Final = json.JSONDecoder()
_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a page says of one file: fields of `PageLink`, as values."""

    filename: str
    hashes: Mapping[str, str]
    core_metadata: Mapping[str, str] | bool
    size: int | None
    upload_time: str
    yanked: bool | str

    @property
    def has_metadata(self) -> bool:
        """Whether its metadata can be asked for alone (PEP 658)."""
        return self.core_metadata is not False


class FileTable:
    """The files of one page by key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._found: dict[str, FileFacts | None] = {}

    @classmethod
    def of(cls, links: Iterable[tuple[PageLink, Target]], *, shares_pypi_files: bool, status: str = "") -> "FileTable":
        """Make the table of a page's links; of two links with one key the last counts. `shares_pypi_files` is for `file_id`.

        `status`: the project's (PEP 792).
        """
        last = {file_id(target.identity, shares_pypi_files=shares_pypi_files): link for link, target in links}
        text = io.StringIO(f'{{"":{_ENCODE(status)}' if status else "")
        text.seek(0, io.SEEK_END)  # row by row: all rows at once would take more memory than a page of 32 MB
        for key, link in last.items():
            row = (link.filename, link.hashes, link.core_metadata, link.size, link.upload_time, link.yanked)
            text.write(f"{',' if text.tell() else '{'}{_ENCODE(key)}:{_ENCODE(row)}")
        text.write("}" if text.tell() else "{}")
        return cls(text.getvalue())

    def get(self, key: str) -> FileFacts | None:
        """The facts of one file; None if the page does not list it."""
        if key not in self._found:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            name = f"{json.dumps(key)}:["
            # A quote inside a JSON string has a backslash before it, so what is found behind a comma or the first brace is a whole key.
            at = 0 if self.text.startswith(f"{{{name}") else self.text.find(f",{name}")
            self._found[key] = None if at < 0 else _facts(_DECODER.raw_decode(self.text, at + len(name))[0])
        return self._found[key]

    def named(self, filename: str) -> list[str]:
        """The keys of the files with this name, in the page's order."""
        found: list[str] = []
        # As in `get`: a quote that has no backslash before it is not inside a JSON string.
        row = f":[{json.dumps(filename)},"
        at = self.text.find(row)
        while at >= 0:
            end = at - 1  # of the key, without its closing quote
            start = 1 + max(self.text.rfind('{"', 0, end), self.text.rfind(',"', 0, end))
            found.append(json.loads(self.text[start:at]))
            at = self.text.find(row, at + len(row))
        return found

    def items(self) -> Iterator[tuple[str, FileFacts]]:
        """All files with their keys."""
        return ((key, _facts(row)) for key, row in json.loads(self.text).items() if isinstance(row, list))

    @property
    def status(self) -> str:
        """The project's status (PEP 792); '' where the page gives none."""
        return str(_DECODER.raw_decode(self.text, 4)[0]) if self.text.startswith('{"":"') else ""


def file_id(identity: str, *, shares_pypi_files: bool) -> str:
    """The key of a file from its `Target.identity`: the release path in PyPI's layout, which all mirrors share; else the URL.

    >>> file_id(f"https://mirror.test/packages/aa/bb/{'c' * 60}/six-1.0.zip", shares_pypi_files=True)[:20]
    '/packages/aa/bb/cccc'
    >>> file_id("https://mirror.test/packages/six-1.0.zip", shares_pypi_files=True)
    'https://mirror.test/packages/six-1.0.zip'
    """
    if not shares_pypi_files:
        return identity
    # The usual spelling first: `parse_release_path` takes any, and seven times as long.
    if (at := identity.rfind("/packages/")) > 0 and _PLAIN_RELEASE.fullmatch(identity, at) and "?" not in identity:
        return identity[at:]
    release = parse_release_path(identity.partition("?")[0])
    return release.path if release else identity


def _facts(row: list[Any]) -> FileFacts:
    filename, hashes, core_metadata, size, upload_time, yanked = row
    return FileFacts(
        filename=filename, hashes=hashes, core_metadata=core_metadata, size=size, upload_time=upload_time, yanked=yanked
    )
