"""Decides which bytes of a file answer a Range request, by RFC 9110 §14, §13.1.5 and §15.3.7.

No library is used. The ones that exist (in web frameworks, werkzeug above all) are bound to their framework's requests, and differ in
what the RFC leaves open. There this agrees with nginx (1.22, with `max_ranges 64`), byte for byte of the multipart body; tests hold it to
the answers that nginx gave:
  - §14.2: a server "MAY ignore or reject a Range header field that contains an invalid ranges-specifier": nginx
    rejects (416), and so do we; another unit, or nothing after `bytes=`, is ignored.
  - §15.3.7.2: overlapping or adjacent ranges may be coalesced: nginx sends them as asked for, in the order asked for;
    where they add up to more than the file, the whole file is the answer (200).

Leaves out: units other than bytes, and §8.8.2.2 (whether a Last-Modified is strong), which needs the Date of the response.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from pkgcache.rules.http.dates import parse_http_date

MAX_RANGES = 64
"""More satisfiable ranges than this are answered with the whole file.

RFC 9110 §17.15: "Servers ought to ignore, coalesce, or reject egregious range requests, such as requests for more than
two overlapping ranges or for many small ranges in a single set". A part costs about a hundred bytes of header.
"""
_MAX_POSITION = 2**63 - 1  # nginx's off_t: a larger number is no position, and makes the header invalid
# RFC 9110 §14.1.1, and spaces (not tabs) where nginx takes them.
_SPEC = re.compile(r"(?P<first>[0-9]+) *-(?: *(?P<last>[0-9]+))?|-(?P<suffix>[0-9]+)")
_CONTENT_RANGE = re.compile(r"bytes +([0-9]+)-([0-9]+)/([0-9]+|\*)", re.IGNORECASE)
_ENTITY_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, but without, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start

    def content_range(self, total: int) -> str:
        """The Content-Range field of a 206 (RFC 9110 §14.4).

        >>> Span(0, 10).content_range(100)
        'bytes 0-9/100'
        """
        return f"bytes {self.start}-{self.stop - 1}/{total}"


@dataclass(frozen=True, slots=True)
class Bounded:
    """`first-last`, or `first-` where last is None (RFC 9110 §14.1.2)."""

    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Suffix:
    """`-length`: the last bytes of the file (RFC 9110 §14.1.2)."""

    length: int


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """A Range header in bytes: its specifiers, or those before the first invalid one where it is `malformed`."""

    specs: tuple[Bounded | Suffix, ...]
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """200 and the whole file."""


@dataclass(frozen=True, slots=True)
class Partial:
    """206 and one span."""

    span: Span


@dataclass(frozen=True, slots=True)
class Multi:
    """206 and several spans as multipart/byteranges, in the order asked for."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416, with `unsatisfied(total)` as Content-Range."""


type RangeAnswer = Whole | Partial | Multi | Unsatisfiable


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The bytes in an upstream's 206: `stop` is exclusive, `total` is None where the upstream does not know it."""

    start: int
    stop: int
    total: int | None


class Multipart(NamedTuple):
    """A multipart/byteranges body without the file's bytes: each header goes before its span, `closing` goes last."""

    parts: list[tuple[bytes, Span]]
    closing: bytes
    content_length: int


def parse_range(header: str | None) -> RangeRequest | None:
    """Read a Range header. None for no header and for one to ignore: the whole file is asked for.

    >>> parse_range("bytes=0-9,-5")
    RangeRequest(specs=(Bounded(first=0, last=9), Suffix(length=5)), malformed=False)
    """
    unit, equals, ranges = (header or "").strip(" \t").partition("=")
    # RFC 9110 §14.2: "An origin server MUST ignore a Range header field that contains a range unit it does not
    # understand." §14.1: range units are case-insensitive.
    if unit.lower() != "bytes" or not equals:
        return None
    # nginx: nothing after the equals sign is no range at all.
    if not ranges:
        return None
    specs: list[Bounded | Suffix] = []
    for member in ranges.split(","):
        spec = _parse_spec(member)
        # RFC 9110 §14.2: an invalid ranges-specifier may be rejected; what stands before it still counts in nginx,
        # which then answers with the whole file where the file is empty or there are too many ranges.
        if spec is None:
            return RangeRequest(tuple(specs), malformed=True)
        specs.append(spec)
    return RangeRequest(tuple(specs))


def satisfy(requested: RangeRequest | None, total: int) -> RangeAnswer:
    """Which part of a file of `total` bytes answers the request (`parse_range` gives it).

    >>> satisfy(parse_range("bytes=-5"), 100)
    Partial(span=Span(start=95, stop=100))
    """
    if requested is None:
        return Whole()
    spans: list[Span] = []
    for spec in requested.specs:
        span = _resolve(spec, total)
        if span.length > 0:
            spans.append(span)
            # RFC 9110 §17.15: denial of service by many ranges.
            if len(spans) > MAX_RANGES:
                return Whole()
        # RFC 9110 §14.2 lets a server ignore Range: no range of an empty file is satisfiable, and 416 would help nobody.
        elif span.start == 0:
            return Whole()
    # RFC 9110 §14.1.1, §14.2: an invalid ranges-specifier is rejected.
    # RFC 9110 §15.5.17: 416 because "none of the requested ranges are satisfiable".
    if requested.malformed or not spans:
        return Unsatisfiable()
    # RFC 9110 §14.2, §17.15: ranges that add up to more than the file are ignored: the file is the cheaper answer.
    if sum(span.length for span in spans) > total:
        return Whole()
    return Partial(spans[0]) if len(spans) == 1 else Multi(tuple(spans))


def if_range_holds(header: str | None, etag: str, last_modified: str | None) -> bool:
    """Whether Range counts, by the If-Range header (RFC 9110 §13.1.5). `etag` is ours, with its quotes."""
    if header is None:
        return True
    validator = header.strip(" \t")
    # §13.1.5: "If the entity-tag validator provided exactly matches the ETag field value for the selected
    # representation using the strong comparison function": a weak one on either side never does (§8.8.3.2).
    if validator.endswith('"'):
        return validator == etag and _ENTITY_TAG.fullmatch(etag) is not None
    # §13.1.5: "If the HTTP-date validator provided exactly matches the Last-Modified field value". An older or a newer
    # date does not; another spelling of the same second does, as in nginx.
    date = parse_http_date(validator)
    return date is not None and last_modified is not None and date == parse_http_date(last_modified)


def unsatisfied(total: int) -> str:
    """The Content-Range field of a 416 (RFC 9110 §14.4)."""
    return f"bytes */{total}"


def parse_content_range(value: str | None) -> ContentRange | None:
    """Read an upstream's Content-Range. None where it is absent, invalid, or has no range (`bytes */N`).

    RFC 9110 §14.4: "invalid if it contains a range-resp that has a last-pos value less than its first-pos value, or a
    complete-length value less than or equal to its last-pos value".
    """
    found = _CONTENT_RANGE.fullmatch((value or "").strip(" \t"))
    if found is None or any(len(digits) > len(str(_MAX_POSITION)) for digits in found.groups()):
        return None
    start, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if last < start or (total is not None and total <= last):
        return None
    return ContentRange(start, last + 1, total)


def rest_of(first: ContentRange | None, received: int) -> str:
    """Return the Range for what follows the first `received` bytes of an answer, whose Content-Range was `first` (None: the whole).

    >>> rest_of(ContentRange(100, 200, 500), 40), rest_of(None, 40)
    ('bytes=140-199', 'bytes=40-')
    """
    return f"bytes={received}-" if first is None else f"bytes={first.start + received}-{first.stop - 1}"


def goes_on(first: ContentRange | None, received: int, found: ContentRange | None) -> bool:
    """Whether an answer with the Content-Range `found` is exactly what `rest_of` asks for."""
    if found is None:
        return False
    if first is None:
        return found.start == received and found.total in {found.stop, None}
    same_file = first.total is None or found.total in {first.total, None}
    return same_file and (found.start, found.stop) == (first.start + received, first.stop)


def satisfies(requested: RangeRequest, found: ContentRange | None) -> bool:
    """Whether an upstream's single-range 206 has the bytes that were asked for. True for several ranges, which this cannot judge."""
    if len(requested.specs) != 1:
        return True
    if found is None:
        return False
    match requested.specs[0]:
        case Suffix(length=length):
            return found.total is not None and (found.start, found.stop) == (max(found.total - length, 0), found.total)
        case Bounded(first=first, last=last):
            ends = {found.total, None if last is None else last + 1}
            return found.start == first and found.stop in ends and (last is None or found.stop <= last + 1)


def multipart_parts(spans: tuple[Span, ...], total: int, content_type: str, boundary: str) -> Multipart:
    """Frame a multipart/byteranges body (RFC 9110 §14.6), to the byte as nginx does.

    The answer's own Content-Type is `multipart/byteranges; boundary=<boundary>`; `content_type` is the file's.
    """
    parts = [
        (
            f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
            f"Content-Range: {span.content_range(total)}\r\n\r\n".encode("latin-1"),
            span,
        )
        for span in spans
    ]
    closing = f"\r\n--{boundary}--\r\n".encode("latin-1")
    return Multipart(parts, closing, sum(len(head) + span.length for head, span in parts) + len(closing))


def _parse_spec(member: str) -> Bounded | Suffix | None:
    found = _SPEC.fullmatch(member.strip(" "))
    if found is None:
        return None
    first, last, suffix = (_position(found[name]) for name in ("first", "last", "suffix"))
    if any(number is not None and number > _MAX_POSITION for number in (first, last, suffix)):
        return None
    if suffix is not None:
        return Suffix(suffix)
    return None if first is None else Bounded(first, last)


def _position(digits: str | None) -> int | None:
    """The number; for more digits than a position can have, one that is too large (`int` is slow for very long texts)."""
    if digits is None:
        return None
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= len(str(_MAX_POSITION)) else _MAX_POSITION + 1


def _resolve(spec: Bounded | Suffix, total: int) -> Span:
    """The bytes that a specifier means; a span without length where the file has none of them."""
    match spec:
        case Suffix(length=length):
            # RFC 9110 §14.1.2: "If the selected representation is shorter than the specified suffix-length, the
            # entire representation is used."
            return Span(max(total - length, 0), total)
        case Bounded(first=first, last=None):
            return Span(first, total)
        case Bounded(first=first, last=last):
            # RFC 9110 §14.1.2: "if the value is greater than or equal to the current length of the representation
            # data, the byte range is interpreted as the remainder". A last before the first is skipped, as in nginx.
            return Span(first, total if last is None else min(last + 1, total))
        case _:
            assert_never(spec)
