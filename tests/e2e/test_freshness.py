"""Pages' lifetimes (RFC 9111) as a client sees them: fresh, revalidated, stale, gone; one request for however many clients.

Each row counts the upstream's requests. What the rules decide is tabled in tests/rules/test_freshness.py; here it is seen to be done.
"""

import gzip
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pkgcache.engine.responses.messages import CLIENT_SECONDS
from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import ACCEPTS, House, cache_status_of, open_house, slug, tidied, versions_on
from tests.support.index import HTML_TYPE, JSON_TYPE, PLAIN_HTML_TYPE, LinkForm, PageStyle, root_html
from tests.support.limits import script_with
from tests.support.proxy import HOUR
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, fetch_many

NO_GRACE = {"pypi_cache_stale_while_revalidate": "0s"}


@pytest.fixture(scope="module")
def usual_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Upstream's lifetimes, and no stale-while-revalidate, which would hide revalidation."""
    with open_house(ca, tmp_path_factory.mktemp("usual"), options=NO_GRACE) as house:
        yield house


@pytest.fixture(scope="module")
def hasty_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Pages live for an hour, 404 too; a test lets it pass."""
    options = {**NO_GRACE, "pypi_cache_index_ttl": "1h", "pypi_cache_negative_ttl": "1h"}
    with open_house(ca, tmp_path_factory.mktemp("hasty"), options=options) as house:
        yield house


@pytest.fixture
def house(usual_house: House) -> Iterator[House]:
    with tidied(usual_house) as house:
        yield house


@pytest.fixture
def hasty(hasty_house: House) -> Iterator[House]:
    with tidied(hasty_house) as house:
        yield house


def ttl_of(answer: Fetched) -> int:
    found = re.search(r"ttl=(-?\d+)", cache_status_of(answer))
    assert found, cache_status_of(answer)
    return int(found[1])


# Lifetimes


@pytest.mark.parametrize(
    ("cache_control", "expected_ttl"),
    [
        ("max-age=600, public", 600),
        ("max-age=77", 77),
        ("max-age=5, s-maxage=300", 300),  # a shared cache's own
        ("public", 600),  # nothing said of time: ten minutes
        (None, 600),
        ("max-age=900, must-revalidate", 900),
    ],
)
def test_a_page_lives_as_long_as_its_upstream_says(cache_control: str | None, expected_ttl: int, house: House) -> None:
    name = f"lives-{slug(cache_control)}"
    house.upstream.add(make_wheel(name))
    house.upstream.script(Behaviour(f"/{name}/", headers={"Cache-Control": cache_control}))
    first = house.page(name)
    assert cache_status_of(first) == "pypi-cache; fwd=miss; fwd-status=200; stored"
    for _ in range(3):
        again = house.page(name)
        assert cache_status_of(again).startswith("pypi-cache; hit; ")
        assert expected_ttl - 60 <= ttl_of(again) <= expected_ttl
        assert again.body == first.body
        assert 0 <= int(again.headers["Age"] or -1) <= 60
    assert house.page_requests(name) == 1


@pytest.mark.parametrize(
    ("cache_control", "conditional"),
    [
        ("max-age=0", True),
        ("no-cache", True),
        ("no-cache, max-age=600", True),
        ("s-maxage=0, max-age=600", True),
        ("no-store", False),  # never kept, so there is nothing to ask about
        ("private, max-age=600", False),
    ],
)
def test_a_page_that_is_asked_for_each_time(cache_control: str, conditional: bool, house: House) -> None:
    name = f"asked-{slug(cache_control)}"
    house.upstream.add(make_wheel(name))
    house.upstream.script(Behaviour(f"/{name}/", headers={"Cache-Control": cache_control}))
    bodies = [house.page(name).body for _ in range(3)]
    assert len(set(bodies)) == 1
    asked = house.upstream.seen(path_contains=f"/{name}/")
    assert len(asked) == 3
    assert [each.status for each in asked] == ([200, 304, 304] if conditional else [200, 200, 200])
    assert [bool(each.headers.get("if-none-match")) for each in asked[1:]] == [conditional, conditional]


@pytest.mark.parametrize(
    ("cache_control", "expected"),
    [
        ("max-age=0", 1),  # older pip sends it always: it means nothing within a page's lifetime
        ("no-cache", 2),
        ("max-age=0, must-revalidate", 2),  # uv --refresh
        ("max-stale=100", 1),
        ("min-fresh=700", 2),
    ],
)
def test_what_a_client_asks_for(cache_control: str, expected: int, house: House) -> None:
    name = f"client-{slug(cache_control)}"
    house.upstream.add(make_wheel(name))
    house.page(name)
    assert house.page(name, Cache_Control=cache_control).status == 200
    assert house.page_requests(name) == expected


@pytest.mark.parametrize("kind", ["page", "document", "list", "file", "signature"])
def test_only_if_cached(kind: str, hasty: House) -> None:
    """RFC 9111 §5.2.1.7: a stored answer or 504, and nothing is forwarded, so Cache-Status has no `fwd` (RFC 9211 §2.2).

    It used to say that no upstream had it, `fwd=miss`, and of a stale page the key that it has in the store.
    """
    release = make_wheel(f"only-stored-{kind}")
    hasty.upstream.add(release)
    hasty.upstream.serve("/pypi/simple/", root_html([release.project]), PLAIN_HTML_TYPE)
    hasty.upstream.serve(f"/pypi/{release.quoted_path}.asc", b"signed", "text/plain", Cache_Control="max-age=0")
    url, what = {
        "page": (names.page_url(release.project), "the page of only-stored-page on index pypi"),
        "document": (
            f"https://{names.INDEX_HOST}/pypi/{release.project}/json",
            "of only-stored-document on index pypi",
        ),
        "list": (names.INDEX_URL, "the project list of index pypi"),
        "file": (names.file_url(release), release.filename),
        "signature": (names.file_url(release, ".asc"), f"{release.filename}.asc"),
    }[kind]

    def asked(method: str, **headers: str) -> Fetched:
        # The document is made here, which is done for poetry alone.
        named = {"Accept": "*/*", "User-Agent": "poetry/2.2.1"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return hasty.fetch(url, method=method, headers=named)

    def refused(why: str) -> None:
        before = len(hasty.upstream.requests)
        for method in ("GET", "HEAD"):
            answer = asked(method, Cache_Control="only-if-cached")
            assert (answer.status, cache_status_of(answer)) == (504, "pypi-cache; detail=only-if-cached")
            text = answer.body.decode()
            assert method == "HEAD" or (what in text and why in text)
            assert "|" not in text
            assert "upstream" not in text
        assert len(hasty.upstream.requests) == before

    refused("is not in the store")
    assert asked("GET").status == 200
    if kind != "signature":  # it may not be used unasked even once
        # A list and a file are stored a moment after their last byte is sent
        fresh = eventually(
            lambda: asked("GET", Cache_Control="only-if-cached"),
            lambda answer: kind not in {"list", "file"} or cache_status_of(answer).startswith("pypi-cache; hit"),
        )
        assert (fresh.status, cache_status_of(fresh).partition("; ttl")[0]) == (200, "pypi-cache; hit")
    if kind != "file":  # its digest says that it never changes
        hasty.proxy.at_rest()
        hasty.proxy.lapse()
        refused("must be revalidated")


# Revalidation


@pytest.mark.parametrize("edited", [True, False], ids=["edited", "verbatim"])
@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("etag",), ("last-modified",)], ids="-".join)
def test_an_unchanged_page_is_revalidated(validators: tuple[str, ...], edited: bool, hasty: House) -> None:
    """A 304 renews it: no body crosses the wire, and the upstream's own validators are sent, not those of our edited page."""
    name = f"renewed-{'-'.join(validators)}-{edited}".lower()
    hasty.upstream.page_validators = frozenset(validators)
    try:
        hasty.upstream.style = PageStyle(
            form=LinkForm.RELATIVE if edited else LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN
        )
        hasty.upstream.add(make_wheel(name))
        first = hasty.page(name)
        hasty.proxy.lapse()
        second = hasty.page(name)
        assert cache_status_of(second) == "pypi-cache; fwd=stale; fwd-status=304"
        third = hasty.page(name)
        assert cache_status_of(third).startswith("pypi-cache; hit; ")
    finally:
        hasty.upstream.page_validators = frozenset({"etag", "last-modified"})
    assert first.body == second.body == third.body
    assert first.headers["ETag"] == second.headers["ETag"] == third.headers["ETag"]
    asked = hasty.upstream.seen(path_contains=f"/{name}/")
    assert [each.status for each in asked] == [200, 304]
    assert asked[1].bytes_sent == 0


def test_a_changed_page_is_seen_after_its_lifetime(hasty: House) -> None:
    """No staleness beyond it (warehouse#8568), in any representation and at either address."""
    hasty.upstream.add(make_wheel("grows", "1.0"))
    urls = (names.page_url("grows"), "/pypi/simple/grows/")
    answers = [hasty.fetch(url, headers={"Accept": accept}) for url in urls for accept in ACCEPTS.values()]
    assert all(versions_on(each) == {"1.0"} for each in answers)
    hasty.upstream.add(make_wheel("grows", "2.0"))
    hasty.proxy.lapse()
    again = [hasty.fetch(url, headers={"Accept": accept}) for url in urls for accept in ACCEPTS.values()]
    assert all(versions_on(each) == {"1.0", "2.0"} for each in again)
    assert {old.headers["ETag"] for old in answers}.isdisjoint(new.headers["ETag"] for new in again)
    assert hasty.page_requests("grows") in range(
        2 * len(ACCEPTS), 4 * len(ACCEPTS)
    )  # 6, not 12: both addresses share one store


# Failures


FAILING = {
    "down": None,
    "500": Behaviour("/simple/", status=500),
    "503": Behaviour("/simple/", status=503),
    "dropped": Behaviour("/simple/", drop=True),
    "reset": Behaviour("/simple/", drop=True, reset=True),
    "cut short": Behaviour("/simple/", cut_after=40),
    "a captive portal": Behaviour("/simple/", captive=True),
    "no page": Behaviour("/simple/", body=b"[1, 2]", headers={"Content-Type": JSON_TYPE}),
    "a redirect loop": Behaviour("/simple/", redirect_loop=True),
    "nonsense": Behaviour("/simple/", raw=b"220 smtp.example ESMTP\r\n\r\n"),
}


def fail(house: House, how: str) -> None:
    behaviour = FAILING[how]
    if behaviour is None:
        house.upstream.down()
    else:
        house.upstream.script(behaviour)


@pytest.mark.parametrize("how", FAILING)
def test_stale_if_the_upstream_fails(how: str, hasty: House) -> None:
    """The page as it was, marked so that clients do not keep its staleness; and the upstream's own when it is back."""
    name = f"outage-{slug(how)}"
    hasty.upstream.add(make_wheel(name, "1.0"))
    first = hasty.page(name)
    hasty.upstream.add(make_wheel(name, "2.0"))
    fail(hasty, how)
    hasty.proxy.lapse()
    stale = hasty.page(name)
    assert stale.status == 200
    assert stale.body == first.body
    assert re.fullmatch(r"pypi-cache; hit; ttl=-?\d+; detail=stale-if-error", cache_status_of(stale)), cache_status_of(
        stale
    )
    assert stale.headers["Cache-Control"] == "no-store"
    hasty.upstream.unscript()
    hasty.upstream.up()
    assert versions_on(hasty.page(name)) == {"1.0", "2.0"}


@pytest.mark.parametrize("how", [how for how in FAILING if how != "a captive portal"])
def test_a_failure_is_never_a_404(how: str, hasty: House) -> None:
    """uv goes on to its next index on a 404, so a failure that looks like one is a dependency confusion; pip retries a 502 and a 503."""
    name = f"never-404-{slug(how)}"
    hasty.upstream.add(make_wheel(name))
    fail(hasty, how)
    for kind in ("json", "html"):
        answer = hasty.page(name, kind)
        assert answer.status in (502, 503), answer.body
        assert (answer.headers["Retry-After"] is not None) == (answer.status == 503)
        assert str(hasty.upstream.port).encode() in answer.body  # it names whom it asked
        assert answer.headers["Cache-Control"] == "no-store"
    hasty.upstream.unscript()
    hasty.upstream.up()
    assert hasty.page(name).status == 200  # and is not remembered


def test_a_captive_portal_is_no_page(hasty: House) -> None:
    """A network's log-in page is HTML with 200: stored as the project's page it would say "no files" for as long as it lives."""
    hasty.upstream.add(make_wheel("hotel"))
    fail(hasty, "a captive portal")
    for accept in (", ".join((JSON_TYPE, f"{HTML_TYPE}; q=0.1", "text/html; q=0.01")), *ACCEPTS.values()):
        answer = hasty.fetch(names.page_url("hotel"), headers={"Accept": accept})
        assert answer.status not in (200, 404), accept
        assert b"Room number" not in answer.body
    hasty.upstream.unscript()
    assert all(hasty.page("hotel", kind).status == 200 for kind in ACCEPTS)


def test_a_slow_upstream_is_waited_for(make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path) -> None:
    """An index that renders its page anew may take half a minute.

    pip, which gives up after 15 s, is told in time to ask again, joins the request that is under way, and has its page.
    """
    assert CLIENT_SECONDS < 15
    upstream, rendered = make_upstream(make_wheel("silent")), threading.Event()
    upstream.script(Behaviour("/simple/silent/", gate=rendered))
    patience = {
        "engine.pages.project_pages.CLIENT_SECONDS": 1,
        "engine.upstream.client.SOLE_SOURCE_SECONDS": (1, 60, 60),
    }
    house = House(upstream, make_proxy(upstream, script=script_with(tmp_path, patience)))
    first = house.page("silent")
    assert (first.status, first.headers["Retry-After"]) == (503, "1")
    upstream.wait_for(2, path_contains="/simple/silent/")  # the first may have been lost; the second is waited for
    rendered.set()
    assert eventually(lambda: house.page("silent"), lambda page: page.status != 503).status == 200
    assert house.page_requests("silent") == 2


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "no-cache"])
def test_what_forbids_stale_answers(directive: str, ca: Authority, house: House) -> None:
    name = f"forbids-{directive}"
    house.upstream.add(make_wheel(name))
    house.upstream.script(Behaviour(f"/{name}/", headers={"Cache-Control": f"max-age=3600, {directive}"}))
    assert house.page(name).status == 200
    house.upstream.down()
    house.proxy.lapse()
    assert house.page(name).status in (502, 503)


def test_a_404_is_remembered_briefly(hasty: House) -> None:
    assert [hasty.page("not-yet").status for _ in range(3)] == [404] * 3
    assert hasty.page_requests("not-yet") == 1
    hasty.upstream.add(make_wheel("not-yet"))
    hasty.proxy.lapse()
    assert hasty.page("not-yet").status == 200


@pytest.mark.parametrize("how", ["down", "500", "dropped"])
def test_a_remembered_404_is_not_given_for_a_failure(how: str, hasty: House) -> None:
    name = f"once-404-{slug(how)}"
    assert hasty.page(name).status == 404
    fail(hasty, how)
    hasty.proxy.lapse()
    assert hasty.page(name).status in (502, 503)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 451])
def test_other_refusals_are_neither_404_nor_remembered(status: int, hasty: House) -> None:
    name = f"refused-{status}"
    hasty.upstream.add(make_wheel(name))
    hasty.upstream.script(Behaviour(f"/{name}/", status=status))
    answer = hasty.page(name)
    assert answer.status in (status, 502)
    assert answer.headers["Cache-Control"] == "no-store"
    hasty.upstream.unscript()
    assert hasty.page(name).status == 200


# Herds


def test_a_hundred_clients_for_one_cold_page(house: House, ca: Authority) -> None:
    """nora#595: 50 clients, 47 fetches. Here one, though the upstream is slow enough for all of them to come meanwhile."""
    house.upstream.add(make_wheel("herd"))
    house.upstream.script(Behaviour("/herd/", delay=1.5))
    url = names.page_url("herd")
    answers = fetch_many(100, house.proxy.port, url, ca=house.proxy.ca, headers={"Accept": JSON_TYPE})
    assert {each.status for each in answers} == {200}
    assert len({each.body for each in answers}) == 1
    assert sum("collapsed" in cache_status_of(each) for each in answers) >= 90
    assert house.page_requests("herd") == 1


def test_a_hundred_clients_for_one_stale_page(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Within stale-while-revalidate none of them waits: all have their answer while the one upstream request has none yet.

    It is renewed behind their backs, once for all.
    """
    upstream = make_upstream(make_wheel("stale-crowd", "1.0"))
    options = {"pypi_cache_index_ttl": "1h", "pypi_cache_stale_while_revalidate": "1h"}
    house = House(upstream, make_proxy(upstream, options=options))
    old = house.page("stale-crowd")
    upstream.add(make_wheel("stale-crowd", "2.0"))
    stalled = threading.Event()
    upstream.script(Behaviour("/stale-crowd/", gate=stalled))
    house.proxy.lapse(1.5 * HOUR)
    url = names.page_url("stale-crowd")
    answers = fetch_many(100, house.proxy.port, url, ca=house.proxy.ca, headers={"Accept": JSON_TYPE})
    answers += [house.page("stale-crowd") for _ in range(2)]
    assert {(each.status, each.body) for each in answers} == {(200, old.body)}
    assert all("detail=stale-while-revalidate" in cache_status_of(each) for each in answers)
    upstream.wait_for(2, path_contains="/stale-crowd/")
    stalled.set()
    eventually(lambda: versions_on(house.page("stale-crowd")), lambda found: found == {"1.0", "2.0"})
    assert house.page_requests("stale-crowd") == 2


def test_a_herd_for_a_page_past_its_lifetime(hasty: House) -> None:
    hasty.upstream.add(make_wheel("stale-herd"))
    hasty.page("stale-herd")
    hasty.upstream.script(Behaviour("/stale-herd/", delay=0.8))
    hasty.proxy.lapse()
    url = names.page_url("stale-herd")
    answers = fetch_many(30, hasty.proxy.port, url, ca=hasty.proxy.ca, headers={"Accept": JSON_TYPE})
    assert {each.status for each in answers} == {200}
    assert hasty.page_requests("stale-herd") == 2


def test_a_herd_for_a_page_that_fails(hasty: House) -> None:
    """One failure for all of them, and the next client tries afresh."""
    hasty.upstream.add(make_wheel("sad-herd"))
    hasty.upstream.script(Behaviour("/sad-herd/", status=500, delay=0.8))
    url = names.page_url("sad-herd")
    answers = fetch_many(30, hasty.proxy.port, url, ca=hasty.proxy.ca, headers={"Accept": JSON_TYPE})
    assert {each.status for each in answers} == {502}
    assert hasty.page_requests("sad-herd") == 1
    hasty.upstream.unscript()
    assert hasty.page("sad-herd").status == 200


def test_the_client_that_came_first_leaves(house: House) -> None:
    """A refresh belongs to no client."""
    house.upstream.add(make_wheel("orphan"))
    house.upstream.script(Behaviour("/orphan/", delay=1.0))
    with pytest.raises(TimeoutError):
        fetch_many(1, house.proxy.port, names.page_url("orphan"), ca=house.proxy.ca, timeout=0.4)
    assert house.page("orphan", "html").status == 200
    assert house.page_requests("orphan") == 1


# What clients ask for besides


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("edited", [True, False], ids=["edited", "verbatim"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_conditional_requests(coding: str, edited: bool, kind: str, house: House) -> None:
    """A 304 without Content-Type made pip skip the page (pip#5345)."""
    name = f"conditional-{coding}-{edited}-{kind}".lower()
    house.upstream.style = PageStyle(
        form=LinkForm.RELATIVE if edited else LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN
    )
    house.upstream.add(make_wheel(name))
    first = house.page(name, kind, Accept_Encoding=coding)
    etag, modified = str(first.headers["ETag"]), str(first.headers["Last-Modified"])
    table = {
        "its own tag": ({"If_None_Match": etag}, 304),
        "among others": ({"If_None_Match": f'"x", {etag}, W/"y"'}, 304),
        "any": ({"If_None_Match": "*"}, 304),
        "another tag": ({"If_None_Match": '"other"'}, 200),
        "another tag wins over the date": ({"If_None_Match": '"other"', "If_Modified_Since": modified}, 200),
        "not modified since": ({"If_Modified_Since": modified}, 304),
        "modified since": ({"If_Modified_Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
        "no date": ({"If_Modified_Since": "yesterday"}, 200),
    }
    for what, (headers, status) in table.items():
        answer = house.page(name, kind, Accept_Encoding=coding, **headers)
        assert answer.status == status, what
        assert answer.headers["Content-Type"] == first.headers["Content-Type"], what
        assert answer.headers["ETag"] == etag, what
        assert answer.body == (b"" if status == 304 else first.body), what
    assert house.page_requests(name) == 1


@pytest.mark.parametrize("kind", ACCEPTS)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_head_is_get_without_a_body(coding: str, kind: str, house: House) -> None:
    name = f"headed-{coding}-{kind}"
    house.upstream.add(make_wheel(name))
    url = names.page_url(name)
    headers = {"Accept": ACCEPTS[kind], "Accept-Encoding": coding}
    cold = house.fetch(url, method="HEAD", headers=headers)
    got = house.fetch(url, headers=headers)
    head = house.fetch(url, method="HEAD", headers=headers)
    assert (cold.status, head.status, head.body) == (200, 200, b"")
    for header in (
        "Content-Type",
        "Content-Length",
        "Content-Encoding",
        "ETag",
        "Last-Modified",
        "Vary",
        "Cache-Control",
    ):
        assert head.headers[header] == cold.headers[header] == got.headers[header], header
    assert int(got.headers["Content-Length"] or -1) == got.size
    assert house.page_requests(name) == 1
    missing = house.fetch(names.page_url(f"missing-{coding}-{kind}"), method="HEAD", headers=headers)
    assert (missing.status, missing.body) == (404, b"")


@pytest.mark.parametrize("upstream_gzips", [True, False], ids=["gzipped upstream", "plain upstream"])
@pytest.mark.parametrize("edited", [True, False], ids=["edited", "verbatim"])
def test_gzip_and_identity(edited: bool, upstream_gzips: bool, house: House) -> None:
    """Each client gets the coding that it takes, whichever the upstream sent and whoever asked first; the same page in both."""
    name = f"coded-{edited}-{upstream_gzips}".lower()
    house.upstream.gzips_pages = upstream_gzips
    house.upstream.style = PageStyle(
        form=LinkForm.RELATIVE if edited else LinkForm.CANONICAL, files_origin=names.FILES_ORIGIN
    )
    house.upstream.add(*(make_wheel(name, f"{minor}.0") for minor in range(1, 10)))
    plain = house.page(name, Accept_Encoding="identity")
    for accept, coding in (
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, zstd", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        ("br", None),
        ("", None),
    ):
        page = house.page(name, Accept_Encoding=accept)
        assert page.headers["Content-Encoding"] == coding, accept
        assert (gzip.decompress(page.body) if coding else page.body) == plain.body, accept
        assert "Accept-Encoding" in (page.headers["Vary"] or "")
        assert int(page.headers["Content-Length"] or -1) == page.size
        # RFC 9110 §8.8.1: one strong tag must not stand for two different byte sequences
        strong = not (page.headers["ETag"] or "").startswith("W/")
        assert (page.headers["ETag"] == plain.headers["ETag"]) == (coding is None)
        assert strong == (coding is None), accept
    assert house.page_requests(name) == 1


def test_freshness_outlives_a_restart(make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path) -> None:
    """Not fetched anew, and not made younger either."""
    upstream = make_upstream(make_wheel("lasting"))
    upstream.page_cache_control = f"max-age={3 * HOUR:.0f}"
    house = House(upstream, make_proxy(upstream, options=NO_GRACE))
    house.page("lasting")
    house.proxy.lapse(2 * HOUR)
    house.proxy.restart()
    kept = house.page("lasting")
    assert cache_status_of(kept).startswith("pypi-cache; hit; ")
    assert ttl_of(kept) <= HOUR
    assert house.page_requests("lasting") == 1
    house.proxy.lapse(2 * HOUR)
    assert cache_status_of(house.page("lasting")) == "pypi-cache; fwd=stale; fwd-status=304"


# Damage on the disk


@pytest.mark.parametrize("what", ["the plain view", "the gzipped view", "the page"])
def test_what_has_rotted_is_never_served(what: str, make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """A view is derived anew, a page fetched anew; the damaged one is dropped, with one warning."""
    releases = [make_wheel("rotten", f"1.{number}") for number in range(600)]  # large enough for files of their own
    upstream = make_upstream(*releases)
    house = House(upstream, make_proxy(upstream))
    right = house.page("rotten").body
    house.proxy.stop()
    files = list(house.proxy.store.glob("entries/**/*.val"))
    (view,) = [path for path in files if path.read_bytes().startswith(b"{")]
    (page,) = [path for path in files if path.read_bytes().startswith(b"\x1f\x8b")]
    path, place = {"the plain view": (view, 100), "the gzipped view": (view, -100), "the page": (page, 100)}[what]
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0xFF
    path.write_bytes(damaged)
    if what == "the page":
        view.unlink()
    house.proxy.start()
    for coding in ("gzip", "identity"):
        for _ in range(2):
            answer = house.page("rotten", Accept_Encoding=coding)
            assert answer.status == 200
            assert (gzip.decompress(answer.body) if coding == "gzip" else answer.body) == right
    assert house.page_requests("rotten") == (2 if what == "the page" else 1)
    assert house.proxy.output.count("damaged on the disk") == 1
