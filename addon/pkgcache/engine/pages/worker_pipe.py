"""The messages between the proxy and its process for large pages, and how long either waits for the other.

A message, either way: two lengths, a JSON text, and a page's bytes.
"""

from __future__ import annotations

import io
import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any, Final

type Message = tuple[dict[str, Any], bytes]

_LENGTHS: Final = struct.Struct(">QQ")
_STEP: Final = 1 << 20
_LOOK_SECONDS: Final = 0.1
"""How often to look whether to give up."""


class PipeEnd:
    """One end of each of the two pipes. `until(deadline)` raises where it is time to give up; without it there is no end of waiting."""

    def __init__(self, readable: int, writable: int, given_up: Callable[[float], None] | None = None) -> None:
        self._readable = readable
        self._writable = writable
        self._given_up = given_up
        if given_up is not None:
            os.set_blocking(writable, False)

    def send(self, head: dict[str, Any], page: bytes, deadline: float = 0.0) -> None:
        """Write a message. Raises OSError, and what `given_up` does."""
        text = json.dumps(head).encode()
        for data in (_LENGTHS.pack(len(text), len(page)) + text, page):
            view = memoryview(data)
            while view:
                self._wait(self._writable, select.POLLOUT, deadline)
                try:
                    view = view[os.write(self._writable, view) :]
                except BlockingIOError:  # it has room, but less than a page of memory
                    continue

    def receive(self, deadline: float = 0.0) -> Message:
        """The next message. Raises OSError, EOFError, ValueError for no message, and what `given_up` does."""
        head, page = _LENGTHS.unpack(self._read(_LENGTHS.size, deadline))
        return json.loads(self._read(head, deadline)), self._read(page, deadline)

    def receive_buffer(self) -> tuple[dict[str, Any], bytearray]:
        """The next message, as `receive`; its page can be emptied, whoever still holds it."""
        head, size = _LENGTHS.unpack(self._read(_LENGTHS.size, 0.0))
        told, page = json.loads(self._read(head, 0.0)), bytearray(size)
        with memoryview(page) as left:
            at = 0
            while at < size:
                with left[at : at + _STEP] as part:
                    came = os.readv(self._readable, [part])
                if not came:
                    raise EOFError("it has ended")
                at += came
        return told, page

    def _read(self, count: int, deadline: float) -> bytes:
        """Exactly `count` bytes. Raises EOFError where the pipe ends before."""
        whole = io.BytesIO()  # its value is no copy: of 64 MB there is no room for two in the process
        while count:
            self._wait(self._readable, select.POLLIN, deadline)
            part = os.read(self._readable, min(count, _STEP))
            if not part:
                raise EOFError("it has ended")
            count -= whole.write(part)
        return whole.getvalue()

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        if self._given_up is None:
            return
        poll = select.poll()
        poll.register(pipe, event)
        while not poll.poll(_LOOK_SECONDS * 1000):
            self._given_up(deadline)


def in_time(seconds: float) -> float:
    """The deadline that is so many seconds away, by the clock that `given_up` goes by."""
    return time.monotonic() + seconds
