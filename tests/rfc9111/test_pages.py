"""RFC 9111 as a client sees it: each row is a project page of its own, asked for twice; one clause, one row.

What the rules alone decide is tabled in test_rules.py beside this. No row waits: a page's age is what its `Age` and `Date` say.
"""

import time
from collections.abc import Iterator

import pytest

from pkgcache.rules.http.dates import format_http_date
from tests.support.authority import Authority
from tests.support.house import House, open_house, slug, tidied
from tests.support.index import JSON_TYPE
from tests.support.twice import Case, asked_twice
from tests.support.wheels import make_wheel

HOUR = 3600
OLD, AHEAD = format_http_date(time.time() - HOUR), format_http_date(time.time() + HOUR)
SOON = format_http_date(time.time() + 2 * HOUR)
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"

CASES = {
    # Freshness
    "§4.2.1 max-age": Case(says={"Cache-Control": "max-age=3600"}, outcome="hit"),
    "§4.2.1 max-age=0": Case(says={"Cache-Control": "max-age=0"}, outcome="validated"),
    "§4.2.1 s-maxage goes before max-age": Case(says={"Cache-Control": "max-age=0, s-maxage=3600"}, outcome="hit"),
    "§4.2.1 s-maxage=0": Case(says={"Cache-Control": "max-age=3600, s-maxage=0"}, outcome="validated"),
    "§4.2.1 max-age goes before Expires": Case(
        says={"Cache-Control": "max-age=3600", "Expires": LONG_AGO}, outcome="hit"
    ),
    "§4.2.1 max-age that is no number": Case(says={"Cache-Control": "max-age=soon"}, outcome="validated"),
    "§5.2 a quoted argument": Case(says={"Cache-Control": 'max-age="3600"'}, outcome="hit"),
    "§5.2 case does not count": Case(says={"Cache-Control": "MaX-aGe=3600"}, outcome="hit"),
    "§5.2.3 an unknown directive": Case(says={"Cache-Control": "community=UCI, max-age=3600"}, outcome="hit"),
    "§1.2.2 more than an integer holds": Case(says={"Cache-Control": f"max-age={'9' * 30}"}, outcome="hit"),
    "§4.2.2 nothing is said: ten minutes": Case(says={"Cache-Control": None}, outcome="hit"),
    "§5.2.2.4 no-cache": Case(says={"Cache-Control": "no-cache, max-age=3600"}, outcome="validated"),
    "§5.2.2.4 no-cache of some fields": Case(says={"Cache-Control": 'no-cache="x", max-age=3600'}, outcome="validated"),
    "§5.2.2.5 no-store": Case(says={"Cache-Control": "no-store, max-age=3600"}, outcome="asked anew"),
    "§5.2.2.7 private": Case(says={"Cache-Control": "private, max-age=3600"}, outcome="asked anew"),
    # Age
    "§4.2.3 age_value": Case(
        says={"Cache-Control": "max-age=600", "Age": "590"},
        outcome="hit",
        sees={"Age": "590", "Cache-Control": "max-age=600"},
    ),
    "§4.2.3 age_value is all of the lifetime": Case(
        says={"Cache-Control": "max-age=600", "Age": "600"}, outcome="validated"
    ),
    "§4.2.3 age_value and s-maxage": Case(says={"Cache-Control": "s-maxage=600", "Age": "601"}, outcome="validated"),
    "§4.2.3 age_value and the default lifetime": Case(says={"Cache-Control": None, "Age": "601"}, outcome="validated"),
    "§4.2.3 apparent_age: the clock is an hour late": Case(
        says={"Cache-Control": "max-age=600", "Date": OLD}, outcome="validated", sees={"Date": OLD, "Age": str(HOUR)}
    ),
    "§4.2.3 apparent_age within the lifetime": Case(
        says={"Cache-Control": "max-age=7200", "Date": OLD}, outcome="hit", sees={"Date": OLD, "Age": str(HOUR)}
    ),
    "§4.2.3 the greater of Age and apparent_age": Case(
        says={"Cache-Control": "max-age=7200", "Date": OLD, "Age": "7"}, outcome="hit", sees={"Age": str(HOUR)}
    ),
    "§4.2.3 the clock is an hour early": Case(
        says={"Cache-Control": "max-age=600", "Date": AHEAD}, outcome="hit", sees={"Date": AHEAD, "Age": "0"}
    ),
    "§5.1 no Age": Case(says={"Cache-Control": "max-age=600"}, outcome="hit", sees={"Age": "0"}),
    "§5.1 an Age that is no number": Case(
        says={"Cache-Control": "max-age=600", "Age": "abc"}, outcome="hit", sees={"Age": "0"}
    ),
    "§5.1 a negative Age": Case(
        says={"Cache-Control": "max-age=600", "Age": "-7200"}, outcome="hit", sees={"Age": "0"}
    ),
    "§5.1 an Age with a fraction": Case(
        says={"Cache-Control": "max-age=600", "Age": "7200.0"}, outcome="hit", sees={"Age": "0"}
    ),
    "§5.1 of a list of ages the first": Case(
        says={"Cache-Control": "max-age=600", "Age": "590, 700"}, outcome="hit", sees={"Age": "590"}
    ),
    "§1.2.2 an Age beyond 2^31": Case(
        says={"Cache-Control": "max-age=600", "Age": "9" * 20}, outcome="validated", sees={"Age": str(2**31)}
    ),
    # Expires
    "§5.3 in the future": Case(says={"Cache-Control": None, "Expires": SOON}, outcome="hit", sees={"Expires": SOON}),
    "§5.3 in the past": Case(says={"Cache-Control": None, "Expires": LONG_AGO}, outcome="validated"),
    "§5.3 by the origin's clock": Case(
        says={"Cache-Control": None, "Expires": AHEAD, "Date": AHEAD}, outcome="validated"
    ),
    "§5.3 by the origin's late clock": Case(
        says={"Cache-Control": None, "Expires": AHEAD, "Date": OLD}, outcome="hit", sees={"Date": OLD}
    ),
    "§5.3 Expires: 0": Case(says={"Cache-Control": None, "Expires": "0"}, outcome="validated"),
    "§5.3 Expires: -1": Case(says={"Cache-Control": None, "Expires": "-1"}, outcome="validated"),
    "§4.2 another zone than GMT": Case(
        says={"Cache-Control": None, "Expires": SOON.replace("GMT", "UTC")}, outcome="validated"
    ),
    "§4.2 case does not count": Case(says={"Cache-Control": None, "Expires": SOON.lower()}, outcome="hit"),
    "§5.3 with an Age": Case(says={"Cache-Control": None, "Expires": SOON, "Age": str(3 * HOUR)}, outcome="validated"),
    # Validation
    "§4.3.1 both validators are sent": Case(
        says={"Cache-Control": "max-age=0"}, outcome="validated", statuses=(200, 304)
    ),
    "§4.3.1 an entity tag alone": Case(says={"Cache-Control": "max-age=0", "Last-Modified": None}, outcome="validated"),
    "§4.3.1 a date alone": Case(says={"Cache-Control": "max-age=0", "ETag": None}, outcome="validated"),
    "§4.3.1 no validator": Case(
        says={"Cache-Control": "max-age=0", "ETag": None, "Last-Modified": None},
        outcome="asked anew",
        statuses=(200, 200),
    ),
    "§4.3.3 a failing upstream: stale, RFC 5861 §4": Case(
        says={"Cache-Control": "max-age=600", "Age": "700"},
        status=503,
        outcome="stale if error",
        sees={"Cache-Control": "no-store"},
    ),
    # What a 304 updates
    "§4.3.4 Cache-Control": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Cache-Control": "max-age=77"},
        outcome="validated",
        sees={"Cache-Control": "max-age=77"},
    ),
    "§4.3.4 a new lifetime holds": Case(
        says={"Cache-Control": "max-age=0"}, then={"Cache-Control": "max-age=77"}, outcome="validated", third="hit"
    ),
    "§4.3.4 Expires": Case(
        says={"Cache-Control": None, "Expires": LONG_AGO},
        then={"Expires": SOON},
        outcome="validated",
        sees={"Expires": SOON},
    ),
    "§4.3.4 Last-Modified, where the tag is the same": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Last-Modified": OLD},
        outcome="validated",
        sees={"Last-Modified": OLD},
    ),
    "§4.3.4 a field of the index": Case(
        says={"Cache-Control": "max-age=0", "X-PyPI-Last-Serial": "1"},
        then={"X-PyPI-Last-Serial": "2"},
        outcome="validated",
        sees={"X-PyPI-Last-Serial": "2"},
    ),
    "§3.2 a field that the 304 lacks stays": Case(
        says={"Cache-Control": "max-age=0", "X-PyPI-Last-Serial": "1"},
        then={"X-PyPI-Last-Serial": None},
        outcome="validated",
        sees={"X-PyPI-Last-Serial": "1"},
    ),
    "§4.2.3 Age and Date are the 304's": Case(
        says={"Cache-Control": "max-age=600", "Age": "900", "Date": LONG_AGO},
        then={"Age": "7", "Date": AHEAD},
        outcome="validated",
        sees={"Age": "7", "Date": AHEAD},
    ),
    "§4.2.3 a 304 without Age has none": Case(
        says={"Cache-Control": "max-age=600", "Age": "900"},
        then={"Age": None},
        outcome="validated",
        sees={"Age": "0"},
        third="hit",
    ),
    "§4.3.4 no-store by a 304": Case(
        says={"Cache-Control": "max-age=0"}, then={"Cache-Control": "no-store"}, outcome="validated", third="validated"
    ),
    "§4.1 Vary: * by a 304": Case(
        says={"Cache-Control": "max-age=0"},
        then={"Cache-Control": "max-age=600", "Vary": "*"},
        outcome="validated",
        third="validated",
    ),
    "§4.3.4 another tag: asked without validators": Case(
        says={"Cache-Control": "max-age=0"}, then={"ETag": '"other"'}, outcome="asked anew", statuses=(200, 304, 200)
    ),
    "§4.3.4 another tag, which says what is after": Case(
        says={"Cache-Control": "max-age=0", "ETag": '"abc--gzip"'},
        then={"ETag": '"abc"', "Cache-Control": "max-age=60"},
        status=304,
        times=1,
        outcome="asked anew",
        statuses=(200, 304, 200),
    ),
    "§4.3.4 another date, and no tag": Case(
        says={"Cache-Control": "max-age=0", "ETag": None},
        then={"Last-Modified": OLD},
        outcome="asked anew",
        statuses=(200, 304, 200),
    ),
    "§4.3.4 a tag made weak": Case(
        says={"Cache-Control": "max-age=0", "ETag": '"a"'}, then={"ETag": 'W/"a"'}, status=304, outcome="validated"
    ),
    "§4.3.4 no tag in the 304": Case(
        says={"Cache-Control": "max-age=0"}, then={"ETag": None, "Last-Modified": None}, outcome="validated"
    ),
    "§4.3.4 always another tag: twice and no more": Case(
        says={"Cache-Control": "max-age=0"},
        then={"ETag": '"other"'},
        status=304,
        outcome="stale if error",
        statuses=(200, 304, 304),
    ),
    # Vary
    "§4.1 Vary: *": Case(says={"Cache-Control": "max-age=600", "Vary": "*"}, outcome="asked anew"),
    "§4.1 a member *": Case(says={"Cache-Control": "max-age=600", "Vary": "Accept, *"}, outcome="asked anew"),
    "§4.1 other fields": Case(says={"Cache-Control": "max-age=600", "Vary": "Accept, User-Agent"}, outcome="hit"),
    "§4.1 the client's do not go upstream": Case(
        says={"Cache-Control": "max-age=600", "Vary": "Accept-Language"}, asks={"Accept-Language": "de"}, outcome="hit"
    ),
    "§4.1 none": Case(
        says={"Cache-Control": "max-age=600", "Vary": None}, outcome="hit", sees={"Vary": "Accept, Accept-Encoding"}
    ),
    # Request directives
    "§5.2.1.4 no-cache": Case(
        says={"Cache-Control": "max-age=3600"}, asks={"Cache-Control": "no-cache"}, outcome="validated"
    ),
    "§5.4 Pragma": Case(says={"Cache-Control": "max-age=3600"}, asks={"Pragma": "no-cache"}, outcome="validated"),
    "§5.2.1.1 max-age, by the age that the page came with": Case(
        says={"Cache-Control": "max-age=3600", "Age": "590"}, asks={"Cache-Control": "max-age=500"}, outcome="validated"
    ),
    "§5.2.1.1 max-age, young enough": Case(
        says={"Cache-Control": "max-age=3600", "Age": "590"}, asks={"Cache-Control": "max-age=1800"}, outcome="hit"
    ),
    "§5.2.1.3 min-fresh, by the same age": Case(
        says={"Cache-Control": "max-age=3600", "Age": "590"},
        asks={"Cache-Control": "min-fresh=3100"},
        outcome="validated",
    ),
    "§5.2.1.2 max-stale": Case(
        says={"Cache-Control": "max-age=600", "Age": "700"}, asks={"Cache-Control": "max-stale=3600"}, outcome="stale"
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_page_asked_for_twice(case: Case, request: pytest.FixtureRequest, house: House) -> None:
    name = f"page-{slug(request.node.callspec.id)}"  # test_files has cases of the same names, on the same proxy
    house.upstream.add(make_wheel(name))
    first, again = asked_twice(house, f"/simple/{name}/", lambda asks: house.page(name, **asks), case)
    assert (again.headers["Content-Type"], again.body) == (JSON_TYPE, first.body)
