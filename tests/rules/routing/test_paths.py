"""Paths of the proxy's own address and of the JSON API. That links lead back by them is in `simple/test_links.py`."""

from dataclasses import replace

import pytest

from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.paths import api_base, inner_path, own_page_path, resolve_own_path
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
    index = Index(name=name, simple=parse_url("https://h.test/"), upstreams=())
    assert own_page_path(index, project) == path
    assert own_page_path(replace(index, base="/tools/cache"), project) == f"/tools/cache{path}"


@pytest.mark.parametrize(
    ("base", "path", "inner"),
    [
        ("", "/pypi/simple/six/", "/pypi/simple/six/"),
        ("/cache", "/pypi/simple/six/", "/pypi/simple/six/"),
        ("/cache", "/cache/pypi/simple/six/", "/pypi/simple/six/"),
        ("/cache", "/cache/healthz", "/healthz"),
        ("/cache", "/cache/", "/"),
        ("/cache", "/cache", "/cache"),
        ("/cache", "/cachet/healthz", "/cachet/healthz"),
        ("/cache", "/cache/cache/healthz", "/cache/healthz"),
        ("/cache", "/%63ache/healthz", "/%63ache/healthz"),
        ("/tools/cache", "/tools/cache/torch/files/https/h.test/x", "/torch/files/https/h.test/x"),
        ("/tools/cache", "/cache/healthz", "/cache/healthz"),
        pytest.param("/pypi", "/pypi/pypi/simple/six/", "/pypi/simple/six/", id="an index's name, asked directly"),
        pytest.param("/pypi", "/pypi/simple/six/", "/pypi/simple/six/", id="an index's name, taken away already"),
        pytest.param("/pypi", "/pypi/packages/aa/bb/cc/x.whl", "/pypi/packages/aa/bb/cc/x.whl", id="and of a file"),
        pytest.param("/pypi", "/pypi/torch/files/https/h.test/x", "/torch/files/https/h.test/x", id="another index"),
        pytest.param("/pypi", "/pypi/env.sh", "/env.sh", id="one of the proxy's own pages"),
        pytest.param("/healthz", "/healthz", "/healthz", id="a probe"),
        pytest.param("/healthz", "/healthz/healthz", "/healthz", id="a bad choice of a path"),
    ],
)
def test_the_path_of_the_public_url(base: str, path: str, inner: str) -> None:
    """A reverse proxy takes it away; clients that come without one bring it, since links have it."""
    assert inner_path(path, base, {"pypi", "torch"}) == inner
