"""RFC 9111 for files that have no digest, so that nothing but HTTP speaks for them: each row is a signature asked for twice."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, cache_status_of, open_house, slug, tidied
from tests.support.twice import Case, asked_twice
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched

LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
LARGE = bytes(range(256)) * 1000

CASES = {
    # Freshness, at once after the download
    "§4.2.1 max-age": Case(
        says={"Cache-Control": "max-age=3600"}, outcome="hit", sees={"Cache-Control": "max-age=3600"}
    ),
    "§4.2.1 max-age=0": Case(says={"Cache-Control": "max-age=0"}, outcome="validated", statuses=(200, 304)),
    "§4.2.1 s-maxage": Case(says={"Cache-Control": "max-age=0, s-maxage=60"}, outcome="hit"),
    "§4.2.2 nothing is said": Case(says={"Cache-Control": None}, outcome="hit"),
    "§5.3 Expires in the past": Case(says={"Cache-Control": None, "Expires": LONG_AGO}, outcome="validated"),
    "§4.2.3 an Age within the lifetime": Case(
        says={"Cache-Control": "max-age=600", "Age": "300"}, outcome="hit", sees={"Age": "300"}
    ),
    "§4.2.3 an Age past the lifetime": Case(says={"Cache-Control": "max-age=600", "Age": "600"}, outcome="validated"),
    "§5.2.2.4 no-cache": Case(says={"Cache-Control": "no-cache, max-age=60"}, outcome="validated", third="validated"),
    "§5.2.2.5 no-store": Case(says={"Cache-Control": "no-store"}, outcome="asked anew", third="asked anew"),
    "§5.2.2.5 no-store, max-age": Case(says={"Cache-Control": "no-store, max-age=600"}, outcome="asked anew"),
    "§5.2.2.7 private": Case(says={"Cache-Control": "private, max-age=600"}, outcome="asked anew", third="asked anew"),
    "§5.2.2.7 private of some fields": Case(says={"Cache-Control": 'private="x", max-age=600'}, outcome="asked anew"),
    "§4.1 Vary: *": Case(says={"Cache-Control": "max-age=600", "Vary": "*"}, outcome="asked anew", third="asked anew"),
    "§4.1 a member *": Case(says={"Cache-Control": "max-age=600", "Vary": "Accept, *"}, outcome="asked anew"),
    "§4.1 Vary: Accept": Case(says={"Cache-Control": "max-age=600", "Vary": "Accept"}, outcome="hit"),
    # Request directives
    "§5.2.1.4 no-cache": Case(
        says={"Cache-Control": "max-age=600"}, asks={"Cache-Control": "no-cache"}, outcome="validated"
    ),
    "§5.2.1.2 max-stale": Case(
        says={"Cache-Control": "max-age=600", "Age": "700"}, asks={"Cache-Control": "max-stale"}, outcome="stale"
    ),
    # Validation
    "§4.3.3 a 200 is used, and not fetched twice": Case(
        says={"Cache-Control": "max-age=0"}, content=b"changed", outcome="changed", statuses=(200, 200)
    ),
    "§4.3.3 a large 200": Case(
        says={"Cache-Control": "max-age=0"}, content=LARGE, outcome="changed", statuses=(200, 200)
    ),
    "§4.3.3 a 200 that is stored": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Cache-Control": "max-age=60"},
        content=b"new",
        outcome="changed",
        third="hit",
    ),
    "§4.3.3 a 200 that is not stored": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Cache-Control": "no-store"},
        content=b"new",
        outcome="changed",
        third="asked anew",
    ),
    "§4.3.3 a 5xx: stale": Case(
        says={"Cache-Control": "max-age=600", "Age": "700"}, status=500, outcome="stale if error"
    ),
    "§4.3.1 no validator": Case(
        says={"Cache-Control": "max-age=0", "ETag": None, "Last-Modified": None},
        outcome="asked anew",
        statuses=(200, 200),
    ),
    # What a 304 updates
    "§4.3.4 Cache-Control": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Cache-Control": "max-age=77"},
        outcome="validated",
        sees={"Cache-Control": "max-age=77"},
        third="hit",
    ),
    "§4.3.4 Expires": Case(
        says={"Cache-Control": "max-age=0"}, then={"Expires": LONG_AGO}, outcome="validated", sees={"Expires": LONG_AGO}
    ),
    "§4.3.4 Last-Modified, where the tag is the same": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Last-Modified": LONG_AGO},
        outcome="validated",
        sees={"Last-Modified": LONG_AGO},
    ),
    "§3.2 but Content-Type": Case(
        says={"Cache-Control": "max-age=0", "Content-Type": "text/plain"},
        then={"Content-Type": "text/x-other"},
        outcome="validated",
        sees={"Content-Type": "text/plain"},
    ),
    "§3.2 a field that the 304 lacks stays": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Last-Modified": None},
        outcome="validated",
        sees={"Cache-Control": "max-age=0"},
    ),
    "§4.2.3 Age and Date are the 304's": Case(
        says={"Cache-Control": "max-age=600", "Age": "900", "Date": LONG_AGO},
        then={"Age": "7", "Date": None},
        outcome="validated",
        sees={"Age": "7"},
        third="hit",
    ),
    "§4.3.4 another tag: asked without validators": Case(
        says={"Cache-Control": "max-age=0"}, then={"ETag": '"other"'}, outcome="asked anew", statuses=(200, 304, 200)
    ),
    "§4.3.4 another date, and no tag": Case(
        says={"Cache-Control": "max-age=0", "ETag": None},
        then={"Last-Modified": LONG_AGO},
        status=304,
        times=1,
        outcome="asked anew",
        statuses=(200, 304, 200),
    ),
    "§4.3.4 a tag made weak": Case(
        says={"Cache-Control": "max-age=0", "ETag": '"a"'}, then={"ETag": 'W/"a"'}, status=304, outcome="validated"
    ),
}


@pytest.fixture(scope="module")
def shared_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without the operator's windows of staleness, which would hide what is stale."""
    options = {"pypi_cache_stale_while_revalidate": "0s"}
    with open_house(ca, tmp_path_factory.mktemp("rfc9111"), options=options) as house:
        yield house


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    with tidied(shared_house) as house:
        yield house


def signature(house: House, name: str, data: bytes = b"signed") -> tuple[str, str]:
    """A signature on the upstream: its path there, and its URL for clients."""
    release = make_wheel(name)
    house.upstream.add(release)
    house.upstream.serve(f"/pypi/{release.quoted_path}.asc", data, "text/plain")
    return f"{release.filename}.asc", names.file_url(release, ".asc")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_without_a_digest_asked_for_twice(case: Case, request: pytest.FixtureRequest, house: House) -> None:
    path, url = signature(house, slug(request.node.callspec.id))

    def get(asks: Mapping[str, str]) -> Fetched:
        return house.fetch(url, headers={name.replace("_", "-"): text for name, text in asks.items()})

    first, again = asked_twice(house, path, get, case)
    assert (first.body, again.body) == (b"signed", case.content or b"signed")


@pytest.mark.parametrize("cache_control", ["no-store", "private, max-age=600"])
def test_what_may_not_be_stored_is_one_download_for_those_who_ask_meanwhile(cache_control: str, house: House) -> None:
    """§3: who comes later has one of his own, at once."""
    path, url = signature(house, f"meanwhile-{slug(cache_control)}")
    let_go = threading.Event()
    house.upstream.script(Behaviour(path, headers={"Cache-Control": cache_control}, gate=let_go))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(house.fetch, url) for _ in range(4)]
        house.upstream.wait_until(lambda: house.upstream.count(path_contains=path) == 1)
        let_go.set()
        assert {(each.result().status, each.result().body) for each in answers} == {(200, b"signed")}
    for _ in range(2):
        before = house.upstream.count(path_contains=path)
        assert cache_status_of(house.fetch(url)) == "pypi-cache; fwd=miss"
        assert house.upstream.count(path_contains=path) == before + 1
