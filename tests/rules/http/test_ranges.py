"""Range requests: each answer is the one that nginx gave (RFC 9110 §14, §13.1.5, §15.5.17)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.http.ranges import (
    MAX_RANGES,
    Bounded,
    ContentRange,
    Multi,
    Partial,
    RangeAnswer,
    RangeRequest,
    Span,
    Suffix,
    Unsatisfiable,
    Whole,
    goes_on,
    if_range_holds,
    multipart_parts,
    parse_content_range,
    parse_range,
    rest_of,
    satisfies,
    satisfy,
    unsatisfied,
)

# Recorded from nginx 1.22.1 (`max_ranges 64`), files of 100, 0 and 1 bytes, Content-Type application/octet-stream:
# the Range header, the file's size, the status, the Content-Range of the answer or of its parts, and the answer's
# Content-Length (0 for a 416, whose page is nginx's own).
NGINX: tuple[tuple[str | None, int, int, tuple[str, ...], int], ...] = (
    (None, 100, 200, (), 100),
    ("", 100, 200, (), 100),
    ("bytes=", 100, 200, (), 100),
    ("bytes=0-0", 100, 206, ("bytes 0-0/100",), 1),
    ("bytes=0-", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=0-99", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=0-100", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=0-9999", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=99-", 100, 206, ("bytes 99-99/100",), 1),
    ("bytes=99-99", 100, 206, ("bytes 99-99/100",), 1),
    ("bytes=100-", 100, 416, ("bytes */100",), 0),
    ("bytes=100-200", 100, 416, ("bytes */100",), 0),
    ("bytes=-1", 100, 206, ("bytes 99-99/100",), 1),
    ("bytes=-100", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=-101", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=-0", 100, 416, ("bytes */100",), 0),
    ("bytes=-", 100, 416, ("bytes */100",), 0),
    ("bytes=abc", 100, 416, ("bytes */100",), 0),
    ("bytes=5-2", 100, 416, ("bytes */100",), 0),
    ("bytes=5-abc", 100, 416, ("bytes */100",), 0),
    ("bytes=a-5", 100, 416, ("bytes */100",), 0),
    ("bytes 0-1", 100, 200, (), 100),
    ("items=0-1", 100, 200, (), 100),
    ("Bytes=0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("BYTES=0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes =0-1", 100, 200, (), 100),
    ("bytes= 0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0 - 1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0- 1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0-1 ", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0-1 , 4-5", 100, 206, ("bytes 0-1/100", "bytes 4-5/100"), 228),
    ("bytes=\t0-1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,\t4-5", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,", 100, 416, ("bytes */100",), 0),
    ("bytes=,0-1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,,4-5", 100, 416, ("bytes */100",), 0),
    ("bytes=0-0,2-3", 100, 206, ("bytes 0-0/100", "bytes 2-3/100"), 227),
    ("bytes=0-0,-1", 100, 206, ("bytes 0-0/100", "bytes 99-99/100"), 228),
    ("bytes=0-1,1-2", 100, 206, ("bytes 0-1/100", "bytes 1-2/100"), 228),
    ("bytes=0-1,2-3", 100, 206, ("bytes 0-1/100", "bytes 2-3/100"), 228),
    ("bytes=0-50,40-99", 100, 200, (), 100),
    ("bytes=0-49,50-99", 100, 206, ("bytes 0-49/100", "bytes 50-99/100"), 327),
    ("bytes=0-99,0-0", 100, 200, (), 100),
    ("bytes=0-60,0-60", 100, 200, (), 100),
    ("bytes=10-19,0-9", 100, 206, ("bytes 10-19/100", "bytes 0-9/100"), 246),
    ("bytes=50-59,0-1", 100, 206, ("bytes 50-59/100", "bytes 0-1/100"), 238),
    ("bytes=200-300,0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=200-,300-", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,5-2", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0-1,abc", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,200-300", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=-0,0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=0-1,-0", 100, 206, ("bytes 0-1/100",), 2),
    (
        "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14",
        100,
        206,
        (
            "bytes 0-0/100",
            "bytes 2-2/100",
            "bytes 4-4/100",
            "bytes 6-6/100",
            "bytes 8-8/100",
            "bytes 10-10/100",
            "bytes 12-12/100",
            "bytes 14-14/100",
        ),
        826,
    ),
    (
        "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16",
        100,
        206,
        (
            "bytes 0-0/100",
            "bytes 2-2/100",
            "bytes 4-4/100",
            "bytes 6-6/100",
            "bytes 8-8/100",
            "bytes 10-10/100",
            "bytes 12-12/100",
            "bytes 14-14/100",
            "bytes 16-16/100",
        ),
        927,
    ),
    ("bytes=0-18446744073709551616", 100, 416, ("bytes */100",), 0),
    ("bytes=18446744073709551616-", 100, 416, ("bytes */100",), 0),
    ("bytes=-18446744073709551616", 100, 416, ("bytes */100",), 0),
    ("bytes=0-9223372036854775807", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=0-9223372036854775808", 100, 416, ("bytes */100",), 0),
    ("bytes=9223372036854775807-", 100, 416, ("bytes */100",), 0),
    ("bytes=-9223372036854775807", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=-9223372036854775808", 100, 416, ("bytes */100",), 0),
    ("bytes=00000-00001", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=+0-1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-+1", 100, 416, ("bytes */100",), 0),
    ("bytes=0--1", 100, 416, ("bytes */100",), 0),
    ("bytes=--1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1;2", 100, 416, ("bytes */100",), 0),
    ("bytes=1", 100, 416, ("bytes */100",), 0),
    ("bytes", 100, 200, (), 100),
    ("bytes=0x0-1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1-2", 100, 416, ("bytes */100",), 0),
    ("bytes=99-0", 100, 416, ("bytes */100",), 0),
    ("bytes=5-4", 100, 416, ("bytes */100",), 0),
    ("bytes=5-5", 100, 206, ("bytes 5-5/100",), 1),
    ("bytes=-50,-50", 100, 206, ("bytes 50-99/100", "bytes 50-99/100"), 328),
    ("bytes=-60,-60", 100, 200, (), 100),
    ("bytes=0-,0-", 100, 200, (), 100),
    ("bytes=0-0,0-", 100, 200, (), 100),
    ("bytes=- 5", 100, 416, ("bytes */100",), 0),
    ("bytes= -5", 100, 206, ("bytes 95-99/100",), 5),
    ("bytes=-5 ", 100, 206, ("bytes 95-99/100",), 5),
    ("bytes=5 -", 100, 206, ("bytes 5-99/100",), 95),
    ("bytes=5- ", 100, 206, ("bytes 5-99/100",), 95),
    ("bytes=0-1,4-", 100, 206, ("bytes 0-1/100", "bytes 4-99/100"), 323),
    ("bytes=300-200", 100, 416, ("bytes */100",), 0),
    ("bytes=300-200,0-1", 100, 206, ("bytes 0-1/100",), 2),
    ("bytes=-5,-10", 100, 206, ("bytes 95-99/100", "bytes 90-99/100"), 243),
    ("bytes=99-,0-0,50-51", 100, 206, ("bytes 99-99/100", "bytes 0-0/100", "bytes 50-51/100"), 330),
    ("bytes=0-9223372036854775806", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=9223372036854775799-", 100, 416, ("bytes */100",), 0),
    ("bytes=0-9223372036854775800", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=0-9223372036854775799", 100, 206, ("bytes 0-99/100",), 100),
    ("bytes=9223372036854775808-", 100, 416, ("bytes */100",), 0),
    ("bytes=0-9,200-", 100, 206, ("bytes 0-9/100",), 10),
    ("bytes=5-x,0-1", 100, 416, ("bytes */100",), 0),
    ("bytes=0-1,x-", 100, 416, ("bytes */100",), 0),
    ("bytes=0-0, -1", 100, 206, ("bytes 0-0/100", "bytes 99-99/100"), 228),
    ("bytes=9-3,-1", 100, 206, ("bytes 99-99/100",), 1),
    ("bytes=0-0", 0, 200, (), 0),
    ("bytes=0-", 0, 200, (), 0),
    ("bytes=-1", 0, 200, (), 0),
    ("bytes=-0", 0, 200, (), 0),
    ("bytes=1-", 0, 416, ("bytes */0",), 0),
    ("bytes=-5", 0, 200, (), 0),
    ("bytes=x-", 0, 416, ("bytes */0",), 0),
    ("bytes=0-,x-", 0, 200, (), 0),
    ("bytes=0-0,0-0", 0, 200, (), 0),
    ("bytes=0-0,-1", 0, 200, (), 0),
    ("bytes=0-0", 1, 206, ("bytes 0-0/1",), 1),
    ("bytes=0-", 1, 206, ("bytes 0-0/1",), 1),
    ("bytes=-1", 1, 206, ("bytes 0-0/1",), 1),
    ("bytes=-0", 1, 416, ("bytes */1",), 0),
    ("bytes=1-", 1, 416, ("bytes */1",), 0),
    ("bytes=-5", 1, 206, ("bytes 0-0/1",), 1),
    ("bytes=x-", 1, 416, ("bytes */1",), 0),
    ("bytes=0-,x-", 1, 416, ("bytes */1",), 0),
    ("bytes=0-0,0-0", 1, 200, (), 1),
    ("bytes=0-0,-1", 1, 200, (), 1),
)


def _as_nginx_reports(answer: RangeAnswer, total: int) -> tuple[int, tuple[str, ...], int]:
    match answer:
        case Whole():
            return 200, (), total
        case Partial(span):
            return 206, (span.content_range(total),), span.length
        case Multi(spans):
            framed = multipart_parts(spans, total, "application/octet-stream", "0" * 20)
            return 206, tuple(span.content_range(total) for span in spans), framed.content_length
        case Unsatisfiable():
            return 416, (unsatisfied(total),), 0


@pytest.mark.parametrize(
    ("header", "total", "status", "content_ranges", "length"), NGINX, ids=[f"{row[1]}: {row[0]!r}" for row in NGINX]
)
def test_answers_as_nginx_does(
    header: str | None, total: int, status: int, content_ranges: tuple[str, ...], length: int
) -> None:
    assert _as_nginx_reports(satisfy(parse_range(header), total), total) == (status, content_ranges, length)


@pytest.mark.parametrize(
    ("count", "answer"), [(MAX_RANGES, Multi), (MAX_RANGES + 1, Whole)], ids=["§17.15 at the limit", "§17.15 beyond it"]
)
def test_many_ranges(count: int, answer: type[RangeAnswer]) -> None:
    """As nginx with `max_ranges 64`: what exceeds it is answered with the file."""
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(count))
    assert isinstance(satisfy(parse_range(header), 100), answer)
    # nginx counts before it looks further, so what is malformed behind the last one does not matter.
    assert isinstance(satisfy(parse_range(header + ",x"), 100), Whole if answer is Whole else Unsatisfiable)


@pytest.mark.parametrize(
    ("header", "requested"),
    [
        pytest.param("bytes=0-9", RangeRequest((Bounded(0, 9),)), id="§14.1.2 first-last"),
        pytest.param("bytes=5-", RangeRequest((Bounded(5),)), id="§14.1.2 open"),
        pytest.param("bytes=-5", RangeRequest((Suffix(5),)), id="§14.1.2 suffix"),
        pytest.param(" bytes=0-0 ", RangeRequest((Bounded(0, 0),)), id="§5.5 blanks around a field value"),
        pytest.param("bytes=0-1,x", RangeRequest((Bounded(0, 1),), malformed=True), id="§14.1.1 invalid specifier"),
        pytest.param("bytes=" + "9" * 5000 + "-", RangeRequest((), malformed=True), id="a number int() would refuse"),
        pytest.param("bytes=" + "0" * 5000 + "7-", RangeRequest((Bounded(7),)), id="leading zeros"),
        pytest.param("bytes=\u0661-\u0662", RangeRequest((), malformed=True), id="digits, but not ASCII"),
        pytest.param("seconds=0-1", None, id="§14.2 another unit"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_parse_range(header: str | None, requested: RangeRequest | None) -> None:
    assert parse_range(header) == requested


MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "etag", "last_modified", "holds"),
    [
        pytest.param(None, '"a"', MODIFIED, True, id="§13.1.5 absent"),
        pytest.param('"a"', '"a"', MODIFIED, True, id="§13.1.5 the same tag"),
        pytest.param(' "a" ', '"a"', MODIFIED, True, id="§5.5 blanks around it"),
        pytest.param('"b"', '"a"', MODIFIED, False, id="§13.1.5 another tag"),
        pytest.param('W/"a"', '"a"', MODIFIED, False, id="§8.8.3.2 theirs is weak"),
        pytest.param('W/"a"', 'W/"a"', MODIFIED, False, id="§8.8.3.2 both weak (nginx would match)"),
        pytest.param('"a"', 'W/"a"', MODIFIED, False, id="§8.8.3.2 ours is weak"),
        pytest.param('"a", "b"', '"a"', MODIFIED, False, id="§13.1.5 no lists"),
        pytest.param("*", '"a"', MODIFIED, False, id="§13.1.5 no asterisk"),
        pytest.param("a", '"a"', MODIFIED, False, id="unquoted"),
        pytest.param('"', '"', MODIFIED, False, id="half a tag"),
        pytest.param("", "", None, False, id="empty"),
        pytest.param(MODIFIED, '"a"', MODIFIED, True, id="§13.1.5 the same date"),
        pytest.param("Thursday, 01-Jan-26 00:00:00 GMT", '"a"', MODIFIED, True, id="§5.6.7 the same second, as nginx"),
        pytest.param("Wed, 31 Dec 2025 00:00:00 GMT", '"a"', MODIFIED, False, id="§13.1.5 an older date"),
        pytest.param("Fri, 02 Jan 2026 00:00:00 GMT", '"a"', MODIFIED, False, id="§13.1.5 a newer date"),
        pytest.param(MODIFIED, '"a"', None, False, id="§13.1.5 we have no date"),
        pytest.param("junk", '"a"', "junk", False, id="§13.1.5 no date at all"),
    ],
)
def test_if_range(header: str | None, etag: str, last_modified: str | None, *, holds: bool) -> None:
    assert if_range_holds(header, etag, last_modified) is holds


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        pytest.param("bytes 0-9/100", ContentRange(0, 10, 100), id="§14.4 complete"),
        pytest.param("bytes 0-9/*", ContentRange(0, 10, None), id="§14.4 total unknown"),
        pytest.param("Bytes 99-99/100", ContentRange(99, 100, 100), id="§14.1 unit in capitals"),
        pytest.param("bytes */100", None, id="§14.4 unsatisfied"),
        pytest.param("bytes 9-0/100", None, id="§14.4 last before first"),
        pytest.param("bytes 0-99/99", None, id="§14.4 total too small"),
        pytest.param("bytes 0-9", None, id="§14.4 no total"),
        pytest.param("bytes=0-9/100", None, id="§14.4 written like a request"),
        pytest.param("items 0-9/100", None, id="§14.4 another unit"),
        pytest.param("bytes 0-" + "9" * 5000 + "/*", None, id="a number int() would refuse"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_content_range(value: str | None, parsed: ContentRange | None) -> None:
    assert parse_content_range(value) == parsed


def test_multipart_is_framed_as_by_nginx() -> None:
    """§14.6; the bytes are those that nginx 1.22.1 sent for `bytes=0-0,-2` of a file of 100 letters."""
    data = bytes(97 + n % 26 for n in range(100))
    framed = multipart_parts((Span(0, 1), Span(98, 100)), 100, "application/octet-stream", "00000000000000001260")
    body = b"".join(head + data[span.start : span.stop] for head, span in framed.parts) + framed.closing
    assert body == (
        b"\r\n--00000000000000001260\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-0/100\r\n\r\na"
        b"\r\n--00000000000000001260\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Range: bytes 98-99/100\r\n\r\nuv"
        b"\r\n--00000000000000001260--\r\n"
    )
    assert framed.content_length == len(body)


HEADERS = st.text("0123456789-,= \tbytesx", max_size=40) | st.lists(
    st.from_regex(r"[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), max_size=80
).map(lambda specs: "bytes=" + ",".join(specs))


@given(header=HEADERS, total=st.integers(0, 300))
def test_spans_lie_within_the_file(header: str, total: int) -> None:
    """§14.1.2: whatever is asked for, what is sent exists, and is no more than the file."""
    match satisfy(parse_range(header), total):
        case Partial(span):
            spans: tuple[Span, ...] = (span,)
        case Multi(spans):
            assert len(spans) > 1
        case _:
            spans = ()
    assert all(0 <= span.start < span.stop <= total for span in spans)
    assert sum(span.length for span in spans) <= total
    assert all(parse_content_range(span.content_range(total)) for span in spans)


@given(first=st.integers(0, 300), last=st.integers(0, 300), total=st.integers(1, 300))
def test_a_single_range_is_what_slicing_gives(first: int, last: int, total: int) -> None:
    """§14.1.2: both positions are inclusive."""
    data = bytes(n % 256 for n in range(total))
    answer = satisfy(parse_range(f"bytes={first}-{last}"), total)
    expected = data[first : last + 1]
    assert isinstance(answer, Partial) is bool(expected)
    if isinstance(answer, Partial):
        assert data[answer.span.start : answer.span.stop] == expected
        assert re.fullmatch(rf"bytes {first}-\d+/{total}", answer.span.content_range(total))


@pytest.mark.parametrize(
    ("first", "received", "found", "right"),
    [
        (None, 40, "bytes 40-99/100", True),
        (None, 40, "bytes 40-99/*", True),
        (None, 40, "bytes 40-98/100", False),  # it stops early
        (None, 40, "bytes 41-99/100", False),
        (None, 0, "bytes 0-99/100", True),
        (None, 40, None, False),
        (None, 40, "bytes */100", False),
        ("bytes 10-59/100", 40, "bytes 50-59/100", True),
        ("bytes 10-59/*", 40, "bytes 50-59/100", True),
        ("bytes 10-59/100", 40, "bytes 50-59/*", True),
        ("bytes 10-59/100", 40, "bytes 50-59/101", False),  # another file
        ("bytes 10-59/100", 40, "bytes 50-60/100", False),
        ("bytes 10-59/100", 40, "bytes 40-59/100", False),
    ],
)
def test_going_on(first: str | None, received: int, found: str | None, right: bool) -> None:
    begun = parse_content_range(first)
    assert goes_on(begun, received, parse_content_range(found)) is right
    if right:
        requested, span = parse_range(rest_of(begun, received)), parse_content_range(found)
        assert requested is not None
        assert span is not None
        assert satisfies(requested, span) or span.total is None
