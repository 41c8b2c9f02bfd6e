"""What an upstream's refusal says beside its status: when to come again, how to be let in, and whether a GET may do better."""

import pytest
from multidict import CIMultiDict

from pkgcache.rules.http.refusals import (
    MOST_RETRY_SECONDS,
    is_of_head_alone,
    is_overloaded,
    passed_headers,
    retry_after,
)

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        # RFC 9110 §10.2.3: "Retry-After = HTTP-date / delay-seconds"
        ("120", 120),
        ("0", 0),
        (" 7 ", 7),
        ("007", 7),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
        ("Sun Nov  6 08:49:47 1994", 10),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),  # over
        ("9" * 400, MOST_RETRY_SECONDS),
        ("Sun, 06 Nov 2094 08:49:37 GMT", MOST_RETRY_SECONDS),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("+5", None),
        ("5s", None),
        ("\u0665", None),  # a digit that is not ASCII
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert retry_after(CIMultiDict({"Retry-After": value}), NOW) == seconds


def test_a_date_counts_from_the_upstreams_own() -> None:
    """Its clock is an hour behind."""
    headers = CIMultiDict({"retry-after": "Sun, 06 Nov 1994 07:50:00 GMT", "date": "Sun, 06 Nov 1994 07:49:37 GMT"})
    assert retry_after(headers, NOW) == 23


@pytest.mark.parametrize(
    ("status", "seconds", "overloaded"),
    [
        (429, None, True),  # RFC 6585 §4: it "MAY include a Retry-After header"
        (429, 5, True),
        (503, 0, True),
        (503, 5, True),
        (503, None, False),
        (502, 5, False),
        (500, 5, False),
        (404, 5, False),
        (301, 5, False),
        (0, None, False),
    ],
)
def test_overloaded(status: int, seconds: int | None, overloaded: bool) -> None:
    assert is_overloaded(status, seconds) is overloaded


@pytest.mark.parametrize("status", [400, 403, 405, 406, 500, 501])
def test_a_get_may_do_better(status: int) -> None:
    assert is_of_head_alone(status)


@pytest.mark.parametrize("status", [0, 200, 206, 301, 401, 404, 407, 410, 416, 429, 451, 502, 503, 504])
def test_a_get_would_do_no_better(status: int) -> None:
    assert not is_of_head_alone(status)


def test_what_a_client_needs_to_be_let_in() -> None:
    """All challenges in their order, and what keyrings look at; not what is about the text that the client never sees."""
    needed = [
        ("WWW-Authenticate", "Bearer authorization_uri=https://login.test/x"),
        ("WWW-Authenticate", 'Basic realm="x"'),
        ("WWW-Authenticate", "Negotiate"),
        ("X-VSS-AuthorizationEndpoint", "https://login.test/"),
        ("X-Request-Id", "17"),
    ]
    other = [
        ("Content-Type", "application/json"),
        ("Content-Length", "12"),
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("ETag", '"x"'),
        ("Cache-Control", "public, max-age=600"),
        ("Set-Cookie", "session=1"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("X-Split", "a\r\nb"),
    ]
    found = passed_headers(401, CIMultiDict([*other, *needed]))
    assert list(found.items()) == needed
    assert list(passed_headers(403, CIMultiDict([*other, *needed])).items()) == needed


@pytest.mark.parametrize("status", [200, 404, 407, 429, 500, 503])
def test_no_other_refusal_passes_headers(status: int) -> None:
    assert not passed_headers(status, CIMultiDict({"WWW-Authenticate": "Basic"}))
