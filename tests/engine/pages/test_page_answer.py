"""An answer that is given again later is, byte for byte, the one that would be made anew then."""

import dataclasses
from typing import Any, Final

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.pages.page_response import page_response
from pkgcache.engine.pages.page_variant import PageVariant
from pkgcache.engine.pages.stored_page import PageAnswer, StoredPage
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.notes import PageNotes
from pkgcache.proxy.exchange import Exchange, answer_to_known_head
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import Fresh, Policy, decide
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.representations import Representation

STORED: Final = 1_700_000_000.25
REQUEST: Final = Request(
    method="GET", url=parse_url("https://near.test/simple/six/"), headers=CIMultiDictProxy(CIMultiDict())
)
VARIANT: Final = PageVariant(
    source_digest="x", key=StoreKey("v"), kind="json", plain=b"{}", gzipped=b"zz", etag='"e"', edited=False
)
POLICY: Final = Policy(default_lifetime=600.0)


def page_of(**headers: str) -> StoredPage:
    notes = PageNotes(
        status=200,
        headers=CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}),
        request_time=STORED,
        response_time=STORED,
        upstream="mirror",
        url="https://mirror.test/simple/six/",
        source_digest="x",
        representation=Representation.JSON,
    )
    return StoredPage(key=StoreKey("p"), notes=notes)


def made(
    page: StoredPage, monkeypatch: pytest.MonkeyPatch, moment: float, *, gzip: bool, policy: Policy = POLICY
) -> tuple[Fresh, Response]:
    """The answer as it is made at a moment."""
    monkeypatch.setattr("time.time", lambda: moment)
    fresh = decide(page.stored, REQUEST.headers, policy, moment)
    assert isinstance(fresh, Fresh)
    cache = CacheStatus.of_hit(fresh.ttl)
    return fresh, page_response(REQUEST, Representation.JSON, page, cache, VARIANT, use_gzip=gzip)


def sent(response: Response) -> bytes:
    """What a client gets of it."""
    nobody: Any = None
    exchange = Exchange(
        request=REQUEST, route=None, source=None, client=nobody, finished=lambda _: None, response=response
    )
    return answer_to_known_head(exchange, "1.1 here")[0]


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("is_sent", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Age": "17", "Cache_Control": "max-age=600"}, id="an age of its own"),
        pytest.param({"Date": "Tue, 14 Nov 2023 22:13:00 GMT", "ETag": '"tag"'}, id="an earlier date"),
        pytest.param(
            {"Date": "Tue, 14 Nov 2023 22:13:19 GMT", "Expires": "Tue, 14 Nov 2023 22:23:20 GMT"}, id="expires"
        ),
        pytest.param({"Date": "Tue, 14 Nov 2023 22:14:00 GMT"}, id="a later date"),
        pytest.param({"X_PyPI_Last_Serial": "600", "Age": "1"}, id="a serial that looks like an age"),
        pytest.param({"Link": "<x>; age=1", "Cache_Control": "max-age=99999999999"}, id="the largest ttl"),
    ],
)
@pytest.mark.parametrize(
    "steps",
    [
        (1.0,),
        (0.9, 0.9, 0.9),
        (3.5, 200.0),
        (60.0,) * 9,
        (-0.0, 1.0),
        (0.1,) * 25,
        (0.7, 0.04, 0.02, 0.3),
        (0.99, 0.02),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(POLICY, id="the upstream's lifetime"),
        pytest.param(Policy(override=700.4), id="the operator's, which ends within a second"),
    ],
)
def test_the_same_as_one_made_anew(
    headers: dict[str, str],
    steps: tuple[float, ...],
    policy: Policy,
    is_sent: bool,
    gzip: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the moment: an answer made anew within the same second showed an age of 8, and the next one again that of 7."""
    page, moment = page_of(**headers), STORED + 2
    answer: PageAnswer | None = PageAnswer(page, moment, *made(page, monkeypatch, moment, gzip=gzip, policy=policy))
    for step in steps:
        assert answer is not None
        if is_sent:
            sent(answer.response)
        moment += step
        before, answer = answer, answer.at(moment)
        assert answer is not None
        _, anew = made(page, monkeypatch, moment, gzip=gzip, policy=policy)
        assert sent(answer.response) == sent(dataclasses.replace(anew))
        assert (answer is before) == (sent(before.response) == sent(anew)), "a new one is made where it differs"
        assert answer.response.cache == anew.cache


@pytest.mark.parametrize(
    ("moment", "given"),
    [
        pytest.param(0.0, True, id="at once"),
        pytest.param(0.4, True, id="within the second"),
        pytest.param(597.9, True, id="at the end of its freshness"),
        pytest.param(598.0, False, id="stale"),
        pytest.param(598.1, False, id="stale within the second"),
        pytest.param(9e9, False, id="long after"),
        pytest.param(-0.1, False, id="before: the clock was set back, within the second"),
        pytest.param(-3600.0, False, id="by an hour"),
    ],
)
def test_as_long_as_it_is_fresh(moment: float, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of()
    answer = PageAnswer(page, STORED + 2, *made(page, monkeypatch, STORED + 2, gzip=False))
    assert (answer.at(STORED + 2 + moment) is not None) == given
