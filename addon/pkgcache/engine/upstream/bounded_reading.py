"""What an upstream sends, read in measured pieces: aiohttp works on all that has come before anybody else gets a turn.

Three kinds of answers stalled the event loop for seconds, each within what aiohttp allows: interim responses (1xx) without end, chunks of
one byte, and answers that nobody asked for behind the one that somebody did. So here

- the head, and the interim responses before it, have limits (RFC 9110 §15.2 lets there be any number);
- bytes that were costly to work on are followed by a pause as long as the work took, in which the connection is not read;
- a second answer to one request ends the connection. The first one stays good.

Leaves out: bodies that come slowly or without end, which those who read them give up.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any, Final, override

import aiohttp

from pkgcache.engine.upstream.lenient_heads import LenientResponseHandler

MOST_HEAD: Final = 64 * 1024
"""Bytes of an answer's head with the interim responses before it. Blob stores send 12 kB; nginx and Squid take 64 kB of clients."""

MOST_INTERIM: Final = 32
"""Interim responses before an answer. A server that sends 102 every few seconds (RFC 2518 §10.1) gets past no time-out of ours."""

_HEAD_PIECE: Final = 4 * 1024
_CHUNKED_PIECE: Final = 16 * 1024
_LARGER: Final = 4
"""Bytes worked on at a time, and how many times more of a chunked body whose last piece was cheap. 16 kB of chunks of one byte take
10 ms; of a body that is not chunked, all that asyncio has read (256 kB) takes some microseconds."""

COSTLY_SECONDS: Final = 0.003
LONGEST_PAUSE: Final = 0.05


class BoundedResponses(LenientResponseHandler):
    """aiohttp's side of one connection to an upstream."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._held = b""
        self._pause: asyncio.TimerHandle | None = None
        self._resume_later = False
        self._begin()

    def _begin(self) -> None:
        self._head_size = self._interim = 0
        self._answered = False
        self._was_costly = True  # until it shows that it is not

    @override
    def set_response_params(self, *args: Any, **more: Any) -> None:
        self._begin()
        super().set_response_params(*args, **more)

    @override
    def data_received(self, data: bytes) -> None:
        if self._pause is not None:  # TLS had decrypted more than it had given
            self._held += data
        elif len(data) <= _HEAD_PIECE and self._answered:
            super().data_received(data)
        else:
            self._work_on(data)

    def _work_on(self, data: bytes) -> None:
        """Give aiohttp the data piece by piece, and pause behind the first one that was costly."""
        at = 0
        while at < len(data) and not self._is_over():
            size = self._piece_size()
            piece = data if size is None and not at else data[at : at + size if size else None]
            at += len(piece)
            if not self._answered:
                self._head_size += len(piece)
            began = time.thread_time()
            super().data_received(piece)
            cost = time.thread_time() - began
            self._was_costly = cost > COSTLY_SECONDS
            if not self._answered and self._head_size > MOST_HEAD:
                self._refuse(f"its answer has not begun after {MOST_HEAD // 1024} kB of heads")
            elif self._was_costly and not self._is_over():
                self._held = data[at:]
                self._stop_reading()
                self._pause = self._loop.call_later(min(cost, LONGEST_PAUSE), self._go_on)
                return

    def _piece_size(self) -> int | None:
        """How many bytes to work on now; None for all there are."""
        if not self._answered:
            return _HEAD_PIECE
        if getattr(self._payload, "_http_chunk_splits", None) is None:
            return None
        return _CHUNKED_PIECE if self._was_costly else _CHUNKED_PIECE * _LARGER

    def _stop_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def _go_on(self) -> None:
        """Work on what is left from before the pause, and read on unless it was too costly again, or aiohttp has paused."""
        self._pause = None
        held, self._held = self._held, b""
        self._work_on(held)
        if self._pause is not None or self._is_over():
            return
        if self._resume_later:
            self._resume_later = False
            super().resume_reading()
        elif self.transport is not None and not self._reading_paused and not getattr(self, "_buffer_paused", False):
            self.transport.resume_reading()

    @override
    def resume_reading(self, *args: Any, **more: Any) -> None:
        """Let aiohttp read on after it has paused. It calls this for each piece of a body, paused or not."""
        if self._pause is not None:
            self._resume_later = self._resume_later or self._reading_paused
        elif self._reading_paused:
            super().resume_reading(*args, **more)

    @override
    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a head that was read; aiohttp calls it with the message and its payload."""
        status = data[0].code
        if self._answered:
            self._refuse("it sent more than one answer")
        elif 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                self._refuse(f"it sent more than {MOST_INTERIM} interim responses (1xx)")
        else:
            self._answered = True
            super().feed_data(data, size)

    def _refuse(self, why: str) -> None:
        """Close the connection. Whoever waits for an answer gets an error; one that has come already stays as it is."""
        if not self._answered:
            self.set_exception(aiohttp.ClientError(why))
            self._answered = True  # what came with it does not count
        self.force_close()
        if self.transport is not None:
            self.transport.close()

    def _is_over(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    @override
    def eof_received(self) -> None:
        self._give_held()
        super().eof_received()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._give_held()
        super().connection_lost(exc)

    def _give_held(self) -> None:
        """There will be no more: what came before the end counts."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        held, self._held = self._held, b""
        if held:
            super().data_received(held)


def bound_reading(connector: aiohttp.BaseConnector) -> None:
    """Let a connector's connections be read in this way. Only a private name of aiohttp's can say so."""
    factory: Any = functools.partial(BoundedResponses, loop=connector._loop)  # noqa: SLF001
    connector._factory = factory  # noqa: SLF001
