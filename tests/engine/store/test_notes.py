"""Notes of each kind: their exact JSON, which is the store's format 1, and what is refused."""

import json
from typing import Any, Final

import pytest
from multidict import CIMultiDict

from pkgcache.engine.store.notes import FileNotes, HostNotes, ListNotes, PageNotes, RangeNotes, VariantNotes
from pkgcache.rules.simple.representations import Representation

HEADERS: Final = CIMultiDict([("ETag", '"a"'), ("Cache-Control", "max-age=600"), ("Cache-Control", "public")])
PAIRS: Final = [["ETag", '"a"'], ["Cache-Control", "max-age=600"], ["Cache-Control", "public"]]
ORIGIN: Final = {"request_time": 1700000000.25, "response_time": 1700000001.5}

PAGE: Final[dict[str, Any]] = {
    "status": 200,
    "headers": PAIRS,
    **ORIGIN,
    "upstream": "https://index.test/simple/",
    "url": "https://index.test/simple/six/",
    "of": "0" * 32,
    "kind": "html-v1",
    "based": True,
}
MISSING: Final[dict[str, Any]] = {
    "status": 404,
    "headers": PAIRS,
    **ORIGIN,
    "upstream": "https://index.test/simple/",
    "url": "https://index.test/simple/none/",
    "of": "",
}
VARIANT: Final[dict[str, Any]] = {"of": "0" * 32, "plain": 1052, "etag": '"b"', "edited": False, "gzipped": 4137958898}
FILE: Final[dict[str, Any]] = {
    "name": "six-1.0.tar.gz",
    "url": "https://files.test/six-1.0.tar.gz",
    "digest": "sha256:" + "a" * 64,
    "attempt": "96bca417",
    "headers": PAIRS,
    "upstream_headers": PAIRS,
    **ORIGIN,
}
LIST: Final[dict[str, Any]] = {
    "kind": "json",
    "url": "https://index.test/simple/",
    "upstream": "https://index.test/simple/",
    "digest": "sha256:" + "b" * 64,
    "upstream_headers": PAIRS,
    **ORIGIN,
}
RANGES: Final[dict[str, Any]] = {
    "name": "six-1.0.tar.gz",
    "total": 640000,
    "headers": PAIRS,
    "parts": [[100, 300, 1700000000.25], [639000, 640000, 1700000001.5]],
    "of": '"c"',
}
HOSTS: Final[dict[str, Any]] = {"hosts": [["files.test", 443, "corp", 1700000000.25]]}

type Kind = type[PageNotes | VariantNotes | FileNotes | ListNotes | RangeNotes | HostNotes]

EACH: Final[list[tuple[Kind, dict[str, Any]]]] = [
    (PageNotes, PAGE),
    (PageNotes, PAGE | {"passing": True}),
    (PageNotes, MISSING),
    (VariantNotes, VARIANT),
    (FileNotes, FILE),
    (ListNotes, LIST),
    (RangeNotes, RANGES),
    (RangeNotes, RANGES | {"parts": []}),
    (HostNotes, HOSTS),
    (HostNotes, {"hosts": []}),
]


@pytest.mark.parametrize(("kind", "notes"), EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_notes_are_written_as_they_were_read(kind: Kind, notes: dict[str, Any]) -> None:
    """To the letter: the version before reads them, too."""
    text = json.dumps(notes)
    assert json.dumps(kind.from_json(json.loads(text)).to_json()) == text


@pytest.mark.parametrize(("kind", "notes"), EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_more_fields_are_no_trouble(kind: Kind, notes: dict[str, Any]) -> None:
    """The store's own `size` is among them, and a later version may add some."""
    assert kind.from_json(notes | {"size": 5, "later": [1]}) == kind.from_json(notes)


def test_a_page() -> None:
    notes = PageNotes.from_json(PAGE)
    assert (notes.representation, notes.has_base_href, notes.transient) == (Representation.HTML_V1, True, False)
    assert notes.headers == HEADERS
    assert notes.headers.getall("cache-control") == ["max-age=600", "public"]
    assert (notes.stored.status, notes.stored.headers, notes.stored.response_time) == (200, HEADERS, 1700000001.5)


def test_a_remembered_404() -> None:
    notes = PageNotes.from_json(MISSING)
    assert (notes.representation, notes.has_base_href, notes.source_digest) == (None, False, "")
    assert notes.stored.status == 404


@pytest.mark.parametrize("notes", [FileNotes.from_json(FILE), ListNotes.from_json(LIST)], ids=["file", "list"])
def test_what_freshness_is_reckoned_from(notes: FileNotes | ListNotes) -> None:
    """The headers that the upstream sent, and not those that are served."""
    assert notes.stored.headers == HEADERS
    assert (notes.stored.request_time, notes.stored.response_time) == (1700000000.25, 1700000001.5)


def test_times_may_be_whole_numbers() -> None:
    """JSON has one kind of number."""
    assert FileNotes.from_json(FILE | {"request_time": 7}).request_time == 7.0


WRONG: Final[list[tuple[Kind, dict[str, Any], str, Any]]] = [
    *((PageNotes, PAGE, "status", value) for value in ("200", 200.0, True, None)),
    *((PageNotes, PAGE, "headers", value) for value in (None, {}, "x", [1], [["a"]], [["a", 1]], [["a", "b", "c"]])),
    *((PageNotes, PAGE, "headers", [[name, value]]) for name, value in (("a\r", "b"), ("a", "b\nc"), ("a", "\0"))),
    (PageNotes, PAGE, "request_time", "1700000000"),
    (PageNotes, PAGE, "response_time", None),
    (PageNotes, PAGE, "response_time", False),
    (PageNotes, PAGE, "upstream", 1),
    (PageNotes, PAGE, "url", None),
    (PageNotes, PAGE, "of", b"0"),
    (PageNotes, PAGE, "kind", "xml"),
    (PageNotes, PAGE, "kind", None),
    (PageNotes, PAGE, "based", 1),
    (VariantNotes, VARIANT, "of", None),
    (VariantNotes, VARIANT, "plain", "1052"),
    (VariantNotes, VARIANT, "plain", True),
    (VariantNotes, VARIANT, "etag", None),
    (VariantNotes, VARIANT, "edited", 0),
    (VariantNotes, VARIANT, "gzipped", 1.5),
    (FileNotes, FILE, "name", None),
    (FileNotes, FILE, "url", []),
    (FileNotes, FILE, "digest", None),
    (FileNotes, FILE, "attempt", 96),
    (FileNotes, FILE, "headers", [["a", "b\r\nInjected: yes"]]),
    (FileNotes, FILE, "upstream_headers", {"a": "b"}),
    (FileNotes, FILE, "request_time", [1]),
    (ListNotes, LIST, "kind", "html-v2"),
    (ListNotes, LIST, "digest", 5),
    (ListNotes, LIST, "upstream", None),
    (RangeNotes, RANGES, "total", 1.0),
    (RangeNotes, RANGES, "of", None),
    *(
        (RangeNotes, RANGES, "parts", value)
        for value in (
            None,
            {},
            [[0, 1]],
            [["0", 1, 2.0]],
            [[0.0, 1, 2.0]],
            [[0, 1, "2"]],
            [[False, 1, 2.0]],
            [[1, 1, 2.0]],  # empty
            [[2, 1, 2.0]],
            [[-1, 1, 2.0]],
            [(0, 1, 2.0), [5, 4, 2.0]],
        )
    ),
    *(
        (HostNotes, HOSTS, "hosts", value)
        for value in (
            None,
            "files.test",
            [["files.test", "443", "corp", 1.0]],
            [["files.test", 443, "corp"]],
            [[]],
            [1],
        )
    ),
    (HostNotes, HOSTS, "hosts", [["files.test", True, "corp", 1.0]]),
]


@pytest.mark.parametrize(("kind", "notes", "field", "value"), WRONG)
def test_what_is_refused(kind: Kind, notes: dict[str, Any], field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=None if field == "kind" else field):
        kind.from_json({**notes, field: value})


@pytest.mark.parametrize(("kind", "notes"), EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_a_missing_field_is_refused(kind: Kind, notes: dict[str, Any]) -> None:
    for field in notes.keys() - {"passing"}:
        with pytest.raises(ValueError):
            kind.from_json({name: value for name, value in notes.items() if name != field})
