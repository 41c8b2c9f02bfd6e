"""Reads Content-Encoding as pip and uv do: what names no coding is passed over (RFC 9110 §8.4).

Servers write character sets and transfer codings there, and S3 keeps `aws-chunked`, which was the upload's, with the file.
"""

from __future__ import annotations

from typing import Final

_NO_CODING: Final = frozenset(
    {
        *("", "identity", "none", "null", "aws-chunked", "chunked"),
        *("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1"),
        *("binary", "8bit", "7bit", "base64", "raw", "plain", "text", "application/octet-stream"),
    }
)
_MOST: Final = 80


def content_coding(value: str | None) -> str:
    """The codings that a body has, in lower case and joined by commas; '' where it has none. `x-gzip` is `gzip` (§8.4.1.3).

    >>> content_coding("aws-chunked, x-gzip"), content_coding("UTF-8")
    ('gzip', '')
    """
    named = [coding.strip(" \t").lower()[:_MOST] for coding in (value or "").split(",")]
    return ", ".join({"x-gzip": "gzip"}.get(coding, coding) for coding in named if coding not in _NO_CODING)[:_MOST]
