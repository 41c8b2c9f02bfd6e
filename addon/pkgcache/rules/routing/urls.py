"""URLs as values: their parts, one spelling of their paths for keys, and references made absolute.

By RFC 3986 §3 (parts), §5.2 (resolution), §5.2.4 (dot segments) and §6.2.2 (normalisation). A percent-encoded dot counts as a dot
everywhere, because pip decodes it before it asks.

No library is used, because a URL must keep its spelling: `yarl`, `httpx` and `furl` quote and normalise as they parse, and clients
compare the URLs of lock files as texts. `urllib.parse` keeps the spelling, but takes white space, backslashes and `user@` silently, and
its `urljoin` does not know `%2e`.

Leaves out: user information (refused, since credentials travel in headers), international host names (write them as `xn--`), IPv6
zones, and every scheme but http and https.
"""

import base64
import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import unquote

from pkgcache.rules.memo import memo
from pkgcache.units import redact

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_HIGHEST_PORT: Final = 65535
# RFC 3986 §3.3: pchar = unreserved / pct-encoded / sub-delims / ":" / "@"
_SEGMENT_CHARACTERS: Final = r"A-Za-z0-9\-._~!$&'()*+,;=:@"
_SEGMENT_LITERALS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@")
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))

_ABSOLUTE: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.DOTALL)
# RFC 3986 appendix B, with the grammar of schemes (§3.1), by which `+f:x` is a path.
_REFERENCE: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_NOT_IN_A_URL: Final = re.compile(r"[^\x21-\x7e]")
_NOT_IN_A_REFERENCE: Final = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")
_NOT_IN_A_SEGMENT: Final = re.compile(rf"[^{_SEGMENT_CHARACTERS}]")
_RESPELT: Final = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^{_SEGMENT_CHARACTERS}/]")
_DOT_SEGMENT: Final = re.compile(r"/(?:\.|%2[eE]){1,2}(?:/|\Z)")
_AUTHORITY: Final = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::([0-9]*))?")
_REGISTERED_NAME: Final = re.compile(r"[a-z0-9_~!$&'()*+,;=\-]+(?:\.[a-z0-9_~!$&'()*+,;=\-]+)*")


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL, without user information and fragment.

    >>> str(parse_url("HTTPS://Index.Test.:443/simple/six/?x=1#y"))
    'https://index.test/simple/six/?x=1'
    """

    scheme: str  # 'http' or 'https'
    host: str  # lower case, no trailing dot, IPv6 without brackets
    port: int
    path: str  # as spelt, begins with '/'
    query: str  # '' if there is none, never with its '?'

    @property
    def authority(self) -> str:
        """`host[:port]`: the default port left out, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://authority`, as in RFC 6454 §6.2."""
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """The request target in origin form: `path[?query]` (RFC 9112 §3.2.1)."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        return self.origin + self.target

    def with_path(self, path: str, query: str = "") -> "Url":
        """Return a URL of the same origin with another path and query."""
        return replace(self, path=path, query=query)


def parse_url(text: str) -> Url:
    """Read an absolute http(s) URL. Its fragment is dropped, and an empty path becomes `/`.

    ValueError says in one line what is wrong, and never repeats user information.
    """
    match = _ABSOLUTE.fullmatch(text)
    if match is None:
        raise ValueError(f"not an absolute http or https URL: {redact(text)[:80]!r}")
    scheme, authority, path, query = match.groups()
    if "@" in authority:
        raise ValueError("a URL with user information is not taken: leave out what stands before '@'")
    if bad := _NOT_IN_A_URL.search(text):
        raise ValueError(f"character {bad[0]!r} cannot stand in a URL: {text[:200]!r}")
    scheme = scheme.lower()
    host, port = parse_authority(authority, DEFAULT_PORTS[scheme])
    return Url(scheme, host, port, path or "/", query or "")


@memo(maxsize=1024)
def parse_authority(text: str, default_port: int) -> tuple[str, int]:
    """Read `host[:port]` (RFC 3986 §3.2) into a host, in the form of `Url.host`, and a port. Raises ValueError.

    >>> parse_authority("Host.Test.:8443", 443)
    ('host.test', 8443)
    >>> parse_authority("[::1]:80", 443)
    ('::1', 80)
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError(f"not a host or host:port: {text[:200]!r}")
    address, name, digits = match.groups()
    # RFC 3986 §3.2.3: an empty port is the default one.
    port = int(digits[:6]) if digits else default_port
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"port must be 1 to {_HIGHEST_PORT}: {text[:200]!r}")
    return (_parse_name(name, text) if address is None else _parse_ipv6(address)), port


def join_authority(host: str, port: int) -> str:
    """Write what `parse_authority` reads, with the port.

    >>> join_authority("::1", 8443)
    '[::1]:8443'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def basic_credentials(userinfo: str) -> str:
    """Make an `Authorization` value of a URL's user information (RFC 7617 §2); empty where there is none.

    Percent-encoded characters are decoded (RFC 3986 §3.2.1). Without a password the colon stays, as pip and curl send it.

    >>> basic_credentials("user:p%40ss")
    'Basic dXNlcjpwQHNz'
    >>> basic_credentials("token") == basic_credentials("token:")
    True
    """
    if not userinfo:
        return ""
    user, _, password = userinfo.partition(":")
    return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def remove_dot_segments(path: str) -> str:
    """Remove `.` and `..` segments from a path (RFC 3986 §5.2.4), also those spelt `%2e`.

    `..` at the root is dropped; `//` and `%2F` are kept. A path without a leading slash is returned without one.

    >>> remove_dot_segments("/simple/six/%2E%2e/../packages/x")
    '/packages/x'
    """
    if not path.startswith("/"):
        return remove_dot_segments(f"/{path}")[1:]
    if ("/." not in path and "/%2" not in path) or _DOT_SEGMENT.search(path) is None:
        return path
    segments: list[str] = []
    dots = ""
    for segment in path.split("/")[1:]:
        dots = segment.replace("%2e", ".").replace("%2E", ".")
        if dots == "..":
            del segments[-1:]
        elif dots != ".":
            segments.append(segment)
    if dots in {".", ".."}:  # a dot segment at the end leaves its slash
        segments.append("")
    return "/" + "/".join(segments)


def normalise_path(path: str) -> str:
    """Give all spellings of a path one spelling, for keys (RFC 3986 §6.2.2). Idempotent.

    Dot segments are removed, characters that may be in a path are written literally, the other escapes in upper case, and all else is
    percent-encoded as UTF-8. `%2F`, `%25` and control characters stay encoded. It matters because pip writes `+` as `%2B` and uv does
    not: one file must have one key.

    >>> normalise_path("/a/../torch-2.0%2bcpu.whl")
    '/torch-2.0+cpu.whl'
    """
    return _RESPELT.sub(_respell, remove_dot_segments(path)) or "/"


def quote_segment(text: str) -> str:
    """Encode a text as one path segment, in the spelling of `normalise_path`.

    >>> quote_segment("a/b+1%.whl")
    'a%2Fb+1%25.whl'
    """
    return _NOT_IN_A_SEGMENT.sub(_percent_encode, text)


def resolve_reference(base: Url, reference: str) -> str:
    """Make a page's reference absolute (RFC 3986 §5.3), keeping its query and fragment.

    As in the URL Standard, ASCII white space and control characters around it are stripped, tabs and line ends inside it are removed, and
    characters that a URL cannot have are percent-encoded. A reference with another scheme than http and https is returned unchanged.
    ValueError where it has no host or has user information.

    >>> resolve_reference(parse_url("https://mirror.test/pypi/simple/six/"), "../../packages/x.whl#sha256=00")
    'https://mirror.test/pypi/packages/x.whl#sha256=00'
    """
    text = reference.strip(_C0_AND_SPACE)
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "").replace("\t", "").replace("\r", "")
    match = _REFERENCE.fullmatch(text)
    if match is None:  # pragma: no cover - the pattern matches every text
        raise ValueError(f"not a reference: {text[:200]!r}")
    scheme, authority, path, query, fragment = match.groups()
    scheme = scheme.lower() if scheme else base.scheme
    if scheme not in DEFAULT_PORTS:
        return reference
    if authority is not None:
        origin, path = _parse_origin(scheme, authority), path or "/"
    elif scheme != base.scheme:
        raise ValueError(f"no host: {text[:200]!r}")
    else:  # RFC 3986 §5.2.2, not strict: `https:x` on an https page is relative, as for `urljoin` and browsers
        origin = base.origin
        if not path:
            path, query = base.path, query if query is not None else base.query and f"?{base.query}"
        elif path[0] != "/":
            path = base.path[: base.path.rindex("/") + 1] + path
    return origin + _clean(remove_dot_segments(path)) + _clean(query or "") + _clean(fragment or "")


def _parse_name(name: str, text: str) -> str:
    host = name.lower().removesuffix(".")
    if not host:
        raise ValueError(f"no host: {text[:200]!r}")
    if _REGISTERED_NAME.fullmatch(host) is None:
        raise ValueError(f"not a host name: {name[:200]!r}")
    return host


def _parse_ipv6(address: str) -> str:
    try:
        return str(IPv6Address(address.replace("%", " ")))  # refuses a zone, which means something on one machine only
    except ValueError:
        raise ValueError(f"not an IPv6 address: {address[:200]!r}") from None


@memo(maxsize=1024)
def _parse_origin(scheme: str, authority: str) -> str:
    return parse_url(f"{scheme}://{authority}").origin


def _clean(part: str) -> str:
    return _NOT_IN_A_REFERENCE.sub(_percent_encode, part)


def _respell(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) == 1:
        return _percent_encode(match)
    character = chr(int(found[1:], 16))
    return character if character in _SEGMENT_LITERALS else found.upper()


def _percent_encode(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
