"""The name that an entry of the store has in the shared tier, and back; and the URL by which the tier is asked for it.

| entry | object |
|---|---|
| a release file with a digest | `file/<space>/<project>/<digest>/<file name>` |
| of a file's download, its lease | `lease/<space>/<digest>/<file name>/<n>` (`leases`) |
| an index page or document | `page/<space>/<index>/<project or document>/<representation>` |

The project stands before the digest so that one listing finds all files of a project. Characters that some object store or file system
takes in a way of its own are written as `=XX`; nothing else is, so people can read the names.
"""

from __future__ import annotations

import re
from typing import Final

from pkgcache.engine.store.keys import ParsedKey, StoreKey, file_key, made_document, parse_key
from pkgcache.engine.upstream.errors import SHARED_ORIGIN
from pkgcache.rules.routing.digests import Digest
from pkgcache.rules.routing.urls import Url, parse_url

WAITING: Final = "wait"
"""The query of a file's URL by which a download waits for another machine's (`leases`)."""

MOST_DIGITS: Final = 10

MOST_NAME: Final = 240
"""Characters of one part of a name: file systems take 255, and object stores 1,024 in all."""

_ESCAPED: Final = re.compile(r"[^A-Za-z0-9._-]|\A\.")
_ESCAPE: Final = re.compile(r"=([0-9A-F]{2})")

_MADE: Final = made_document("")

_ROOT: Final = parse_url(SHARED_ORIGIN)


def object_name(key: StoreKey) -> str | None:
    """The name of an entry's object; None for what is not shared: files without a digest, what is made here, names that are too long.

    >>> object_name(file_key("-", "sha256:" + "ab" * 32, "torch-2.0+cpu.tar.gz"))[:32]
    'file/-/torch/sha256=3Aababababab'
    """
    parsed = parse_key(key)
    if parsed.kind == "file" and _has_digest(parsed):
        texts = ["file", parsed.space, parsed.project, parsed.identity, parsed.name]
    elif parsed.kind == "page" and key.count("|") == 4 and not parsed.name.endswith(_MADE):
        texts = key.split("|")
    else:
        return None
    parts = [_escape(text) for text in texts]
    return "/".join(parts) if max(map(len, parts)) <= MOST_NAME else None


def key_of_object(name: str) -> StoreKey | None:
    """The key of the entry that an object is of; None where its name is not one of these.

    >>> key = file_key("-", "sha256:" + "ab" * 32, "torch-2.0+cpu.tar.gz")
    >>> key_of_object(object_name(key)) == key
    True
    """
    try:
        parts = [_unescape(part) for part in name.split("/")]
    except ValueError:
        return None
    if len(parts) != 5:
        return None
    key = file_key(parts[1], parts[3], parts[4]) if parts[0] == "file" else StoreKey("|".join(parts))
    return key if object_name(key) == name else None


def project_prefix(space: str, project: str) -> str:
    """Where the names of a project's files begin."""
    return "/".join(map(_escape, ("file", space, project)))


def lease_prefix(name: str) -> str:
    """Where the names of the leases of a file's object begin.

    >>> lease_prefix("file/-/six/sha256=3Aab/six-1.0.tar.gz")
    'lease/-/sha256=3Aab/six-1.0.tar.gz'
    """
    _, space, _, digest, filename = name.split("/")
    return f"lease/{space}/{digest}/{filename}"


def lease_number(name: str) -> int:
    """The number of a lease; 0 for what is none."""
    number = name.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < MOST_DIGITS else 0


def shared_url(name: str, query: str = "") -> Url:
    """The URL of an object, as fills know it."""
    return _ROOT.with_path(f"/{name}", query)


def named_by(url: str) -> str | None:
    """The object that a URL is of; None for an upstream's."""
    return url[len(SHARED_ORIGIN) + 1 :].partition("?")[0] if url.startswith(SHARED_ORIGIN + "/") else None


def _has_digest(parsed: ParsedKey) -> bool:
    try:
        return str(Digest.parse(parsed.identity)) == parsed.identity
    except ValueError:
        return False


def _escape(part: str) -> str:
    return _ESCAPED.sub(lambda found: "".join(f"={byte:02X}" for byte in found[0].encode()), part) or "="


def _unescape(part: str) -> str:
    """Undo `_escape`. Raises ValueError (UnicodeDecodeError) for bytes that are no text."""
    if part == "=":
        return ""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), part).encode("latin-1").decode()
