"""Sizes and times as people write them, read and shown; and texts without the credentials of URLs."""

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)?", re.IGNORECASE)
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_BLANKS: Final = re.compile(r"([\s\x1b]+)")
"""With the escape character, by which mitmproxy colours its lines."""

_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # Bidi_Control (Unicode Annex 9): they show a line in another order
)

_RAW_BYTES: Final = re.compile(r"""\bb(['"])([A-Za-z-]{1,32}[ :])?.*\1""")
_FIELD: Final = re.compile(r"""((?:authorization|cookie2?)(?:['"]\s?[:=,]|[:=])\s?)[^\r\n]+""", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a size: `10g`, `512m`, `64k`, `1t`, or bytes; in powers of 1024, as nginx counts. ValueError shows a right one.

    >>> parse_size("10g"), parse_size("1.5 KiB")
    (10737418240, 1536)
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a size such as 512m or 10g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def parse_duration(text: str) -> float:
    """Read a time: `30s`, `10m`, `12h`, `30d`, `2w`, or seconds. ValueError shows a right one.

    >>> parse_duration("10m")
    600.0
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("a time such as 30s, 10m, 12h or 30d")
    return float(match[1]) * _SECONDS[match[2].lower() if match[2] else None]


def parse_optional_duration(text: str) -> float | None:
    """Read a time, or None from an empty text, which means that it is not set."""
    return parse_duration(text) if text.strip() else None


def shown_bytes(size: float) -> str:
    """Write a size for people.

    >>> shown_bytes(10 << 30), shown_bytes(1_500_000_000), shown_bytes(500), shown_bytes(3 << 40)
    ('10 GiB', '1.4 GiB', '500 B', '3072 GiB')
    """
    unit = "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{round(size, 1):g} {unit}"


def shown_duration(seconds: float) -> str:
    """Show a time so that `parse_duration` reads the same back: in the largest unit up to days that divides it.

    >>> shown_duration(600.0), shown_duration(5400), shown_duration(1.5)
    ('10m', '90m', '1.5s')
    """
    unit = next((unit for unit in "dhm" if seconds and seconds % _SECONDS[unit] == 0), "s")
    # Not `:g`, which turns seconds above six digits into `1e+06`.
    return f"{seconds / _SECONDS[unit]:.15g}{unit}"


def timestamp(moment: float) -> str:
    """Show a moment, in seconds since 1970, as all logs do: in UTC, to the millisecond (RFC 3339).

    >>> timestamp(1.5)
    '1970-01-01T00:00:01.500+00:00'
    """
    second, thousandths = divmod(math.floor(moment * 1000), 1000)
    return f"{_second(second)}.{thousandths:03d}+00:00"


@lru_cache(maxsize=2)  # each line of the access log has one
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def printable(text: str) -> str:
    r"""Return the text with its control characters escaped, so that what a client or an upstream has written is one line and no command.

    >>> printable("six\r\n\x1b[1m-1.0.whl")
    'six\\r\\n\\x1b[1m-1.0.whl'
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def printable_lines(text: str) -> str:
    r"""Return the text with its control characters escaped, but for the ends of its own lines.

    >>> printable_lines("404\nsix\x07")
    '404\nsix\\x07'
    """
    return "\n".join(map(printable, text.split("\n"))) if _CONTROLS.search(text) else text


def redact(text: str) -> str:
    """The text without what may be secret in it, for messages and logs. Takes linear time, since a client may have sent the text.

    Removed are user information before an `@`, the values of a query (the names of its parameters stay), the values of header fields that
    carry credentials, and of raw bytes (`b'…'`: what a peer sent and nobody could read) all but a first word.

    >>> redact("torch=https://user:secret@wheels.example/simple?token=secret&x=1")
    'torch=https://***@wheels.example/simple?token=***&x=***'
    """
    if "b'" in text or 'b"' in text:
        text = _RAW_BYTES.sub(r"b\1\2…\1", text)
    if "@" in text or "?" in text:
        text = "".join([_redacted_word(word) for word in _BLANKS.split(text)])
    if "%40" in text:
        text = "/".join(map(_without_encoded_user, text.split("/")))
    lowered = text.lower()
    if "authorization" in lowered or "cookie" in lowered:
        text = _FIELD.sub(r"\1***", text)
    return text


def _redacted_word(word: str) -> str:
    before, question, query = word.partition("?")
    if "@" in query and "@" not in before and ("=" not in query.partition("@")[0] or _has_password(before)):
        # The `?` is part of a password, which should have been written as %3F.
        before, question, query = _without_users(word).partition("?")
    elif "@" in before:
        before = _without_users(before)
    return before + question + _without_values(query)


def _without_users(word: str) -> str:
    """Replace the user information of each URL of a word, or that of a word without `://` if it has a colon. `me@host` stays."""
    bare, *urls = word.split("://")
    user, at, host = bare.rpartition("@")
    if at and ":" in user:
        lead = user[: len(user) - len(user.lstrip("([{<'\"/"))]
        bare = f"{lead}***@{host}"
    return "://".join([bare, *map(_without_user, urls)])


def _without_user(url: str) -> str:
    """Replace what stands before the last `@` of a URL without its scheme; in its path, only what has a colon there."""
    user, at, host = url.rpartition("@")
    if not at:
        return url
    if "/" in user and "@" not in user.partition("/")[0] and not _has_password(user):
        path, slash, segment = user.rpartition("/")
        return f"{path}{slash}***@{host}" if ":" in segment else url
    return f"***@{host}"


def _without_encoded_user(segment: str) -> str:
    """Replace user information that stands percent-encoded in a segment of a path. `feed%40Local` stays."""
    user, at, host = segment.rpartition("%40")
    return f"***{at}{host}" if "%3a" in user.lower() else segment


def _has_password(url: str) -> bool:
    """Whether what stands behind the first colon of a URL's authority is no port: this is user information, or the beginning of it."""
    authority = url.rpartition("://")[2].partition("/")[0]
    _, colon, port = authority.rpartition(":")
    return bool(colon) and not port.isdigit() and not authority.startswith("[")


def _without_values(query: str) -> str:
    """Replace the values of a query's parameters; punctuation behind it stays."""
    bare = query.rstrip("'\")>,.:;]}!")
    shown = [part if part in {"&", ";", ""} else _without_value(part) for part in re.split("([&;])", bare)]
    return "".join(shown) + query[len(bare) :]


def _without_value(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    return f"{name}={'***' if value else ''}" if equals else "***"
