"""`/simple/`, the list of all projects: kept as pages are, streamed from a file, and the same at every address of the index."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support import names
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, cache_status_of, leftovers
from tests.support.index import HTML_TYPE, JSON_TYPE, PLAIN_HTML_TYPE
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire, fetch_many

ROOT: Final = "/pypi/simple/"
HOLD_BACK: Final = 64 * 1024


@pytest.fixture
def house(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> House:
    """An index has one list, so each test has a house of its own."""
    upstream = make_upstream()
    return House(upstream, make_proxy(upstream))


def stored(house: House, url: str = names.INDEX_URL, kind: str = "html") -> Fetched:
    """The list out of the store: it gets there a moment after its last byte has come."""
    return eventually(lambda: ask(house, url, kind), lambda answer: "hit" in cache_status_of(answer))


def root_html(*projects: str, prefix: str = "", size: int = 0) -> bytes:
    """A list with its links behind a prefix, of at least `size` bytes."""
    lines = ["<!DOCTYPE html><html><head><title>Simple index</title></head><body>"]
    lines += [f'<a href="{prefix}{name}/">{name}</a><br/>' for name in projects]
    lines += [f'<a href="{prefix}filler-{n}/">filler-{n}</a><br/>' for n in range(size // (40 + len(prefix)))]
    return "\n".join([*lines, "</body></html>\n"]).encode()


def root_json(*projects: str, size: int = 0) -> bytes:
    filler = [f"filler-{n}" for n in range(size // 20)]
    return json.dumps(
        {"meta": {"api-version": "1.1"}, "projects": [{"name": n} for n in (*projects, *filler)]}
    ).encode()


def ask(house: House, url: str = names.INDEX_URL, kind: str = "html", **headers: str) -> Fetched:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return house.fetch(url, headers={"Accept": ACCEPTS[kind], **named})


def asked(house: House) -> list[int]:
    """What the upstream answered when it was asked for the list."""
    return [each.status for each in house.upstream.seen() if each.path == ROOT]


@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize(
    ("kind", "content_type"), [("html", PLAIN_HTML_TYPE), ("html-v1", HTML_TYPE), ("json", JSON_TYPE)]
)
def test_it_is_kept(kind: str, content_type: str, size: int, house: House) -> None:
    """Once from the upstream, however it is asked for, and then out of the store, byte for byte."""
    body = root_json("six", size=size) if kind == "json" else root_html("six", size=size)
    house.upstream.serve(ROOT, body, content_type)
    first = ask(house, kind=kind)
    assert (first.status, first.body, first.headers["Content-Type"]) == (200, body, content_type)
    for url in (names.INDEX_URL, ROOT):
        again = stored(house, url, kind)
        assert (again.status, again.body, again.headers["Content-Type"]) == (200, body, content_type)
        assert re.fullmatch(r"pypi-cache; hit; ttl=\d+", cache_status_of(again))
        assert int(again.headers["Content-Length"]) == len(body)
    head = house.fetch(ROOT, method="HEAD", headers={"Accept": ACCEPTS[kind]})
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(body)))
    assert asked(house) == [200]


@pytest.mark.parametrize("prefix", ["", "/pypi/simple/", "{origin}/pypi/simple/", "./"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_links_lead_to_pages_at_the_same_address(coding: str, prefix: str, house: House) -> None:
    """However the mirror writes them, and wherever the list is seen: each leads to its project's page there."""
    house.upstream.add(make_wheel("linked"))
    body = root_html("linked", prefix=prefix.format(origin=house.upstream.origin), size=200_000)
    house.upstream.serve(ROOT, body, PLAIN_HTML_TYPE)
    if coding == "gzip":
        house.upstream.script(Behaviour(ROOT, gzip=True))
    for url in (names.INDEX_URL, ROOT, house.upstream.index_url):
        page = ask(house, url)
        link = re.search(rb'href="([^"]*linked/)"', page.body)
        assert link, page.body[:300]
        assert link[1].decode() in {"linked/", "./linked/"}
        assert ask(house, f"{url}{link[1].decode().removeprefix('./')}").status == 200
    assert ask(house, ROOT.rstrip("/")).status == 301


def test_it_is_revalidated(house: House) -> None:
    old, new = root_html("old"), root_html("new")
    house.upstream.serve(ROOT, old, PLAIN_HTML_TYPE)
    assert "fwd=miss; fwd-status=200; stored" in cache_status_of(ask(house))
    kept = stored(house)
    same = ask(house, Cache_Control="no-cache")
    assert (same.body, same.headers["ETag"]) == (old, kept.headers["ETag"])
    assert cache_status_of(same) == "pypi-cache; fwd=request; fwd-status=304"
    assert ask(house, If_None_Match=str(same.headers["ETag"])).status == 304
    house.upstream.serve(ROOT, new, PLAIN_HTML_TYPE)
    assert ask(house, Cache_Control="no-cache").body == new
    assert stored(house).body == new
    assert asked(house) == [200, 304, 200]


def test_json_and_html_never_mix(house: House) -> None:
    for kind, body, content_type in (
        ("json", root_json("six"), JSON_TYPE),
        ("html", root_html("six"), PLAIN_HTML_TYPE),
    ):
        house.upstream.serve(ROOT, body, content_type)
        assert ask(house, kind=kind).body == body
        assert stored(house, kind=kind).body == body
    assert stored(house, kind="json").body == root_json("six")
    assert house.fetch(ROOT, headers={"Accept": "image/png"}).status == 406


FAILING: Final = {
    "down": None,
    "500": Behaviour(ROOT, status=500),
    "404": Behaviour(ROOT, status=404),
    "dropped": Behaviour(ROOT, drop=True),
    "cut short": Behaviour(ROOT, cut_after=40),
    "cut short late": Behaviour(ROOT, cut_after=200_000),
    "a captive portal": Behaviour(ROOT, captive=True),
    "no type": Behaviour(ROOT, headers={"Content-Type": None}),
}


@pytest.mark.parametrize("how", FAILING)
def test_the_upstream_fails(how: str, make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Cold a 502 (503 where it is down), or cut before its end; never a wrong list, and none is kept.

    What was stored is given, marked as stale.
    """
    options = {"pypi_cache_index_ttl": "1h", "pypi_cache_stale_while_revalidate": "0"}
    upstream = make_upstream()
    house = House(upstream, make_proxy(upstream, options=options))
    body = root_html("six", size=300_000)
    upstream.serve(ROOT, body, PLAIN_HTML_TYPE)

    def fail() -> None:
        if (behaviour := FAILING[how]) is None:
            upstream.down()
        else:
            upstream.script(behaviour)

    fail()
    cold = ask(house)
    if cold.status == 200:  # it had begun to flow before it broke
        assert (how, cold.complete) == ("cut short late", False)
    else:
        assert (cold.status, cold.headers["Cache-Control"]) == (503 if how == "down" else 502, "no-store")
    upstream.unscript()
    upstream.up()
    assert stored(house).body == body  # the upstream rests after failures, and is asked all the same
    house.proxy.lapse()
    upstream.serve(ROOT, root_html("another", size=300_000), PLAIN_HTML_TYPE)
    fail()
    stale = ask(house)
    if "stale-if-error" in cache_status_of(stale):
        assert (stale.status, stale.body, stale.headers["Cache-Control"]) == (200, body, "no-store")
    else:
        assert (how, stale.complete) == ("cut short late", False)


def test_the_next_mirror_has_it(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    first, second = make_upstream(prefix="/one"), make_upstream(prefix="/two")
    house = House(first, make_proxy(first, second))
    first.serve("/one/simple/", b"<html><title>Welcome</title></html>", PLAIN_HTML_TYPE)
    second.serve("/two/simple/", root_html("six", prefix="/two/simple/"), PLAIN_HTML_TYPE)
    assert ask(house).body == root_html("six")
    assert stored(house).body == root_html("six")
    assert (first.count(), second.count()) == (1, 1)


def test_offline(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """From the store over a restart; what is not there is a 504 that says so."""
    upstream = make_upstream()
    house = House(upstream, make_proxy(upstream))
    body = root_html("six", size=300_000)
    upstream.serve(ROOT, body, PLAIN_HTML_TYPE)
    assert stored(house).body == body
    house.proxy.options["pypi_cache_offline"] = True
    house.proxy.restart()
    assert ask(house).body == ask(house, ROOT).body == body
    missing = ask(house, kind="json")
    assert (missing.status, b"offline" in missing.body) == (504, True)
    assert upstream.count() == 1


def test_a_herd(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """All of them follow one list as it grows."""
    upstream = make_upstream()
    proxy = make_proxy(upstream)
    body = root_html("six", size=2_000_000)
    upstream.serve(ROOT, body, PLAIN_HTML_TYPE)
    upstream.script(Behaviour(ROOT, pace=1_000_000))
    answers = fetch_many(20, proxy.port, names.INDEX_URL, ca=proxy.ca, headers={"Accept": "text/html"})
    assert {(each.status, each.complete, each.body) for each in answers} == {(200, True, body)}
    assert upstream.count() == 1


def test_clients_that_leave_do_not_end_it(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    house = House(upstream, make_proxy(upstream))
    body = root_html("six", size=600_000)
    upstream.serve(ROOT, body, PLAIN_HTML_TYPE)
    upstream.script(Behaviour(ROOT, pace=1_000_000))
    with Wire(house.proxy.port, names.INDEX_URL, ca=house.proxy.ca) as wire:
        wire.send(names.INDEX_URL, headers={"Accept": "text/html"})
        assert not wire.receive(read_limit=1000).complete
    upstream.wait_until(lambda: any(each.finished for each in upstream.seen()))
    assert ask(house).body == body
    assert upstream.count() == 1
    assert not leftovers(house.proxy.store)


@pytest.mark.slow
def test_memory_stays_flat(make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path) -> None:
    """A list of 40 MB, cold to several slow clients and then out of the store: the proxy holds pieces of it and no more."""
    upstream = make_upstream()
    house = House(upstream, make_proxy(upstream))
    path = tmp_path / "root.html"
    path.write_bytes(root_html("six", prefix=ROOT, size=40_000_000))
    upstream.serve(ROOT, path, PLAIN_HTML_TYPE)
    upstream.serve("/other/simple/", root_html("warm", size=1_000_000), PLAIN_HTML_TYPE)
    house.fetch(names.page_url("warm"))
    house.proxy.reset_peak()
    before = house.proxy.rss()
    sizes = set()
    for _ in range(2):
        answers = fetch_many(
            4, house.proxy.port, names.INDEX_URL, ca=house.proxy.ca, headers={"Accept": "text/html"}, keep=False
        )
        assert all(each.complete for each in answers)
        sizes |= {each.sha256 for each in answers}
    assert len(sizes) == 1
    assert upstream.count(path_contains=ROOT) == 2  # the page of `warm`, and the list once
    assert house.proxy.peak_rss() - before < 25_000_000


WITHOUT_SLASH: Final = (
    "/pypi/simple",
    "//evil.example/../pypi/simple",
    "//evil.example/%2e%2e/pypi/simple",
    "//evil.example/%2E./pypi/simple",
    "///evil.example/../../pypi/simple",
    "//evil.example:80/a/../../pypi/simple",
    "//user@evil.example/../pypi/simple",
    "/\\evil.example/../pypi/simple",
    "/%5Cevil.example/../pypi/simple",
    "/.//evil.example/../pypi/simple",
    "//evil.example/..//pypi/simple",
    "//pypi/simple",
    "/pypi//simple",
    "/pypi/simple//evil.example/..",
)


def test_a_list_without_its_slash_leads_to_itself(house: House) -> None:
    """A `Location` of `//evil.example/…` is another host's URL (RFC 3986 §4.2): whoever follows such a link lands there."""
    house.upstream.serve(ROOT, root_html("six"), PLAIN_HTML_TYPE)
    found = {path: house.fetch(path, method=method) for path in WITHOUT_SLASH for method in ("HEAD", "GET")}
    for path, answer in found.items():
        assert answer.headers["Location"] in {None, "/pypi/simple/"}, path
        assert (answer.status == 301) == (answer.headers["Location"] is not None), path
    assert found["/pypi/simple"].status == 301
    for url in (names.INDEX_URL, names.INDEX_URL.replace("/simple/", "//evil.example/../simple/")):
        assert house.fetch(url.rstrip("/")).headers["Location"] in {None, names.INDEX_URL}, url
