"""Every key of the store: made here, and taken apart here.

| key | entry |
|---|---|
| `file|<space>|<digest or URL>|<file name>` | a release file |
| `part|<space>|<digest or URL>|<file name>` | ranges of a release file that is not stored whole |
| `page|<space>|<index>|<project or document>|<representation>` | an index page, as the upstream sent it |
| `view|<variant>|<kind>|<page's key>` | that page as one kind of client sees it |
| `root|<space>|<index>|<representation>` | an index's list of all projects |
| `hosts` | the file hosts learned from pages |
| `probe` | an entry that is written and dropped, to see whether that works |

`<space>` names whose credentials fetched it; `-` is public. These texts are the store's format 1: rename the functions, never the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NewType
from urllib.parse import quote, unquote

from pkgcache.rules.routing.filenames import project_of, split_filename
from pkgcache.rules.routing.routes import PUBLIC
from pkgcache.rules.simple.representations import Representation

StoreKey = NewType("StoreKey", str)
"""A key that one of the functions here has made, or that was read from the store."""

type EntryKind = Literal["file", "part", "page", "view", "root", "other"]

HOSTS_KEY = StoreKey("hosts")
PROBE_KEY = StoreKey("probe")


def file_key(space: str, identity: str, name: str) -> StoreKey:
    """Make the key of a release file. `identity` is its digest, or its URL where no digest is known.

    >>> file_key("-", "sha256:ab12", "six-1.0.tar.gz")
    'file|-|sha256:ab12|six-1.0.tar.gz'
    """
    return StoreKey(f"file|{space}|{identity}|{quote(name)}")


def range_key(file: StoreKey) -> StoreKey:
    """Make the key of the ranges that are cached of a release file, from that file's key."""
    return StoreKey(f"part|{file.partition('|')[2]}")


def page_key(space: str, index: str, name: str, representation: Representation) -> StoreKey:
    """Make the key of a page. `name` is the project's, or the path of a JSON API document below `/pypi/`."""
    return StoreKey(f"page|{space}|{index}|{name}|{representation}")


def made_document(document: str) -> str:
    """Make the `name` of a document that was made here, beside what the upstream answers for it.

    >>> made_document("six/1.0/json")
    'six/1.0/json/made'
    """
    return f"{document}/made"


def family_name(name: str, family: str) -> str:
    """Make the `name` of a page for one family of clients, where the upstream has another for each.

    >>> family_name("six", "uv")
    'six/for-uv'
    """
    return f"{name}/for-{family}"


def variant_key(variant: str, kind: Literal["html", "json"], page: StoreKey) -> StoreKey:
    """Make the key of a page's variant. `variant` says which clients see it so (`PageRequest.variant`)."""
    return StoreKey(f"view|{variant}|{kind}|{page}")


def project_list_key(index: str, representation: Representation) -> StoreKey:
    """Make the key of an index's list of all projects; it is always public."""
    return StoreKey(f"root|{PUBLIC}|{index}|{representation}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedKey:
    """A key taken apart. A field that its kind does not have is empty.

    `identity` is a file's digest or URL; `name` a file's name, or a page's representation; `page` the key of the page that a view
    belongs to.
    """

    kind: EntryKind
    space: str = PUBLIC
    index: str = ""
    project: str = ""
    name: str = ""
    identity: str = ""
    page: str = ""

    @property
    def private(self) -> bool:
        """Whether it was fetched with credentials, and is kept for these alone."""
        return self.space != PUBLIC

    def __str__(self) -> str:
        """For people: `six six-1.0.tar.gz`, `six page json`."""
        words = (self.project, "" if self.kind in {"file", "other"} else self.kind, self.name)
        return " ".join(filter(None, words))

    @property
    def shown_space(self) -> str:
        """`public`, or `private:` and the first digits of the credentials' keyed digest."""
        return f"private:{self.space[:8]}" if self.private else "public"


def parse_key(key: str) -> ParsedKey:
    """Take a key apart; anything else is of kind `other`.

    >>> parse_key("page|-|pypi|six|json").project
    'six'
    """
    kind, *parts = key.split("|")
    if kind in {"file", "part"} and len(parts) >= 3:
        name = unquote(parts[-1])
        return ParsedKey(
            kind="file" if kind == "file" else "part",
            space=parts[0],
            identity="|".join(parts[1:-1]),
            name=name,
            project=project_of(split_filename(name)[0]),
        )
    if kind == "page" and len(parts) >= 4:
        # A document of the JSON API (`<project>/<version>/json`) is its project's, too.
        project, _, document = parts[-2].partition("/")
        name = document or parts[-1]
        return ParsedKey(kind="page", space=parts[0], index="|".join(parts[1:-2]), project=project, name=name)
    if kind == "view" and len(parts) >= 7 and parts[2] == "page":
        page = parse_key(key.split("|", 3)[3])
        return ParsedKey(
            kind="view",
            space=page.space,
            index=page.index,
            project=page.project,
            name=f"{parts[0]} {parts[1]}",
            page="|".join(parts[2:]),
        )
    if kind == "root" and len(parts) >= 3:
        return ParsedKey(kind="root", space=parts[0], index="|".join(parts[1:-1]), name=parts[-1])
    return ParsedKey(kind="other", name=key)
