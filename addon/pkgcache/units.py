"""Sizes and times as people write them, read and shown; and texts without the credentials of URLs."""

import re
from typing import Final

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)?", re.IGNORECASE)
_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


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


def shown_duration(seconds: float) -> str:
    """Show a time so that `parse_duration` reads the same back: in the largest unit up to days that divides it.

    >>> shown_duration(600.0), shown_duration(5400), shown_duration(1.5)
    ('10m', '90m', '1.5s')
    """
    unit = next((unit for unit in "dhm" if seconds and seconds % _SECONDS[unit] == 0), "s")
    # Not `:g`, which turns seconds above six digits into `1e+06`.
    return f"{seconds / _SECONDS[unit]:.15g}{unit}"


def redact(text: str) -> str:
    """The text with the user information of each URL in it replaced, for messages and logs.

    >>> redact("torch=https://user:secret@wheels.example/simple")
    'torch=https://***@wheels.example/simple'
    """
    return re.sub(r"(?<=://)[^/\s]+@", "***@", text)
