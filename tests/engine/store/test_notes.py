"""Notes of each kind: their exact JSON, which is the store's format 1, and what is refused."""

import json
import math
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

TIMED: Final[tuple[tuple[Any, dict[str, Any]], ...]] = ((PageNotes, PAGE), (FileNotes, FILE), (ListNotes, LIST))

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


NO_TIMES: Final = (
    *(math.nan, math.inf, -math.inf, 1e308, -1e308, -0.1, -1, 10**18, 10**400, 253402300800, True, None, "1", [1]),
    json.loads("[" * 900 + "]" * 900),
)
NO_HEADERS: Final[tuple[Any, ...]] = (
    [["a b", "c"]],
    [["a:", "b"]],
    [["", "b"]],
    [["\u00e9", "b"]],
    [["a", "\x1b[2J"]],
    [["a", "\x7f"]],
    [["a", "x" * 65_537]],
    [["a", "x" * 700]] * 100,
    [["a", "b"]] * 257,
    [json.loads("[" * 900 + "]" * 900)],
)

WRONG: Final[list[tuple[Kind, dict[str, Any], str, Any]]] = [
    *((PageNotes, PAGE, "status", value) for value in ("200", 200.0, True, None, 0, -200, 203, 304, 500, 10**30)),
    *((kind, notes, "response_time", value) for kind, notes in TIMED for value in NO_TIMES),
    *((kind, notes, "request_time", value) for kind, notes in TIMED for value in NO_TIMES),
    *((PageNotes, PAGE, "headers", value) for value in NO_HEADERS),
    *((FileNotes, FILE, "headers", value) for value in NO_HEADERS),
    *((RangeNotes, RANGES, "headers", value) for value in NO_HEADERS),
    *((ListNotes, LIST, "upstream_headers", value) for value in NO_HEADERS),
    *((PageNotes, PAGE, "url", value) for value in ("a\r\nb", "a\0", "x" * 65_537)),
    (FileNotes, FILE, "attempt", 'a"\r\nSet-Cookie: b'),
    (VariantNotes, VARIANT, "etag", '"a"\r\nSet-Cookie: b'),
    *((VariantNotes, VARIANT, "plain", value) for value in (-1, 2**63, 10**40)),
    *((RangeNotes, RANGES, "total", value) for value in (-1, 2**63)),
    (RangeNotes, RANGES, "parts", [[0, 640_001, 2.0]]),
    *((RangeNotes, RANGES, "parts", [[0, 1, value]]) for value in NO_TIMES[:-5]),
    (RangeNotes, RANGES, "parts", [[0, 1, 2.0]] * 10_001),
    *((HostNotes, HOSTS, "hosts", [["files.test", 443, "corp", value]]) for value in NO_TIMES[:-5]),
    *((HostNotes, HOSTS, "hosts", [["files.test", value, "corp", 1.0]]) for value in (0, -1, 65_536, 10**30)),
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


NEVER: Final = (
    "Set-Cookie",
    "set-cookie2",
    "TRANSFER-ENCODING",
    "Connection",
    "X-Hop",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Upgrade",
)
"""X-Hop is one because Connection names it."""

FRAMING: Final = ("Content-Encoding", "Content-Length", "content-range", "Location")


@pytest.mark.parametrize(
    ("kind", "notes", "field", "left"),
    [
        (PageNotes, PAGE, "headers", FRAMING),  # how it came; it is not served with these
        (FileNotes, FILE, "upstream_headers", FRAMING),
        (ListNotes, LIST, "upstream_headers", FRAMING),
        (FileNotes, FILE, "headers", ()),
        (RangeNotes, RANGES, "headers", ()),
    ],
)
def test_fields_that_are_left_out(kind: Kind, notes: dict[str, Any], field: str, left: tuple[str, ...]) -> None:
    """Somebody else has written them to the row, or an archive: they would reach each client."""
    pairs = [["ETag", "1"], *([name, "X-Hop"] for name in (*NEVER, *FRAMING)), ["X-End", "1"]]
    assert list(getattr(kind.from_json({**notes, field: pairs}), field)) == ["ETag", *left, "X-End"]


@pytest.mark.parametrize(("kind", "notes", "field", "value"), WRONG)
def test_what_is_refused(kind: Kind, notes: dict[str, Any], field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=None if field == "kind" else field):
        kind.from_json({**notes, field: value})


@pytest.mark.parametrize(("kind", "notes"), EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_a_missing_field_is_refused(kind: Kind, notes: dict[str, Any]) -> None:
    for field in notes.keys() - {"passing"}:
        with pytest.raises(ValueError):
            kind.from_json({name: value for name, value in notes.items() if name != field})
