"""The query of a page's URL: what it asks for (PEP 691, "URL parameter"), what is passed on, and how two are joined."""

import pytest

from pkgcache.rules.routing.queries import PageQuery, joined_query, read_query

JSON, HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize(
    ("query", "accept", "passed"),
    [
        pytest.param("", "", "", id="none"),
        pytest.param("&&", "", "", id="no parameter"),
        pytest.param(f"format={JSON}", JSON, "", id="JSON"),
        pytest.param(f"format={HTML}", HTML, "", id="HTML"),
        pytest.param("format=text/html", "text/html", "", id="plain HTML"),
        pytest.param(f"format={JSON.replace('+', '%2B')}", JSON, "", id="an encoded plus"),
        pytest.param(f"format={JSON.replace('/', '%2f')}", JSON, "", id="an encoded slash"),
        pytest.param(f"&format={JSON}&", JSON, "", id="empty parameters beside it"),
        pytest.param(f"%66ormat={JSON}", JSON, "", id="an encoded name"),
        pytest.param("format=application/vnd.pypi.simple.v2+json", "application/vnd.pypi.simple.v2+json", "", id="v2"),
        pytest.param("format=application/xml", "application/xml", "", id="another type: not acceptable"),
        pytest.param("format=json", "", "format=json", id="no content type"),
        pytest.param("format=", "", "format=", id="empty"),
        pytest.param("format", "", "format", id="without a value"),
        pytest.param("format=*/*", "", "format=*/*", id="a wildcard is not supported"),
        pytest.param("format=text/html;q=1", "", "format=text/html;q=1", id="nor a quality"),
        pytest.param(f"format={JSON},text/html", "", f"format={JSON},text/html", id="nor a list"),
        pytest.param(f"format={JSON}&format={HTML}", "", f"format={JSON}&format={HTML}", id="nor two of them"),
        pytest.param(f"Format={JSON}", "", f"Format={JSON}", id="names are case-sensitive"),
        pytest.param("page=2", "", "page=2", id="another parameter"),
        pytest.param("page", "", "page", id="a word"),
        pytest.param(f"page=2&format={JSON}", JSON, f"page=2&format={JSON}", id="both"),
        pytest.param("a=%zz&b=%ff", "", "a=%zz&b=%ff", id="kept as it is spelt"),
    ],
)
def test_read_query(query: str, accept: str, passed: str) -> None:
    assert read_query(query) == PageQuery(accept=accept, passed=passed)


@pytest.mark.parametrize(
    ("operators", "clients", "joined"),
    [
        ("", "", ""),
        ("token=a", "", "token=a"),
        ("", "page=2", "page=2"),
        ("token=a", "page=2", "token=a&page=2"),
        ("token=a", "page=2&token=b", "token=a&page=2"),
        ("token=a", "%74oken=b", "token=a"),
        ("token=a", "Token=b", "token=a&Token=b"),
        ("a=1&b=2", "b=3&c=4", "a=1&b=2&c=4"),
        ("word", "word=x", "word"),
        ("token=a%2Bb", "x=%20", "token=a%2Bb&x=%20"),
    ],
)
def test_joined_query(operators: str, clients: str, joined: str) -> None:
    assert joined_query(operators, clients) == joined
