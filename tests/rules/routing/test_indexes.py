"""Indexes made from settings: names, clients' URLs, upstreams in order, where files are, credentials."""

import pytest

from pkgcache.option_values import parse_index
from pkgcache.rules.routing.indexes import Defaults, Index, build_indexes
from pkgcache.rules.routing.paths import list_at, page_at
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import SettingError

DEFAULTS = Defaults(
    simple=parse_url("https://index.example/simple/"), files=parse_url("https://files.example/packages/")
)


def build(*values: str) -> tuple[Index, ...]:
    return build_indexes(parse_index(values), DEFAULTS)


def shown(index: Index) -> tuple[str, str, list[tuple[str, str | None]]]:
    upstreams = [(str(upstream.simple), upstream.files and str(upstream.files)) for upstream in index.upstreams]
    return index.name, str(index.simple), upstreams


PYPI = "https://index.example/simple/"


@pytest.mark.parametrize(
    ("values", "indexes"),
    [
        pytest.param((), [("pypi", PYPI, [(PYPI, "https://files.example/packages/")])], id="nothing configured"),
        pytest.param(
            ("pypi=https://m.test/pypi/simple https://index.example/simple",),
            [
                (
                    "pypi",
                    PYPI,
                    [
                        ("https://m.test/pypi/simple/", "https://m.test/pypi/packages/"),
                        (PYPI, "https://files.example/packages/"),
                    ],
                ),
                (
                    "pypi@https://m.test/pypi/simple/",
                    "https://m.test/pypi/simple/",
                    [("https://m.test/pypi/simple/", "https://m.test/pypi/packages/")],
                ),
            ],
            id="a mirror is an index too, the default index is none twice",
        ),
        pytest.param(
            ("corp=https://corp.test/simple",),
            [
                ("pypi", PYPI, [(PYPI, "https://files.example/packages/")]),
                ("corp", "https://corp.test/simple/", [("https://corp.test/simple/", None)]),
            ],
            id="one URL: clients' and upstream",
        ),
        pytest.param(
            ("corp=https://corp.test/simple https://a.test/s https://b.test/s",),
            [
                ("pypi", PYPI, [(PYPI, "https://files.example/packages/")]),
                ("corp", "https://corp.test/simple/", [("https://a.test/s/", None), ("https://b.test/s/", None)]),
                ("corp@https://a.test/s/", "https://a.test/s/", [("https://a.test/s/", None)]),
                ("corp@https://b.test/s/", "https://b.test/s/", [("https://b.test/s/", None)]),
            ],
            id="several: the first is clients' alone",
        ),
    ],
)
def test_indexes(values: tuple[str, ...], indexes: list[tuple[str, str, list[tuple[str, str | None]]]]) -> None:
    assert [shown(index) for index in build(*values)] == indexes


def test_which_indexes_share_files() -> None:
    shares = {
        index.name: index.shares_pypi_files for index in build("pypi=https://m.test/simple", "corp=https://c.test/s")
    }
    assert shares == {"pypi": True, "pypi@https://m.test/simple/": True, "corp": False}
    assert [index.canonical_files for index in build("corp=https://c.test/s")] == ["https://files.example", ""]


def test_credentials_leave_the_url() -> None:
    """They travel in a header, and stand in no name, log or page."""
    (_, corp) = build("corp=https://user:p%40ss@corp.test/simple")
    (upstream,) = corp.upstreams
    assert str(corp.simple) == upstream.name == "https://corp.test/simple/"
    assert upstream.authorization == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize(
    "url", ["https://corp.test/simple?x=1#y", "https://corp.test/simple#x", "https://corp.test:0/"]
)
def test_refused_urls(url: str) -> None:
    with pytest.raises(SettingError, match="pypi_cache_index=corp="):
        build(f"corp={url}")


def test_a_refusal_shows_no_credentials() -> None:
    with pytest.raises(SettingError) as caught:
        build("corp=https://user:secret@corp.test/simple?x=secret#x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "simple", "query"),
    [
        ("https://corp.test/simple?token=a", "https://corp.test/simple/", "token=a"),
        ("https://corp.test/simple/?token=a&b=%2F", "https://corp.test/simple/", "token=a&b=%2F"),
        ("https://user:p@corp.test/simple?token=a@b", "https://corp.test/simple/", "token=a@b"),
        ("https://corp.test?token=a", "https://corp.test/", "token=a"),
        ("https://corp.test/simple?", "https://corp.test/simple/", ""),
    ],
)
def test_a_query_is_kept_apart(text: str, simple: str, query: str) -> None:
    """It may be a secret: no name and no URL that is shown has it."""
    corp = build(f"corp={text}")[1]
    (upstream,) = corp.upstreams
    assert (str(corp.simple), str(upstream.simple), upstream.name, upstream.query) == (simple, simple, simple, query)
    assert str(page_at(upstream, "six")) == f"{simple}six/" + (f"?{query}" if query else "")
    assert str(page_at(upstream, "six", "x=1")) == f"{simple}six/?" + (f"{query}&x=1" if query else "x=1")
    assert str(list_at(upstream)) == simple + (f"?{query}" if query else "")


def test_a_mirrors_query_is_its_own() -> None:
    """The index under the mirror's own URL has it too; its clients need not know it."""
    indexes = build("pypi=https://one.test/pypi/simple?token=a https://two.test/simple")
    assert [(index.name, each.name, each.query) for index in indexes for each in index.upstreams] == [
        ("pypi", "https://one.test/pypi/simple/", "token=a"),
        ("pypi", "https://two.test/simple/", ""),
        ("pypi@https://one.test/pypi/simple/", "https://one.test/pypi/simple/", "token=a"),
        ("pypi@https://two.test/simple/", "https://two.test/simple/", ""),
    ]
