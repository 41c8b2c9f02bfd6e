"""units.py."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)?", re.IGNORECASE)


_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_size(text: str) -> int:
    """Bytes of `10g`, `512m`, `64k`, `1t` or a plain number (powers of 1024, as nginx counts).

    >>> parse_size("10g")
    10737418240
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a size such as 512m or 10g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def parse_duration(text: str) -> float:
    """Seconds of `30s`, `10m`, `12h`, `30d`, `2w` or a plain number of seconds.

    >>> parse_duration("10m")
    600.0
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("a time such as 30s, 10m, 12h or 30d")
    return float(match[1]) * _SECONDS[match[2].lower() if match[2] else None]


def shown_duration(seconds: float) -> str:
    """As `parse_duration` reads it: '7d', '90m', '1.5s', in the largest unit up to days that goes into it.

    >>> shown_duration(600.0)
    '10m'
    """
    unit = next((unit for unit in "dhm" if seconds and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:.15g}{unit}"


def parse_optional_duration(text: str) -> float | None:
    """As `parse_duration`; empty means: not set."""
    return parse_duration(text) if text.strip() else None


def redact(text: str) -> str:
    """The text with the credentials of any URL in it left out.

    >>> redact("torch=https://user:secret@wheels.example/simple")
    'torch=https://***@wheels.example/simple'
    """
    return re.sub(r"(?<=://)[^/\s]+@", "***@", text)
