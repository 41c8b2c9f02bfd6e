"""Content-Encoding as servers write it: which of the names are codings."""

import pytest

from pkgcache.rules.http.content_coding import content_coding


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, ""),
        ("", ""),
        ("identity", ""),
        ("Identity", ""),
        ("none", ""),
        ("aws-chunked", ""),  # S3 keeps what the upload had
        ("utf-8", ""),
        ("UTF8", ""),
        ("binary", ""),
        ("8bit", ""),
        (",", ""),
        (" , identity", ""),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),  # RFC 9110 §8.4.1.3
        (" GZip\t", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("gzip, gzip", "gzip, gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("deflate", "deflate"),
        ("compress", "compress"),
        ("unheard-of", "unheard-of"),
    ],
)
def test_codings(value: str | None, coding: str) -> None:
    assert content_coding(value) == coding


def test_it_is_bounded() -> None:
    assert len(content_coding(", ".join(["x" * 200] * 200))) <= 80
