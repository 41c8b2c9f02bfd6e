r"""What the scripted upstream may do wrong, as data.

A `Behaviour` names requests (by a pattern on the target, by method, by count) and what happens to them. All that match
one request are laid over each other, the later one winning where both say something, so they compose:
`Behaviour(r"\.whl$", pace=4e6)` and `Behaviour(r"\.whl$", cut_after=1000, times=1)`.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Literal

FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One scripted behaviour. Everything but `match` is by keyword, and off by default."""

    match: str
    """A regular expression, searched in the request's target (path and query, as sent)."""
    times: int | None = field(default=None, kw_only=True)
    """How many matching requests it happens to; None: to all."""
    skip: int = field(default=0, kw_only=True)
    """How many matching requests are let pass first."""
    methods: tuple[str, ...] = field(default=(), kw_only=True)
    """Only to these methods; empty: to any."""
    ranged: bool | None = field(default=None, kw_only=True)
    """Only to requests with a Range, or only to those without; None: to any."""

    # Instead of the ordinary answer
    status: int | None = field(default=None, kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    """Body of an answer by `status`, or of a 200 where `status` is None."""
    headers: Mapping[str, str | None] = field(default_factory=dict, kw_only=True)
    """Laid over the answer's headers, ordinary ones too; None takes a header away."""
    redirect: str | None = field(default=None, kw_only=True)
    """Location, with `status` or 302."""
    redirect_loop: bool = field(default=False, kw_only=True)
    captive: bool = field(default=False, kw_only=True)
    """200 with an HTML log-in page, as a hotel's network does."""
    authorization: str | None = field(default=None, kw_only=True)
    """401 unless the request's Authorization is exactly this."""
    drop: bool = field(default=False, kw_only=True)
    """Close without a byte."""
    raw: bytes | None = field(default=None, kw_only=True)
    """These bytes instead of any answer, then close."""

    # Of the content
    content: bytes | Path | None = field(default=None, kw_only=True)
    """Other content under the same path, with its own ETag."""
    wrong_byte_at: int | None = field(default=None, kw_only=True)
    """The content's byte at this offset is inverted, whichever range it is asked in; validators stay."""
    shorten: int = field(default=0, kw_only=True)
    """The content lacks its last n bytes, and every header agrees with that."""
    too_long: int = field(default=0, kw_only=True)
    """The content has n more bytes, and every header agrees with that."""
    gzip: bool = field(default=False, kw_only=True)
    """`Content-Encoding: gzip`, whatever was asked for."""

    # Of ranges
    ignore_range: bool = field(default=False, kw_only=True)
    """200 with everything, though Accept-Ranges was promised."""
    shift_span: int = field(default=0, kw_only=True)
    """A 206 of another span, moved by n bytes, and its Content-Range says so."""
    shift_body: int = field(default=0, kw_only=True)
    """A 206 whose body is moved by n bytes while its Content-Range is the one asked for."""

    # Of framing
    content_length: int | None = field(default=None, kw_only=True)
    """What Content-Length says, whatever is sent; where less is sent, the connection closes after it."""
    truncate: int = field(default=0, kw_only=True)
    """The last n bytes of the body never come: an orderly close instead."""
    framing: Literal["length", "chunked", "close"] = field(default="length", kw_only=True)

    # Of time and connections
    delay: float = field(default=0.0, kw_only=True)
    """Seconds before the head."""
    gate: threading.Event | None = field(default=None, kw_only=True)
    """Wait until the test sets this: before the head, or at `stall_after` where that is given."""
    stall_after: int | None = field(default=None, kw_only=True)
    """Stop after n body bytes, for `stall_for` seconds or until `gate` is set."""
    stall_for: float = field(default=FOREVER, kw_only=True)
    cut_after: int | None = field(default=None, kw_only=True)
    """Close after exactly n body bytes; with `reset` by RST."""
    reset: bool = field(default=False, kw_only=True)
    """A `cut_after`, `truncate` or `drop` is an RST and no orderly close."""
    pace: float | None = field(default=None, kw_only=True)
    """Body bytes a second, for each answer by itself (`Upstream.pace` is for all together)."""


_SELECTORS: Final = frozenset({"match", "times", "skip", "methods", "ranged"})
PLAIN: Final = Behaviour("")
"""No misbehaviour at all."""


def layered(behaviours: list[Behaviour]) -> Behaviour:
    """One behaviour out of all that match a request: a later one's words win, headers are joined."""
    merged: dict[str, object] = {}
    headers: dict[str, str | None] = {}
    for behaviour in behaviours:
        for each in fields(Behaviour):
            value = getattr(behaviour, each.name)
            if each.name not in _SELECTORS and each.name != "headers" and value != getattr(PLAIN, each.name):
                merged[each.name] = value
        headers |= behaviour.headers
    return Behaviour("", headers=headers, **merged)  # type: ignore[arg-type]
