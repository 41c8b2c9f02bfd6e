"""Validation (RFC 9111 §4.3) and conditional requests (RFC 9110 §13): one clause, one row."""

from collections.abc import Mapping

import pytest

from pkgcache.rules.http.dates import format_http_date
from pkgcache.rules.http.freshness import Fresh, Policy, decide
from pkgcache.rules.http.validation import freshened, not_modified, updates, validators
from tests.support.stored import DATE, NOW, h, stored


@pytest.mark.parametrize(
    ("lines", "conditions"),
    [
        pytest.param(('ETag: W/"a"',), {"If-None-Match": 'W/"a"'}, id="§4.3.1 entity tag"),
        pytest.param((f"Last-Modified: {DATE}",), {"If-Modified-Since": DATE}, id="§4.3.1 timestamp"),
        pytest.param(
            ('ETag: "a"', f"Last-Modified: {DATE}"),
            {"If-None-Match": '"a"', "If-Modified-Since": DATE},
            id="§4.3.1 both",
        ),
        pytest.param(("ETag:",), {}, id="§4.3.1 an empty one is none"),
        pytest.param((), {}, id="§4.3.1 none"),
    ],
)
def test_validators(lines: tuple[str, ...], conditions: Mapping[str, str]) -> None:
    assert validators(h(*lines)) == conditions


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        pytest.param('ETag: "a"', 'ETag: "a"', True, id="§4.3.4 the same strong validator"),
        pytest.param('ETag: "a"', 'ETag: "b"', False, id="§4.3.4 another strong validator"),
        pytest.param('ETag: "a"', 'ETag: W/"a"', True, id="§4.3.4 made weak on the way"),
        pytest.param('ETag: "a"', "X: y", True, id="§4.3.4 no validator in the 304"),
        pytest.param("X: y", 'ETag: "a"', True, id="§4.3.4 none stored"),
    ],
)
def test_updates(ours: str, theirs: str, *, same: bool) -> None:
    assert updates(h(ours), h(theirs)) is same


@pytest.mark.parametrize(
    ("new", "name", "values"),
    [
        pytest.param("Cache-Control: max-age=9", "Cache-Control", ["max-age=9"], id="§3.2 replaced"),
        pytest.param("X-New: 1", "X-New", ["1"], id="§3.2 added"),
        pytest.param("X-New: 1", "X-Old", ["1", "2"], id="§3.2 kept"),
        pytest.param("X-Old: 3", "X-Old", ["3"], id="§3.2 every value replaced"),
        pytest.param("Content-Length: 0", "Content-Length", ["5"], id="§3.2 but Content-Length"),
        pytest.param("Content-Encoding: br", "Content-Encoding", [], id="§3.2 but Content-Encoding"),
        pytest.param("Content-Type: text/plain", "Content-Type", ["text/html"], id="§3.2 but Content-Type (pip#5345)"),
        pytest.param("Set-Cookie: a=b", "Set-Cookie", [], id="§3.2 but what is not stored"),
        pytest.param("Connection: x-hop", "Connection", [], id="§3.1 but Connection"),
        pytest.param('ETag: W/"a"', "ETag", ['"a"'], id="§4.3.4 the tag is the stored body's"),
        pytest.param("X-New: 1", "Age", [], id="§4.2.3 the old Age is not the 304's"),
        pytest.param("X-New: 1", "Date", [], id="§4.2.3 nor is the old Date"),
        pytest.param("Age: 3", "Age", ["3"], id="§4.2.3 its own Age"),
    ],
)
def test_freshened(new: str, name: str, values: list[str]) -> None:
    before = stored(
        *("Cache-Control: max-age=1", "X-Old: 1", "X-Old: 2", "Content-Length: 5", "Content-Type: text/html"),
        *('ETag: "a"', "Age: 99"),
    )
    after = freshened(before, h(new), NOW - 1, NOW)
    assert after.headers.getall(name, []) == values
    assert (after.status, after.request_time, after.response_time) == (200, NOW - 1, NOW)


def test_a_304_makes_a_stale_page_fresh() -> None:
    """§4.3.4; with the old Date and Age kept, the page would be stale again at once."""
    stale = stored("Cache-Control: max-age=100", "Age: 90")
    after = freshened(stale, h(), NOW, NOW)
    assert decide(after, h(), Policy(), NOW) == Fresh(ttl=100, age=0)


@pytest.mark.parametrize(
    ("lines", "etag", "last_modified", "answer"),
    [
        pytest.param(('If-None-Match: "a"',), '"a"', None, True, id="RFC 9110 §13.1.2 the same"),
        pytest.param(('If-None-Match: "b"',), '"a"', None, False, id="RFC 9110 §13.1.2 another"),
        pytest.param(('If-None-Match: W/"a"',), '"a"', None, True, id="RFC 9110 §8.8.3.2 weak comparison: theirs"),
        pytest.param(('If-None-Match: "a"',), 'W/"a"', None, True, id="RFC 9110 §8.8.3.2 weak comparison: ours"),
        pytest.param(('If-None-Match: "b", W/"a"',), '"a"', None, True, id="RFC 9110 §13.1.2 a list"),
        pytest.param(('If-None-Match: "b"', 'If-None-Match: "a"'), '"a"', None, True, id="RFC 9110 §5.3 two lines"),
        pytest.param(('If-None-Match: "x,y"',), '"x,y"', None, True, id="RFC 9110 §8.8.3 a comma in a tag"),
        pytest.param(("If-None-Match: *",), '"a"', None, True, id="RFC 9110 §13.1.2 asterisk"),
        pytest.param(("If-None-Match: a",), '"a"', None, False, id="RFC 9110 §8.8.3 unquoted"),
        pytest.param(('If-None-Match: "a"',), "", None, False, id="RFC 9110 §13.1.2 we have no tag"),
        pytest.param((f"If-Modified-Since: {DATE}",), "", DATE, True, id="RFC 9110 §13.1.3 the same date"),
        pytest.param(
            (f"If-Modified-Since: {format_http_date(NOW)}",), "", DATE, True, id="RFC 9110 §13.1.3 modified before"
        ),
        pytest.param(
            (f"If-Modified-Since: {DATE}",), "", format_http_date(NOW), False, id="RFC 9110 §13.1.3 modified since"
        ),
        pytest.param(("If-Modified-Since: 0",), "", DATE, False, id="RFC 9110 §13.1.3 no valid date"),
        pytest.param((f"If-Modified-Since: {DATE}",) * 2, "", DATE, False, id="RFC 9110 §13.1.3 more than one"),
        pytest.param((f"If-Modified-Since: {DATE}",), '"a"', None, False, id="RFC 9110 §13.1.3 we have no date"),
        pytest.param(
            ('If-None-Match: "b"', f"If-Modified-Since: {DATE}"),
            '"a"',
            DATE,
            False,
            id="RFC 9110 §13.2.2 the tag first",
        ),
        pytest.param((), '"a"', DATE, False, id="RFC 9110 §13.2.2 no condition"),
    ],
)
def test_not_modified(lines: tuple[str, ...], etag: str, last_modified: str | None, *, answer: bool) -> None:
    assert not_modified(h(*lines), (etag,) if etag else (), last_modified) is answer
    assert not_modified(h(*lines), ('"another"', etag), last_modified) is answer
