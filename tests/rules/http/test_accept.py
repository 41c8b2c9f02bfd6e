"""Header fields of content negotiation (RFC 9110 §12.5.1, §12.5.3, §8.3.1)."""

import pytest

from pkgcache.rules.http.accept import accepts_encoding, parse_content_type, weighted


@pytest.mark.parametrize(
    ("header", "gzip", "identity"),
    [
        pytest.param("gzip, deflate", True, True, id="§12.5.3 pip"),
        pytest.param("gzip, deflate, zstd", True, True, id="§12.5.3 uv"),
        pytest.param("identity", False, True, id="§12.5.3 files"),
        pytest.param("Identity", False, True, id="§8.4.1 poetry: case-insensitive"),
        pytest.param("GZip", True, True, id="§8.4.1 case-insensitive"),
        pytest.param("x-gzip", True, True, id="§8.4.1.3 x-gzip is gzip"),
        pytest.param("gzip;q=0", False, True, id="§12.5.3 refused"),
        pytest.param("gzip;q=0.001", True, True, id="§12.4.2 least"),
        pytest.param("*", True, True, id="§12.5.3 anything"),
        pytest.param("*;q=0", False, False, id="§12.5.3 nothing, not even identity"),
        pytest.param("*;q=0, gzip", True, False, id="§12.5.3 gzip alone"),
        pytest.param("gzip;q=0, *", False, True, id="§12.5.3 anything but gzip"),
        pytest.param("identity;q=0, gzip", True, False, id="§12.5.3 identity refused"),
        pytest.param("*;q=0, identity", False, True, id="§12.5.3 a more specific entry for identity"),
        pytest.param("br", False, True, id="§12.5.3 another"),
        pytest.param("", False, True, id="§12.5.3 empty"),
        pytest.param(None, False, True, id="§12.5.3 absent: identity, to be safe"),
    ],
)
def test_accepts_encoding(header: str | None, *, gzip: bool, identity: bool) -> None:
    assert accepts_encoding(header, "gzip") is gzip
    assert accepts_encoding(header, "identity") is identity


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        pytest.param("text/html; charset=utf-8", ("text/html", "utf-8"), id="§8.3.1"),
        pytest.param('Text/HTML;Charset="UTF-8"', ("text/html", "utf-8"), id="§8.3.2 quoted, in capitals"),
        pytest.param("text/html", ("text/html", ""), id="no charset"),
        pytest.param("a/b+json;x=1", ("a/b+json", ""), id="another parameter"),
        pytest.param('a/b; x="; charset=no"; charset=yes', ("a/b", "yes"), id="a separator inside quotes"),
        pytest.param("text", ("", ""), id="no media type"),
        pytest.param("", ("", ""), id="empty"),
        pytest.param(None, ("", ""), id="absent"),
    ],
)
def test_content_type(value: str | None, parsed: tuple[str, str]) -> None:
    assert parse_content_type(value) == parsed


@pytest.mark.parametrize(
    ("header", "members"),
    [
        pytest.param("text/html, */*;q=0.1", [("text/html", 1.0), ("*/*", 0.1)], id="§12.4.2"),
        pytest.param("Text/HTML ; Q=0.5", [("text/html", 0.5)], id="case-insensitive, spaces"),
        pytest.param("text/html;q=2, a/b;q=0.1234, c/d;q=x", [], id="§12.4.2 no such weight: passed over"),
        pytest.param("text/html;level=1, a/b;charset=utf-8", [("a/b", 1.0)], id="§12.5.1 a narrower range"),
        pytest.param('a/b;x="q=1, c/d", e/f', [("e/f", 1.0)], id="a comma inside quotes"),
        pytest.param(" , ,", [], id="§5.6.1 empty members"),
    ],
)
def test_weighted(header: str, members: list[tuple[str, float]]) -> None:
    assert list(weighted(header)) == members
