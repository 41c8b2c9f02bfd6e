"""Which entries of an archive are refused, and why."""

import gzip
import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from pkgcache.cli.archive.archive_format import EntryHeader
from pkgcache.cli.archive.checks import is_newer, why_body_refused, why_refused
from tests.cli.stores import FETCHED, PRIVATE, file_notes
from tests.support.wheels import make_wheel

WHEEL = make_wheel("alpha", "1.0")
KEY = f"file|-|blake2b:{WHEEL.blake2b}|{WHEEL.filename}"


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


@pytest.mark.parametrize("header", [file_header(), page_header(), list_header(), HOSTS])
def test_a_right_header(header: EntryHeader) -> None:
    assert why_refused(header) == ""


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
    assert reason in why_refused(header)


def test_a_pages_body() -> None:
    assert "cannot be unpacked" in why_body_refused(page_header(), b"abc")
    assert "differs from what its notes say" in why_body_refused(page_header(), gzip.compress(b"abc"))
    assert "cut short" in why_body_refused(page_header(), gzip.compress(b"abc")[:-4])


def test_which_of_two_stays() -> None:
    same = {"digest": f"blake2b:{WHEEL.blake2b}", "size": WHEEL.size, "response_time": 0}
    assert not is_newer(file_header(), same)
    assert is_newer(page_header(), {"response_time": FETCHED - 1})
    assert not is_newer(page_header(), {"response_time": FETCHED + 1})
    assert is_newer(page_header(), {})


def test_headers_survive_json() -> None:
    assert json.loads(json.dumps(asdict(file_header()))) == asdict(file_header())
