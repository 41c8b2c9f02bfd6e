r"""What is wrong with the head of a request: its request line and its `Host` (RFC 9112 §3), and field values that no head may have.

mitmproxy's parser takes what this module refuses: a request without `Host` or with two, `GET *`, a bare carriage return in a value.
Leaves out: field names and the fields that frame a body, which mitmproxy's `validate_headers` checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

type Fields = tuple[tuple[bytes, bytes], ...]
"""Header lines as they came, or as they are sent: names and values."""

_VERSION: Final = re.compile(rb"HTTP/1\.[0-9]")
_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_FRAMING: Final = frozenset({b"GET", b"HEAD", b"CONNECT"})
"""Methods that mitmproxy knows in any case, and servers in capitals alone (RFC 9110 §9.1): the two would frame an answer differently."""

# uri-host [ ":" port ] with the names that the DNS has: RFC 3986's reg-name also allows what a shell or a page would take apart.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)(?::([0-9]{0,5}))?")
_MAX_PORT: Final = 65535

_EMPTY_PATH: Final = re.compile(rb"[^ ]++ [A-Za-z][A-Za-z0-9+.-]*+://[^/?# ]++(?=\?)")
_WHOLE_SERVER: Final = re.compile(rb"OPTIONS [A-Za-z][A-Za-z0-9+.-]*://[^/?# ]+ ")
_UNCLEAN: Final = re.compile(rb"\A[ \t]|[\0-\x08\x0a-\x1f\x7f]")


def with_path(line: bytes) -> bytes:
    """Return a request line whose target has a path: an empty one of an absolute URL is the same as `/` (RFC 9110 §4.2.3).

    >>> with_path(b"GET http://a.test?x=1 HTTP/1.1")
    b'GET http://a.test/?x=1 HTTP/1.1'
    """
    found = _EMPTY_PATH.match(line)
    return line if found is None else line[: found.end()] + b"/" + line[found.end() :]


def is_for_whole_server(line: bytes) -> bool:
    """Whether a request line asks for the options of a server, and not of a path on it (RFC 9112 §3.2.4).

    >>> is_for_whole_server(b"OPTIONS http://a.test HTTP/1.1"), is_for_whole_server(b"OPTIONS http://a.test/ HTTP/1.1")
    (True, False)
    """
    return _WHOLE_SERVER.match(line) is not None


def is_host(value: bytes) -> bool:
    """Whether a `Host` names a host and perhaps a port.

    >>> is_host(b"a.test:8080"), is_host(b"a.test:80800"), is_host(b"me@a.test"), is_host(b"")
    (True, False, False, False)
    """
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or 0) <= _MAX_PORT


def is_clean(lines: Iterable[bytes]) -> bool:
    r"""Whether header lines, as they came, have no control character (RFC 9110 §5.5) and none is folded (RFC 9112 §5.2).

    >>> is_clean([b"A: b\tc"]), is_clean([b"A: b\rc"]), is_clean([b"A: b", b" c"])
    (True, False, False)
    """
    return not any(map(_UNCLEAN.search, lines))


def why_bad(method: bytes, target: bytes, version: bytes, fields: Fields) -> tuple[HTTPStatus, str] | None:
    """Return status and text of the refusal of a request's head; None if nothing is wrong with it.

    `target` is the path of origin-form, and empty for CONNECT.
    """
    if not _VERSION.fullmatch(version):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this proxy speaks HTTP/1.1"
    if not _METHOD.fullmatch(method):
        return HTTPStatus.BAD_REQUEST, "the method is no token"  # RFC 9110 §9.1
    if method not in _FRAMING and method.upper() in _FRAMING:
        return HTTPStatus.BAD_REQUEST, "the method is not in capitals"
    if target == b"*" and method != b"OPTIONS":
        return HTTPStatus.BAD_REQUEST, "the target * is for OPTIONS alone"  # RFC 9112 §3.2.4
    hosts = [value for name, value in fields if len(name) == len(b"host") and name.lower() == b"host"]
    return _why_bad_host(hosts, may_lack=version == b"HTTP/1.0" or method == b"CONNECT")


def _why_bad_host(hosts: list[bytes], *, may_lack: bool) -> tuple[HTTPStatus, str] | None:
    """RFC 9112 §3.2: exactly one valid Host, but for HTTP/1.0, which had none. Small clients leave it out of CONNECT, too."""
    if not hosts and not may_lack:
        return HTTPStatus.BAD_REQUEST, "the request has no Host header"
    if len(hosts) > 1:
        return HTTPStatus.BAD_REQUEST, "the request has more than one Host header"
    if hosts and not is_host(hosts[0]):
        return HTTPStatus.BAD_REQUEST, "the Host header names no host"
    return None
