"""Paths of the proxy's own address and of the JSON API. That links lead back by them is in `simple/test_links.py`."""

import pytest

from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.paths import api_base, own_page_path, resolve_own_path
from pkgcache.rules.routing.urls import parse_url


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        ("/corp/files/https/h.test/a/b-1.whl", "", "https://h.test/a/b-1.whl"),
        ("/corp/files/http/h.test/x", "a=1", "http://h.test/x?a=1"),
        pytest.param("/corp/files/https/h.test%3A8443/x", "", "https://h.test:8443/x", id="a port"),
        pytest.param("/corp/files/https/%5B::1%5D/x", "", "https://[::1]/x", id="IPv6"),
        pytest.param("/corp/files/https/h.test/a%2Fb", "", "https://h.test/a%2Fb", id="the path as spelt"),
    ],
)
def test_own_paths(path: str, query: str, url: str) -> None:
    assert str(resolve_own_path("/corp", path, query)) == url


@pytest.mark.parametrize(
    "path",
    [
        "/corp/files/",
        "/corp/files/ftp/h.test/x",
        "/corp/files/https/h.test",
        "/corp/files/https//x",
        "/x/files/https/h.test/x",
        "/corp/files/https/u@h.test/x",
    ],
)
def test_paths_that_are_no_own_paths(path: str) -> None:
    assert resolve_own_path("/corp", path) is None


@pytest.mark.parametrize(
    ("simple", "base"),
    [
        ("https://h.test/simple/", "/pypi/"),
        ("https://h.test/pypi/simple/", "/pypi/"),
        ("https://h.test/root/mirror/simple/", "/root/mirror/pypi/"),
        pytest.param("https://h.test/", "/pypi/", id="at the root"),
    ],
)
def test_api_base(simple: str, base: str) -> None:
    assert api_base(parse_url(simple)) == base


@pytest.mark.parametrize(
    ("name", "project", "path"),
    [
        ("pypi", "six", "/pypi/simple/six/"),
        ("pypi", "", "/pypi/simple/"),
    ],
)
def test_own_page_path(name: str, project: str, path: str) -> None:
    assert own_page_path(Index(name=name, simple=parse_url("https://h.test/"), upstreams=()), project) == path
