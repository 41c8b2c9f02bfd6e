"""What a proxy changes in a message that it passes on (RFC 9110 §7.6): fields that are for one connection, `Via`, `Max-Forwards`.

`Transfer-Encoding` stays although it is hop-by-hop: mitmproxy frames what it sends by the message's own fields.
"""

from __future__ import annotations

import re
from typing import Final

from pkgcache.rules.http.request_head import Fields

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"trailer",  # trailers are dropped here (§6.5.1)
        b"upgrade",
        b"proxy-authorization",  # §11.7.2: it is for this proxy
        b"proxy-authentication-info",
    }
)
"""RFC 9110 §7.6.1."""

_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""Fields that stay though `Connection` names them: without them the message would be another one."""

_LINE_BREAKS: Final = re.compile(rb"[\r\n\0]+")
_COUNT: Final = re.compile(rb"[0-9]+")


def options_of(fields: Fields) -> frozenset[bytes]:
    """Return the options of all `Connection` lines, in lower case.

    >>> sorted(options_of(((b"Connection", b"Close , X-Mine"), (b"connection", b"TE"))))
    [b'close', b'te', b'x-mine']
    """
    found: set[bytes] = set()
    for name, value in fields:
        if len(name) == len(b"connection") and name.lower() == b"connection":
            found.update(option.strip(b" \t") for option in value.lower().split(b","))
    return frozenset(found)


def with_plain_options(fields: Fields) -> Fields:
    """Return the fields with the options of `Connection` in lower case: mitmproxy compares them as they are (§7.6.1: case does not count).

    >>> with_plain_options(((b"Connection", b"Close"), (b"A", b"B")))
    ((b'Connection', b'close'), (b'A', b'B'))
    """
    if b"connection" not in [name.lower() for name, _ in fields]:
        return fields
    return tuple([(name, value.lower() if name.lower() == b"connection" else value) for name, value in fields])


def end_to_end(fields: Fields, *, upgrades: bool = False) -> Fields:
    """Return the fields that are passed on: without those of this connection, and those that `Connection` names.

    `upgrades`: the message offers or accepts another protocol, which the next hop has to be told in the same way (§7.8).

    >>> end_to_end(((b"Connection", b"x-mine"), (b"X-Mine", b"1"), (b"Keep-Alive", b"5"), (b"Accept", b"*/*")))
    ((b'Accept', b'*/*'),)
    """
    dropped = (HOP_BY_HOP | options_of(fields)) - _FRAMING
    if not upgrades:
        return tuple(field for field in fields if field[0].lower() not in dropped)
    kept = tuple(field for field in fields if field[0].lower() not in dropped - {b"upgrade"})
    return (*kept, (b"Connection", b"upgrade")) if any(name.lower() == b"upgrade" for name, _ in kept) else kept


def with_via(fields: Fields, received: bytes, name: bytes) -> Fields:
    """Return the fields with this proxy at the end of `Via` (§7.6.3). `received`: the version that the message came in.

    >>> with_via(((b"Via", b"1.0 fred"),), b"HTTP/1.1", b"us")
    ((b'Via', b'1.0 fred, 1.1 us'),)
    """
    before = [value for key, value in fields if key.lower() == b"via"]
    others = tuple(field for field in fields if field[0].lower() != b"via")
    return (*others, (b"Via", b", ".join([*before, received.removeprefix(b"HTTP/") + b" " + name])))


def unfolded(fields: Fields) -> Fields:
    r"""Return an upstream's fields with a space for each line break or NUL in a value (§5.5, RFC 9112 §5.2).

    >>> unfolded(((b"A", b"one\r\n two\rthree"),))
    ((b'A', b'one two three'),)
    """
    if not any(b"\r" in value or b"\n" in value or b"\0" in value for _, value in fields):
        return fields
    return tuple((name, b" ".join(part.strip(b" \t") for part in _LINE_BREAKS.split(value))) for name, value in fields)


def forwards_left(method: bytes, fields: Fields) -> int | None:
    """Return how often a TRACE or OPTIONS may still be passed on, by its `Max-Forwards` (§7.6.2); None where it does not say.

    >>> forwards_left(b"TRACE", ((b"Max-Forwards", b"3"),)), forwards_left(b"GET", ((b"Max-Forwards", b"0"),))
    (3, None)
    """
    if method not in {b"TRACE", b"OPTIONS"}:
        return None
    counts = [value for name, value in fields if name.lower() == b"max-forwards" and _COUNT.fullmatch(value)]
    return min(int(count.lstrip(b"0")[:9] or b"0") for count in counts) if counts else None
