"""RFC 9111 as a client sees it: each row is a project page of its own, asked for twice; one clause, one row.

What the rules alone decide is tabled in test_rules.py beside this. No row waits: a page's age is what its `Age` and `Date` say.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from pkgcache.rules.http.dates import format_http_date, parse_http_date
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, cache_status_of, open_house, slug, tidied
from tests.support.index import JSON_TYPE
from tests.support.wheels import make_wheel

HOUR = 3600
OLD, AHEAD = format_http_date(time.time() - HOUR), format_http_date(time.time() + HOUR)
SOON = format_http_date(time.time() + 2 * HOUR)
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"

type Outcome = Literal["hit", "validated", "changed", "asked anew", "stale"]
"""Of the second request: not forwarded; forwarded with validators and 304; with validators and 200; without any; stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A page's headers, those of the second answer if it is another one, and the second request's."""

    says: Mapping[str, str | None]
    then: Mapping[str, str | None] = field(default_factory=dict)
    status: int | None = None
    asks: Mapping[str, str] = field(default_factory=dict)
    outcome: Outcome
    sees: Mapping[str, str | None] = field(default_factory=dict)
    """Fields of the second answer; a number may be greater by the seconds that the test takes."""


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


def outcome_of(house: House, name: str, detail: str) -> Outcome:
    """What became of the second request, by what the upstream saw of it."""
    asked = house.upstream.seen(path_contains=f"/simple/{name}/")
    if len(asked) == 1:
        return "stale" if re.search("ttl=-", detail) else "hit"
    conditional = {"if-none-match", "if-modified-since"} & set(asked[1].headers)
    if not conditional or len(asked) > 2:
        return "asked anew"
    return "validated" if asked[1].status == 304 else "changed"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_page_asked_for_twice(case: Case, request: pytest.FixtureRequest, house: House) -> None:
    name = slug(request.node.callspec.id)
    house.upstream.add(make_wheel(name))
    house.upstream.script(Behaviour(f"/{name}/", headers=case.says, times=1))
    house.upstream.script(Behaviour(f"/{name}/", headers={**case.says, **case.then}, status=case.status, skip=1))
    first = house.page(name)
    again = house.page(name, **{each.replace("-", "_"): text for each, text in case.asks.items()})
    assert (first.status, again.status) == (200, 200)
    assert (again.headers["Content-Type"], again.body) == (JSON_TYPE, first.body)
    assert outcome_of(house, name, cache_status_of(again)) == case.outcome
    for field_name, text in case.sees.items():
        seen = again.headers[field_name]
        if field_name == "Age":
            assert int(text or 0) <= int(seen or -1) <= min(int(text or 0) + 300, 2**31)
        else:
            assert seen == text, field_name
    assert parse_http_date(again.headers["Date"] or "") is not None
