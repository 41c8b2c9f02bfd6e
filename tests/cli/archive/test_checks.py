"""Which entries of an archive are refused, and why."""

import gzip
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from pkgcache.cli.archive.archive_format import EntryHeader
from pkgcache.cli.archive.checks import is_newer, read_body, read_notes, why_refused
from pkgcache.engine.pages.stored_page import MAX_STORED, body_digest
from pkgcache.engine.store.notes import FileNotes, PageNotes
from tests.cli.stores import FETCHED, PRIVATE, file_notes
from tests.support.index import project_json
from tests.support.wheels import make_wheel

NOW = FETCHED + 3600
WHEEL = make_wheel("alpha", "1.0")
KEY = f"file|-|blake2b:{WHEEL.blake2b}|{WHEEL.filename}"


def why_body_refused(header: EntryHeader, body: bytes) -> str:
    """The refusal of a page's body, or an empty text."""
    try:
        read_body(header, body, "")
    except ValueError as error:
        return str(error)
    return ""


def file_header(**notes: Any) -> EntryHeader:
    known = {**file_notes(WHEEL, f"blake2b:{WHEEL.blake2b}"), "size": WHEEL.size, **notes}
    return EntryHeader(key=KEY, notes=known, size=WHEEL.size, digest=f"blake2b:{WHEEL.blake2b}", stored_at=1.0, row=1)


PAGE = EntryHeader(
    key="page|-|pypi|alpha|json",
    notes={
        "status": 200,
        "headers": [],
        "request_time": FETCHED,
        "response_time": FETCHED,
        "upstream": "https://i.example/simple/",
        "url": "https://i.example/simple/alpha/",
        "of": "ab",
        "kind": "json",
        "based": False,
        "size": 3,
    },
    size=3,
    digest="sha256:" + "0" * 64,
    stored_at=1.0,
    row=1,
)


def page_header(**notes: Any) -> EntryHeader:
    return replace(PAGE, notes={**PAGE.notes, **notes})


LIST = EntryHeader(
    key="root|-|pypi|json",
    notes={
        "kind": "json",
        "url": "https://i.example/simple/",
        "upstream": "https://i.example/simple/",
        "digest": "sha256:" + "0" * 64,
        "upstream_headers": [],
        "request_time": FETCHED,
        "response_time": FETCHED,
        "size": 3,
    },
    size=3,
    digest="sha256:" + "0" * 64,
    stored_at=1.0,
    row=1,
)


def list_header(**notes: Any) -> EntryHeader:
    return replace(LIST, notes={**LIST.notes, **notes})


HOSTS = replace(LIST, key="hosts", notes={"hosts": [["files.example", 443, "pypi", 1.0]], "size": 3})


ODD_KEYS = [
    "page|-|pypi|Alpha|json",
    "page|-|pypi|al_pha|json",
    "page|-|pypi|al.pha|json",
    "page|-|pypi|al%70ha|json",
    "page|-|pypi|alpha/..|json",
    "page|-|pypi|alpha/1.0/x/json|json",
    "page|-|pypi|alpha|JSON",
    "page|-|pypi|alpha|pickle",
    "page|-||alpha|json",
    "page|-|pypi||json",
    "page|-|pypi|a b|json",
    "page|-|pypi|a\n|json",
    "page|-|py|pi|alpha|json",
]
WRONG_HEADERS: list[Any] = [
    [["ETag", "a\rb"]],
    [["ETag", "a\nSet-Cookie: b"]],
    [["ETag", "a\0b"]],
    [["ETag", "a\x1bb"]],
    [["E Tag", "a"]],
    [["ETag:", "a"]],
    [["", "a"]],
    [["ETag\n", "a"]],
    [["\u00e9", "a"]],
    [["ETag", 1]],
    [["ETag", None]],
    [["ETag"]],
    [["ETag", "x" * 70_000]],
    [["ETag", "x"]] * 257,
    [["ETag", "x" * 8000]] * 9,
    "ETag: x",
    7,
    None,
]


@pytest.mark.parametrize("header", [file_header(), page_header(), list_header(), HOSTS])
def test_a_right_header(header: EntryHeader) -> None:
    assert why_refused(header, NOW) == ""


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (replace(file_header(), key=KEY.replace("|-|", f"|{PRIVATE}|")), "it was fetched with credentials"),
        (replace(file_header(), key=KEY.replace(WHEEL.blake2b, "0" * 64)), "but its key says blake2b:000"),
        (replace(file_header(), key=KEY.replace("alpha", "omega")), "its name differs from that in its key"),
        (
            replace(file_header(), key=KEY.replace("alpha-1.0", "..%2F..%2Falpha-1.0")),
            "its name differs from that in its key",
        ),
        (replace(file_header(), digest="sha256:" + "0" * 64), "its digest differs from that in its notes"),
        (file_header(size=1), "its header makes no sense"),
        (file_header(attempt=7), "attempt is 7"),
        (file_header(response_time="now"), "response_time is 'now'"),
        (file_header(headers=[["a", "b\r\nSet-Cookie: c"]]), "headers are no headers"),
        (file_header(headers={"a": "b"}), "headers is {'a': 'b'}"),
        *((replace(page_header(), key=key), "its key is no page's") for key in ODD_KEYS),
        *((page_header(headers=headers), "headers") for headers in WRONG_HEADERS),
        (page_header(status=500), "status is 500"),
        (page_header(status=10**30), "status is 1000"),
        (replace(page_header(size=MAX_STORED + 1), size=MAX_STORED + 1), "more than the 67,108,864 of any page"),
        (page_header(url="https://i.example/\r\nx"), "url is"),
        (page_header(upstream="x" * 70_000), "upstream is"),
        (replace(list_header(), key="root|-|pypi|xml"), "its key is no list's"),
        (replace(HOSTS, notes={"hosts": [["h", 70_000, "pypi", 1.0]], "size": 3}), "hosts are"),
        (replace(HOSTS, notes={"hosts": [["h", 443, "pypi", math.nan]], "size": 3}), "hosts is nan"),
        (replace(HOSTS, notes={"hosts": [["h", 443, "pypi", 1e999]], "size": 3}), "hosts is inf"),
        (page_header(status=404), "archives hold only pages that were found"),
        (page_header(passing=True), "archives hold only pages that were found"),
        (page_header(kind="pickle"), "its notes make no sense"),
        (page_header(url="file:///etc/passwd"), "its notes make no sense"),
        (page_header(of=None), "of is None"),
        (replace(page_header(), key="view|index|json|page|-|pypi|alpha|json"), "holds no entries of kind view"),
        (list_header(digest="sha256:" + "1" * 64), "its digest differs from that in its notes"),
        (list_header(url="file:///etc/passwd"), "its notes make no sense"),
        (list_header(kind=7), "kind is 7"),
        (replace(page_header(), key="x" * 5000), "its header makes no sense"),
        (replace(page_header(), key="secret"), "holds no entries of kind other"),
        (replace(page_header(hosts=[["h", "443", "pypi", 1.0]]), key="hosts"), "hosts has ['h', '443'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_wrong_header(header: EntryHeader, reason: str) -> None:
    assert reason in why_refused(header, NOW)


@pytest.mark.parametrize(
    "time",
    [
        *(math.nan, math.inf, -math.inf, 1e308, -1.0, -1e308, 1e12, 10**400, 10**18, NOW + 90_000, 253402300800),
        *(True, False, None, "0", "1700000000", [], {}, [[[]]]),
    ],
    ids=lambda value: f"{value!r:.20}",
)
@pytest.mark.parametrize("field", ["request_time", "response_time"])
@pytest.mark.parametrize("header", [file_header, page_header, list_header])
def test_times(header: Callable[..., EntryHeader], field: str, time: Any) -> None:
    """A page that came tomorrow would be fresh until then; one of no time at all made every answer with it a 500."""
    assert why_refused(header(**{field: time}), NOW)


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ([["Set-Cookie", "a=b"], ["ETag", "x"]], ["ETag"]),
        ([["set-cookie2", "a=b"]], []),
        ([["TRANSFER-ENCODING", "chunked"]], []),
        ([["Connection", "close, X-Hop"], ["X-Hop", "1"], ["X-End", "1"]], ["X-End"]),
        ([["Keep-Alive", "9"], ["Proxy-Authenticate", "Basic"], ["Upgrade", "h2c"], ["Trailer", "x"], ["TE", "x"]], []),
    ],
)
def test_header_fields_that_are_never_stored(headers: list[list[str]], left: list[str]) -> None:
    notes = read_notes(page_header(headers=headers), NOW)
    assert isinstance(notes, PageNotes)
    assert list(notes.headers) == left


def test_a_file_is_served_with_the_proxys_own_fields_alone() -> None:
    """Content-Encoding made pip unpack a wheel; Content-Length contradicted the file."""
    names = "Content-Type", "Content-Encoding", "Content-Length", "Location", "Refresh", "Set-Cookie", "Content-Range"
    notes = read_notes(file_header(headers=[[name, "gzip"] for name in names]), NOW)
    assert isinstance(notes, FileNotes)
    assert list(notes.headers) == ["Content-Type"]


BOMB = gzip.compress(bytes(MAX_STORED + 1), 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "its body is cut short"),
        (gzip.compress(b"{}"), "its body is no page"),
        (gzip.compress(b"<p>Please log in"), "its body is no page"),
        (gzip.compress(b"[" * 100_000), "its body is no page"),
        (BOMB, "its body is cut short, or too long"),
        (gzip.compress(project_json("alpha", [WHEEL], "https://i.example/")) + b"x", "its body is cut short, or too"),
        (gzip.compress(project_json("alpha", [WHEEL], "https://i.example/")), ""),
    ],
    ids=["empty", "no files", "HTML", "nested", "a bomb", "more behind it", "a page"],
)
def test_a_body_that_is_no_page(body: bytes, reason: str) -> None:
    """Its digest is the one that the notes name: whoever makes an archive sees to that."""
    plain = b"" if body in {b"", BOMB} else zlib.decompressobj(wbits=31).decompress(body)
    found = why_body_refused(page_header(of=body_digest(plain)), body)
    assert found.startswith(reason) if reason else found == "", found


def test_a_pages_body() -> None:
    assert "cannot be unpacked" in why_body_refused(page_header(), b"abc")
    assert "differs from what its notes say" in why_body_refused(page_header(), gzip.compress(b"abc"))
    assert "cut short" in why_body_refused(page_header(), gzip.compress(b"abc")[:-4])


def test_which_of_two_stays() -> None:
    same = {"digest": f"blake2b:{WHEEL.blake2b}", "size": WHEEL.size, "response_time": 0}
    assert not is_newer(file_header(), same)
    assert is_newer(page_header(), {"response_time": FETCHED - 1})
    assert not is_newer(page_header(), {"response_time": FETCHED + 1})
    for stored in (math.nan, math.inf, 1e308, "x", True, None):  # a poisoned row does not keep its place
        assert is_newer(page_header(), {"response_time": stored})
    assert is_newer(page_header(), {})


def test_headers_survive_json() -> None:
    assert json.loads(json.dumps(asdict(file_header()))) == asdict(file_header())
