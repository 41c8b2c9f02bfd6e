"""Queries of pages: one in an upstream's URL, one in a client's, and both."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, cache_status_of, links_of, slug, tidied, versions_on
from tests.support.index import HTML_TYPE, JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel

SECRET = "s3cret-t0ken"


@pytest.fixture(scope="module")
def shared_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Index `pypi` and `corp` behind upstreams that want a token; `denied` may not be had."""
    with Upstream(ca) as upstream:
        options = {
            "pypi_cache_index": [
                f"pypi={upstream.index_url}?token={SECRET}",
                f"corp={upstream.origin}/corp/simple?token={SECRET}&repo=a%2Fb",
            ],
            "pypi_cache_deny": ["denied"],
        }
        with Proxy(tmp_path_factory.mktemp("queries"), options=options, upstream_ca=ca.bundle) as proxy:
            yield House(upstream, proxy)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    with tidied(shared_house) as house:
        yield house


def asked(house: House, path: str) -> list[str]:
    """The queries that the upstream was asked with, at this path."""
    return [each.path.partition("?")[2] for each in house.upstream.requests if each.path.partition("?")[0] == path]


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        (names.page_url("with-token"), "/pypi/simple/with-token/", f"token={SECRET}"),
        ("/pypi/simple/with-token-own/", "/pypi/simple/with-token-own/", f"token={SECRET}"),
        ("{origin}/corp/simple/with-token-corp/", "/corp/simple/with-token-corp/", f"token={SECRET}&repo=a%2Fb"),
        ("/corp/simple/with-token-corp-own/", "/corp/simple/with-token-corp-own/", f"token={SECRET}&repo=a%2Fb"),
        (names.INDEX_URL, "/pypi/simple/", f"token={SECRET}"),
    ],
)
def test_an_upstreams_query_is_sent_with_every_page_request(url: str, path: str, query: str, house: House) -> None:
    house.upstream.add(make_wheel(path.strip("/").rpartition("/")[2]))
    answer = house.fetch(url.format(origin=house.upstream.origin), headers={"Accept": JSON_TYPE})
    assert answer.status == 200
    assert asked(house, path) == [query]
    assert SECRET not in answer.body.decode() + str(answer.headers)


def test_the_json_api_has_it_too(house: House) -> None:
    body = json.dumps({"info": {"name": "doc"}, "releases": {}, "urls": []}).encode()
    house.upstream.serve("/pypi/doc/json", body, "application/json")
    assert house.fetch(f"https://{names.INDEX_HOST}/pypi/doc/json").status == 200
    assert asked(house, "/pypi/doc/json") == [f"token={SECRET}"]


def test_revalidation_has_it_too(house: House) -> None:
    house.upstream.add(make_wheel("again"))
    house.page("again")
    assert "fwd-status=304" in cache_status_of(house.page("again", Cache_Control="no-cache"))
    assert asked(house, "/pypi/simple/again/") == [f"token={SECRET}"] * 2


def test_files_do_not_have_it(house: House) -> None:
    """Links on a page bring queries of their own."""
    release = make_wheel("file-without")
    house.upstream.add(release)
    assert house.fetch(names.file_url(release)).status == 200
    assert all("token" not in each.path for each in house.upstream.seen(path_contains=release.filename))


def test_the_secret_is_nowhere(house: House) -> None:
    """Not in an error's text, the log, the proxy's own pages, or the store."""
    house.upstream.script(Behaviour("/broken/", status=500))
    failed = house.page("broken")
    assert failed.status == 502
    assert SECRET not in failed.body.decode()
    house.upstream.add(make_wheel("kept"))
    house.page("kept")
    for path in ("/", "/healthz", "/stats", "/metrics", "/env.sh"):
        assert SECRET not in house.fetch(path).body.decode(), path
    assert SECRET not in house.proxy.output
    kept = [path for path in Path(house.proxy.store).rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


# A client's


ALL = (JSON_TYPE, HTML_TYPE, "text/html")


@pytest.mark.parametrize("accept", [*ALL, "*/*", "application/xml"])
@pytest.mark.parametrize("wanted", ALL)
@pytest.mark.parametrize("own", [True, False], ids=["own address", "index"])
def test_format_goes_before_accept(own: bool, wanted: str, accept: str, house: House) -> None:
    """PEP 691: "it SHOULD take precedence over any values in the client's Accept header"."""
    house.upstream.add(make_wheel("formats"))
    url = "/pypi/simple/formats/" if own else names.page_url("formats")
    answer = house.fetch(f"{url}?format={wanted}", headers={"Accept": accept})
    assert answer.status == 200
    assert (answer.headers["Content-Type"] or "").partition(";")[0] == wanted
    again = house.fetch(f"{url}?format={wanted.replace('+', '%2B')}", headers={"Accept": accept})
    assert cache_status_of(again).startswith("pypi-cache; hit")
    assert again.body == answer.body
    assert set(asked(house, "/pypi/simple/formats/")) <= {f"token={SECRET}"}


@pytest.mark.parametrize("wanted", ["application/vnd.pypi.simple.v2+json", "application/xml", "text/plain"])
def test_a_format_that_there_is_not(wanted: str, house: House) -> None:
    house.upstream.add(make_wheel("no-such-format"))
    url = f"{names.page_url('no-such-format')}?format={wanted}"
    assert house.fetch(url, headers={"Accept": JSON_TYPE}).status == 406


def test_format_of_the_list(house: House) -> None:
    house.upstream.add(make_wheel("listed"))
    answer = house.fetch(f"{names.INDEX_URL}?format={JSON_TYPE}", headers={"Accept": "text/html"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, JSON_TYPE)
    moved = house.fetch(f"{names.INDEX_URL.rstrip('/')}?format={JSON_TYPE}")
    assert moved.status == 301
    assert (moved.headers["Location"] or "").endswith(f"/simple/?format={JSON_TYPE}")


@pytest.mark.parametrize("query", ["page=2", "format=json", "x", "a=%2F&b=", "q=~!$'()*;:@,"])
@pytest.mark.parametrize("own", [True, False], ids=["own address", "index"])
def test_another_query_is_passed_on_and_its_answer_not_stored(own: bool, query: str, house: House) -> None:
    name = slug(f"passed {query} {own}")
    house.upstream.add(make_wheel(name, "1.0"))
    url = f"/pypi/simple/{name}/" if own else names.page_url(name)
    plain = house.fetch(url, headers={"Accept": JSON_TYPE})
    house.upstream.clear()
    for _ in range(2):
        answer = house.fetch(f"{url}?{query}", headers={"Accept": JSON_TYPE})
        assert answer.status == 200
        assert cache_status_of(answer) == "pypi-cache; fwd=miss; fwd-status=200"
        assert links_of(answer, "https://seen.example/") == links_of(plain, "https://seen.example/")
    assert asked(house, f"/pypi/simple/{name}/") == [f"token={SECRET}&{query}"] * 2
    assert cache_status_of(house.fetch(url, headers={"Accept": JSON_TYPE})).startswith("pypi-cache; hit")


def test_what_comes_by_a_query_never_stands_for_the_page(house: House) -> None:
    house.upstream.add(make_wheel("by-query", "1.0"))
    other = make_wheel("by-query", "2.0")
    body = {
        "meta": {"api-version": "1.0"},
        "name": "by-query",
        "files": [{"filename": other.filename, "url": names.file_url(other), "hashes": {}}],
    }
    house.upstream.script(
        Behaviour(r"/by-query/\?.*evil", body=json.dumps(body).encode(), headers={"Content-Type": JSON_TYPE})
    )
    url = f"{names.page_url('by-query')}?evil=1"
    assert versions_on(house.fetch(url, headers={"Accept": JSON_TYPE})) == {"2.0"}
    assert versions_on(house.page("by-query")) == {"1.0"}
    house.upstream.down()
    assert house.fetch(url, headers={"Accept": JSON_TYPE}).status in {502, 503, 504}


def test_a_404_by_a_query_is_not_remembered(house: House) -> None:
    house.upstream.script(Behaviour(r"/no-such/\?.*x=1", status=404))
    url = names.page_url("no-such")
    assert [house.fetch(f"{url}?x=1", headers={"Accept": JSON_TYPE}).status for _ in range(2)] == [404, 404]
    assert len(asked(house, "/pypi/simple/no-such/")) == 2
    house.upstream.add(make_wheel("no-such"))
    assert house.page("no-such").status == 200


@pytest.mark.parametrize("query", ["x=1", f"format={JSON_TYPE}", "format=json", "a&b"])
def test_the_operators_rules_hold(query: str, house: House) -> None:
    house.upstream.add(make_wheel("denied"))
    for url in (names.page_url("denied"), "/pypi/simple/denied/", f"https://{names.INDEX_HOST}/pypi/denied/json"):
        assert house.fetch(f"{url}?{query}", headers={"Accept": JSON_TYPE}).status == 403
    assert not house.upstream.requests


def test_a_client_cannot_replace_the_operators_token(house: House) -> None:
    house.upstream.add(make_wheel("own-token"))
    house.fetch(f"{names.page_url('own-token')}?token=mine&x=1", headers={"Accept": JSON_TYPE})
    assert asked(house, "/pypi/simple/own-token/") == [f"token={SECRET}&x=1"]


def test_a_list_with_another_query(house: House) -> None:
    house.upstream.add(make_wheel("in-the-list"))
    for _ in range(2):
        answer = house.fetch(f"{names.INDEX_URL}?page=2", headers={"Accept": PLAIN_HTML_TYPE})
        assert answer.status == 200
        assert cache_status_of(answer) == "pypi-cache; fwd=bypass; fwd-status=200; detail=query"
    assert asked(house, "/pypi/simple/") == [f"token={SECRET}&page=2"] * 2
