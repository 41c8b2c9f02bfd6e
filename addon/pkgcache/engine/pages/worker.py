"""A process of its own for large pages: while Python parses 5 MB on a thread, the event loop waits for the interpreter's lock.

It is a plain Python with this code's search path, spoken to over pipes, and started when the first large page comes. It ends with the
proxy, however that ends: its standard input is then closed. Where it cannot be started, or dies at a page, the work is done on the
thread that asked for it.

What goes over the pipes, both ways: two lengths, a JSON text, and a page's bytes; after an answer, in the same way, what took longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

from packaging.version import Version

from pkgcache.rules.simple.json_api import remove_files_of_document
from pkgcache.rules.simple.json_api_build import Release, find_release
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.removal import Filtered, remove_files
from pkgcache.rules.simple.transform import TransformedPage, TransformSpec, transform

logger = logging.getLogger(__name__)

type _Message = tuple[dict[str, Any], bytes]

LARGE: Final = 128 * 1024
"""Bytes of a page from which on it is worked on in the process: a smaller one takes a few milliseconds."""

CLOSE_SECONDS: Final = 2.0
_LENGTHS: Final = struct.Struct(">QQ")
_PIPE_BYTES: Final = 1 << 20
_NICE: Final = 5
"""Hits go before new pages, where there are few processors."""


def filtered(page: bytes, order: TransformSpec, dropped: frozenset[str]) -> Filtered:
    """A page without the files of these names, here. Raises BrokenPage."""
    if order.document:
        return remove_files_of_document(page, lambda link: link.filename in dropped)
    return remove_files(page, order.wanted, lambda link: link.filename in dropped)


class PageWorker:
    """The process and its pipes, for threads: one of them at a time has its use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._usable = not getattr(sys, "frozen", False)
        self._proven = False  # it has answered once
        self._closed = False

    def derived[T](
        self, page: bytes, order: TransformSpec, then: Callable[[TransformedPage], T]
    ) -> tuple[TransformedPage, T, str]:
        """`derive`, in the process if the page is large: the page, what `then` makes of it, and its FileTable's text.

        The process makes that text while `then` is under way. Raises BrokenPage.
        """
        with self._lock if len(page) >= LARGE else contextlib.nullcontext():
            answer = self._asked({"work": "derive", **order.to_json()}, page)
            if answer is not None:
                said, body = answer
                made = TransformedPage(
                    body=body if said["edited"] else page, edited=said["edited"], origins=tuple(said["origins"])
                )
                try:
                    done = then(made)
                finally:
                    table = self._heard()  # or the next page would be answered with it
                if table is not None:
                    return made, done, table[1].decode("ascii")
        made, table_of = transform(page, order)
        return made, then(made), table_of()

    def filtered(self, page: bytes, order: TransformSpec, dropped: frozenset[str]) -> Filtered:
        """A page without the files of these names, by the process if the page is large. Raises BrokenPage."""
        with self._lock if len(page) >= LARGE else contextlib.nullcontext():
            answer = self._asked({"work": "leave out", "dropped": sorted(dropped), **order.to_json()}, page)
        if answer is None:
            return filtered(page, order, dropped)
        said, body = answer
        return Filtered(body=body if said["dropped"] else page, dropped=said["dropped"], kept=said["kept"])

    def release(self, page: bytes, order: TransformSpec, version: str) -> Release | None:
        """`find_release`, by the process if the page is large."""
        with self._lock if len(page) >= LARGE else contextlib.nullcontext():
            answer = self._asked({"work": "release", "version": version, **order.to_json()}, page)
        if answer is None:
            return find_release(page, version)
        said = answer[0]
        return Release(version=Version(said["version"]), files=tuple(said["files"])) if said else None

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._closed = True
            self._end()

    def _asked(self, what: dict[str, Any], page: bytes) -> _Message | None:
        """What the process makes of it; None where it cannot be had, or for a small page. Raises BrokenPage."""
        if len(page) < LARGE or not self._usable or self._closed:
            return None
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            _send(process.stdin, what, page)
        except OSError as error:
            self._failed(error)
            return None
        answer = self._heard()
        if answer is not None and "broken" in answer[0]:
            raise BrokenPage(answer[0]["broken"])
        return answer

    def _heard(self) -> _Message | None:
        """The process's next message; None where there is none."""
        if self._process is None:
            return None
        try:
            assert self._process.stdout is not None
            message = _receive(self._process.stdout)
        except (OSError, EOFError, ValueError) as error:
            self._failed(error)
            return None
        self._proven = True
        return message

    def _failed(self, error: Exception) -> None:
        if not self._closed:
            logger.warning("the process for large pages failed (%s); this page is worked on in the proxy's own", error)
        self._usable = self._proven
        self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        code = f"import sys; sys.path[:] = sys.argv[1:]; import {__name__} as work; work.serve()"
        path = [entry for entry in sys.path if entry]
        self._process = subprocess.Popen(  # noqa: S603  this very Python, and this very code
            [sys.executable, "-I", "-S", "-c", code, *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the proxy's
        )
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(AttributeError, OSError):  # Linux alone, and bounded by the user's limit
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve() -> None:
    """The process's own: answer until the proxy is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    gc.disable()  # nothing of a page is a circle, and a page is many values
    with (
        open(0, "rb", buffering=0) as asked,
        open(1, "wb", buffering=0) as answered,
        contextlib.suppress(EOFError, BrokenPipeError),
    ):
        while True:
            for message in _answers(*_receive(asked)):
                _send(answered, *message)


def _answers(what: dict[str, Any], page: bytes) -> Iterator[_Message]:
    order = TransformSpec.from_json(what)
    try:
        if what["work"] == "derive":
            made, table_of = transform(page, order)
            yield {"edited": made.edited, "origins": made.origins}, made.body if made.edited else b""
            yield {}, table_of().encode("ascii")
        elif what["work"] == "release":
            found = find_release(page, what["version"])
            yield {"version": str(found.version), "files": found.files} if found else {}, b""
        else:
            left = filtered(page, order, frozenset(what["dropped"]))
            yield {"dropped": left.dropped, "kept": left.kept}, left.body if left.dropped else b""
    except BrokenPage as error:
        yield {"broken": str(error)}, b""


def _send(pipe: IO[bytes], what: dict[str, Any], page: bytes) -> None:
    head = json.dumps(what).encode()
    for part in (_LENGTHS.pack(len(head), len(page)) + head, page):
        view = memoryview(part)
        while view:
            view = view[pipe.write(view) :]


def _receive(pipe: IO[bytes]) -> _Message:
    head, page = _LENGTHS.unpack(_read(pipe, _LENGTHS.size))
    return json.loads(_read(pipe, head)), _read(pipe, page)


def _read(pipe: IO[bytes], count: int) -> bytes:
    """So many bytes; EOFError where they do not come."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = pipe.readinto(view)  # type: ignore[attr-defined]  # of a raw file
        if not got:
            raise EOFError("it has ended")
        view = view[got:]
    return bytes(data)
