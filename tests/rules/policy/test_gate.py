"""rules/policy/gate.py: what becomes of a request, by what its URL means, its method and its cookies."""

import pytest

from pkgcache.option_values import parse_index
from pkgcache.rules.policy.gate import Way, way_of
from pkgcache.rules.routing.indexes import Defaults, build_indexes
from pkgcache.rules.routing.router import Router
from pkgcache.rules.routing.urls import parse_url

ROUTER = Router(
    build_indexes(
        parse_index(["whl=https://torch.test/whl"]),
        Defaults(simple=parse_url("https://index.example/simple/"), files=parse_url("https://files.example/packages/")),
    ),
    [],
    {},
)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "get"])
@pytest.mark.parametrize("cookies", [False, True])
@pytest.mark.parametrize(
    ("url", "cached", "passed"),
    [
        ("https://index.example/simple/six/", Way.ANSWER, Way.JUDGE),
        ("https://index.example/pypi/six/json", Way.ANSWER, Way.JUDGE),
        ("https://files.example/packages/six-1.0.zip", Way.ANSWER, Way.JUDGE),
        ("https://index.example/simple/", Way.ANSWER, Way.PASS),
        ("https://index.example/legacy/", Way.PASS, Way.PASS),
        ("https://torch.test/whl/links.html", Way.JUDGE, Way.JUDGE),
        ("https://torch.test/whl/links.html/", Way.ANSWER, Way.JUDGE),
        ("https://torch.test/whl/six-1.0.zip", Way.ANSWER, Way.JUDGE),
        ("http://index.example/simple/six/", Way.ANSWER, Way.JUDGE),
        ("http://index.example/legacy/", Way.PASS, Way.PASS),
        ("https://index.example/integrity/six/1/six-1.zip/provenance", Way.JUDGE, Way.JUDGE),
        ("https://index.example/simple/six/x", Way.REFUSE, Way.REFUSE),
    ],
)
def test_the_way(url: str, cached: Way, passed: Way, method: str, *, cookies: bool) -> None:
    expected = cached if method in {"GET", "HEAD"} and not cookies else passed
    assert way_of(ROUTER.route(parse_url(url)), method=method, has_cookies=cookies) is expected
