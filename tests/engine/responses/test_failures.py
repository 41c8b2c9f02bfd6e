"""The answer where no upstream gave what was asked for: its status, by what each of them said and which origin the client named."""

from typing import Final

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses import failures
from pkgcache.engine.responses.messages import Request
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError, refused
from pkgcache.rules.routing.urls import parse_url

INDEX, FILES = "https://index.example", "https://files.example"
MIRROR, OTHER = "https://mirror.test:8443", "https://other.test"
CHALLENGE: Final = 'Basic realm="x"'


def said(status: int, origin: str) -> UpstreamError:
    return refused(parse_url(f"{origin}/x"), status, CIMultiDict({"WWW-Authenticate": CHALLENGE}), origin)


def without_answer(failure: Failure, origin: str = MIRROR, *, dead: bool = False) -> UpstreamError:
    return UpstreamError(failure, f"{origin}/x", "scripted", origin=origin, dead=dead)


def dead(failure: Failure = Failure.UNREACHABLE, origin: str = MIRROR) -> UpstreamError:
    return without_answer(failure, origin, dead=True)


def request(url: str, *, at_proxy_address: bool = False) -> Request:
    headers = CIMultiDictProxy(CIMultiDict[str]())
    return Request(method="GET", url=parse_url(url), headers=headers, at_proxy_address=at_proxy_address)


# What is asked for: a page and a file; both by the same rule.
NAMED = {"page": f"{INDEX}/simple/six/", "file": f"{FILES}/packages/six.whl"}


@pytest.mark.parametrize("what", NAMED)
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("origins", "at_proxy_address", "passes"),
    [
        pytest.param(["named"], False, True, id="the origin that the client named"),
        pytest.param(["named", "named"], False, True, id="the same, asked twice"),
        pytest.param(["named"], True, False, id="at the proxy's own address the client names none"),
        pytest.param([MIRROR], False, False, id="a mirror: a password for another host would be asked for"),
        pytest.param([MIRROR, OTHER], False, False, id="two mirrors"),
        pytest.param([MIRROR, "named"], False, True, id="a mirror, and the origin that the client named"),
    ],
)
def test_who_may_refuse_a_client(
    origins: list[str], at_proxy_address: bool, passes: bool, status: int, what: str
) -> None:
    asked = request(NAMED[what], at_proxy_address=at_proxy_address)
    errors = [said(status, asked.url.origin if each == "named" else each) for each in origins]
    answer = failures.failed("six", AllFailedError(errors), asked)
    assert answer.status == (status if passes else 502)
    assert answer.headers.get("WWW-Authenticate") == (CHALLENGE if passes else None)
    assert isinstance(answer.body, bytes)
    for each in errors:
        assert each.url in answer.body.decode(), "each upstream is named"


@pytest.mark.parametrize("what", NAMED)
@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([said(404, MIRROR)], 404),
        ([said(404, MIRROR), said(410, OTHER)], 404),
        ([said(451, MIRROR)], 451),
        ([said(451, MIRROR), said(451, OTHER)], 451),
        ([said(451, MIRROR), said(404, OTHER)], 502),
        ([said(401, MIRROR), said(403, OTHER)], 502),
        ([said(404, MIRROR), said(401, OTHER)], 502),
        ([said(429, MIRROR)], 429),
        ([said(429, MIRROR), said(404, OTHER)], 429),
        ([said(404, MIRROR), said(429, OTHER)], 429),
        ([said(500, MIRROR), said(429, OTHER)], 429),
        ([without_answer(Failure.TIMEOUT), said(429, OTHER)], 429),
        ([said(503, MIRROR)], 502),
        ([said(500, MIRROR)], 502),
        ([said(404, MIRROR), said(500, OTHER)], 502),
        # It may be back in a moment: pip and uv come again, as they would not after a 504.
        ([without_answer(Failure.TIMEOUT)], 503),
        ([without_answer(Failure.TIMEOUT), said(404, OTHER)], 503),
        ([without_answer(Failure.TIMEOUT), without_answer(Failure.UNREACHABLE)], 503),
        ([without_answer(Failure.UNREACHABLE)], 503),
        ([without_answer(Failure.UNREACHABLE), said(500, OTHER)], 503),
        ([without_answer(Failure.UNREACHABLE), said(401, OTHER)], 503),
        ([without_answer(Failure.UNREACHABLE), without_answer(Failure.TLS, OTHER)], 503),
        ([without_answer(Failure.UNREACHABLE), dead(origin=OTHER)], 503),
        # Dead: a probe has had no answer either.
        ([dead()], 504),
        ([dead(Failure.TIMEOUT)], 504),
        ([dead(), dead(Failure.TIMEOUT, OTHER)], 504),
        ([dead(), said(404, OTHER)], 504),
        ([dead(), said(500, OTHER)], 502),
        ([dead(), said(401, OTHER)], 502),
        ([dead(), without_answer(Failure.BUSY, OTHER)], 503),
        ([without_answer(Failure.TLS)], 502),
        ([without_answer(Failure.BROKEN)], 502),
        ([without_answer(Failure.WRONG_DIGEST)], 502),
        ([without_answer(Failure.OFFLINE)], 504),
        ([without_answer(Failure.BUSY)], 503),
        ([without_answer(Failure.BUSY), said(404, OTHER)], 503),
        ([said(401, MIRROR), without_answer(Failure.BUSY, OTHER)], 503),
        ([without_answer(Failure.BUSY), without_answer(Failure.TIMEOUT)], 503),
        ([], 502),
    ],
)
def test_what_they_say(errors: list[UpstreamError], status: int, what: str) -> None:
    answer = failures.failed("six", AllFailedError(errors), request(NAMED[what]))
    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("answer", "status", "detail", "words"),
    [
        (failures.still_fetching("six.whl"), 503, "slow-upstream", "retry"),
        (failures.offline("six.whl"), 504, "offline", "pypi_cache_offline"),
        (failures.only_stored("six.whl"), 504, "only-if-cached", "not in the store"),
        (failures.only_stored("six.whl", stale=True), 504, "only-if-cached", "must be revalidated"),
    ],
)
def test_nobody_was_asked(answer: failures.Response, status: int, detail: str, words: str) -> None:
    """RFC 9211 §2.2: without a request to an upstream there is no `fwd`."""
    assert (answer.status, answer.cache.detail, answer.cache.fwd) == (status, detail, "")
    assert isinstance(answer.body, bytes)
    assert words in answer.body.decode()
    assert "six.whl" in answer.body.decode()


def test_a_client_that_retries_is_told_when() -> None:
    assert failures.still_fetching("six.whl").headers["Retry-After"] == "1"
    busy = failures.failed("six", AllFailedError([without_answer(Failure.BUSY)]), request(NAMED["file"]))
    assert busy.headers["Retry-After"] == "2"
    assert (busy.cache.detail, busy.cache.fwd) == ("busy", "")
    for errors, seconds in (
        ([without_answer(Failure.UNREACHABLE)], str(failures.UNREACHABLE_SECONDS)),
        ([dead()], None),
        ([said(500, MIRROR)], None),
    ):
        assert (
            failures.failed("six", AllFailedError(errors), request(NAMED["file"])).headers.get("Retry-After") == seconds
        )


@pytest.mark.parametrize(
    ("answers", "status", "seconds"),
    [
        ([(503, "7")], 503, "7"),
        ([(429, "7")], 429, "7"),
        ([(429, "")], 429, None),
        ([(503, "7"), (404, "")], 503, "7"),
        ([(502, ""), (503, "7")], 503, "7"),
        ([(429, "30"), (503, "7")], 429, "7"),  # the sooner of the two may have it
        ([(503, "7"), (429, "")], 503, "7"),
        ([(503, "soon")], 502, None),
        ([(500, "7")], 502, None),
        ([(404, "7")], 404, None),
    ],
)
def test_an_upstream_that_is_asked_too_much(answers: list[tuple[int, str]], status: int, seconds: str | None) -> None:
    """pip and uv wait for as long as Retry-After says, and ask again; a bare 502 they give up after a few seconds."""
    url = parse_url(f"{MIRROR}/x")
    errors = [refused(url, said_status, CIMultiDict({"Retry-After": after}), MIRROR) for said_status, after in answers]
    answer = failures.failed("six", AllFailedError(errors), request(NAMED["page"]))
    assert (answer.status, answer.headers.get("Retry-After")) == (status, seconds)
