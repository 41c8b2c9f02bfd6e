r"""The two readings of a request's path: the strict one, by which it is routed, and the loose one, by which it is refused.

The strict reading decodes once (RFC 3986 §6.2.2): `%40` and `@` are one, the case of hex digits does not count, empty and dot
segments go, and `%2f` never equals `/` (§2.2). The loose reading is what a lenient server might take the path for: decoded again and
again, `\` as `/`, without path parameters, in lower case. A path that could mean something only by its loose reading is not certain,
and nobody is asked for it.

Leaves out: Unicode's look-alikes and overlong UTF-8, which no server of packages is known to fold.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from pkgcache.rules.routing.filenames import is_distribution, split_filename
from pkgcache.rules.routing.urls import Url, normalise_path, remove_dot_segments

MAX_DECODINGS: Final = 4
"""How often a path is decoded for its loose reading. Two is what a proxy before a server does; more is no honest client's."""

type Segments = tuple[str, ...]


def strict_path(path: str) -> str:
    """The one spelling of a path by which it is routed; idempotent.

    >>> strict_path("/pkgs//feed%40Local/./pypi%2fsimple/")
    '/pkgs/feed@Local/pypi%2Fsimple/'
    """
    path = normalise_path(path)
    if "//" not in path:
        return path
    end = "/" if path.endswith("/") else ""
    segments = "/".join(filter(None, path.split("/")))
    return f"/{segments}{end}" if segments else "/"


def as_spelt(url: Url) -> Url:
    """The URL to ask an upstream for: as the client spelt it (a mirror may know `%2B` and not `+`), but without dot segments."""
    return url.with_path(remove_dot_segments(url.path), url.query)


def loose_segments(path: str) -> Segments | None:
    r"""The segments that a lenient server might see; None where the path is encoded more than `MAX_DECODINGS` times.

    >>> loose_segments("/a/..;/Corp%252fsimple\\evil;x=1/")
    ('corp', 'simple', 'evil')
    """
    decoded = _decoded(path)
    return None if decoded is None else _segments(decoded)


def loose_readings(path: str) -> tuple[Segments, ...]:
    r"""All that a lenient server might see: `loose_segments`, and where `//` is in front the same without the first one.

    A server that takes the request's target for a reference has it name a host (RFC 3986 §4.2). Nothing where the path is encoded too
    often.

    >>> loose_readings("//any.example/corp/simple/evil/")
    (('any.example', 'corp', 'simple', 'evil'), ('corp', 'simple', 'evil'))
    """
    decoded = _decoded(path)
    if decoded is None:
        return ()
    segments = _segments(decoded)
    return (segments, segments[1:]) if _may_name_a_host(decoded) else (segments,)


def names_a_file(segments: Segments) -> bool:
    """Whether any of these segments is called like a release file or what belongs to one."""
    return any(is_distribution(split_filename(segment)[0]) for segment in segments)


def _decoded(path: str) -> str | None:
    for _ in range(MAX_DECODINGS):
        decoded = unquote(path)
        if decoded == path:
            return path
        path = decoded
    return path if unquote(path) == path else None


def _may_name_a_host(path: str) -> bool:
    """Whether `//` is in front once dot segments have been removed: `/.//host/`, `/x/..//host/`."""
    depth = 0
    for name in _names(path)[1:]:
        if name == "" and not depth:
            return True
        depth += {"": 0, ".": 0, "..": -(depth > 0)}.get(name, 1)
    return False


def _names(path: str) -> list[str]:
    r"""The path's segments without parameters, query, fragment and what follows a NUL, in lower case."""
    return [
        segment.partition(";")[0].partition("?")[0].partition("#")[0].partition("\0")[0].strip()
        for segment in path.replace("\\", "/").lower().split("/")
    ]


def _segments(path: str) -> Segments:
    kept: list[str] = []
    for name in _names(path):
        if name == "..":
            del kept[-1:]
        elif name not in {"", "."}:
            kept.append(name)
    return tuple(kept)
