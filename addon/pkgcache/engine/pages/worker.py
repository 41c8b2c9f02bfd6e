"""Parses large pages in a process of its own: while Python parses 5 MB on a thread, the event loop waits for the interpreter's lock.

The process is this Python with this code's search path, spoken to over pipes, started when the first large page comes. It ends with
the proxy, however that ends, because its standard input is then closed. Where it cannot be started, or dies at a page, the thread that
asked does the work itself.

It is no `ProcessPoolExecutor`: that forks a threaded parent or imports the main module (mitmproxy's) anew, pickles 5 MB pages, is
broken for good once a child dies, cannot answer in two parts, and its children get the terminal's Ctrl-C, which is for the proxy.

A message, either way: two lengths, a JSON text, and a page's bytes. A transformed page is answered by two messages, the page and then
its file table, so that the client need not wait for the table.
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
"""Bytes of a page from which on the process works on it: a smaller one takes a few milliseconds."""

CLOSE_SECONDS: Final = 2.0
"""The process gets this long to end by itself, then it is killed."""

_LENGTHS: Final = struct.Struct(">QQ")
_PIPE_BYTES: Final = 1 << 20
"""Of a pipe's buffer: at the usual 64 KiB a page of 5 MB takes 80 switches between the processes. The most that Linux lets anyone have."""

_NICE: Final = 5
"""Where processors are few, hits go before new pages."""


def without_files(page: bytes, spec: TransformSpec, names: frozenset[str]) -> Filtered:
    """A page without the files of these names, made on the calling thread. Raises BrokenPage."""
    if spec.document:
        return remove_files_of_document(page, lambda link: link.filename in names)
    return remove_files(page, spec.wanted, lambda link: link.filename in names)


class PageWorker:
    """The process and its pipes. Its methods block: they are for threads, of which one at a time has the process.

    Each method works on a small page on the calling thread: handing it over would take longer than the work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._usable = not getattr(sys, "frozen", False)
        self._proven = False  # it has answered once
        self._closed = False

    def transform[T](
        self, page: bytes, spec: TransformSpec, then: Callable[[TransformedPage], T]
    ) -> tuple[TransformedPage, T, str]:
        """The transformed page, what `then` makes of it, and the text of its FileTable. Raises BrokenPage.

        The process makes that text while `then` compresses the page here.
        """
        if len(page) >= LARGE:
            with self._lock:
                if answer := self._ask("transform", page, spec):
                    head, body = answer
                    edited = head["edited"]
                    transformed = TransformedPage(
                        body=body if edited else page, edited=edited, origins=tuple(head["origins"])
                    )
                    try:
                        done = then(transformed)
                    finally:
                        table = self._receive()  # in any case: or the next page would be answered with it
                    if table is not None:
                        return transformed, done, table[1].decode("ascii")
        transformed, table_of = transform(page, spec)
        return transformed, then(transformed), table_of()

    def remove(self, page: bytes, spec: TransformSpec, names: frozenset[str]) -> Filtered:
        """A page without the files of these names. Raises BrokenPage."""
        if len(page) >= LARGE:
            with self._lock:
                answer = self._ask("remove", page, spec, names=sorted(names))
            if answer:
                head, body = answer
                return Filtered(body=body if head["dropped"] else page, dropped=head["dropped"], kept=head["kept"])
        return without_files(page, spec, names)

    def release(self, page: bytes, spec: TransformSpec, version: str) -> Release | None:
        """The files of one release (`find_release`)."""
        if len(page) >= LARGE:
            with self._lock:
                answer = self._ask("release", page, spec, version=version)
            if answer:
                head = answer[0]
                return Release(version=Version(head["version"]), files=tuple(head["files"])) if head else None
        return find_release(page, version)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._end()

    def _ask(self, work: str, page: bytes, spec: TransformSpec, **more: Any) -> _Message | None:
        """The process's answer; None where there is no process to be had. Needs the lock. Raises BrokenPage."""
        if not self._usable or self._closed:
            return None
        try:
            process = self._process or self._start()
            assert process.stdin is not None
            _send(process.stdin, {"work": work, **more, **spec.to_json()}, page)
        except OSError as error:
            self._fail(error)
            return None
        answer = self._receive()
        if answer is not None and "broken" in answer[0]:
            raise BrokenPage(answer[0]["broken"])
        return answer

    def _receive(self) -> _Message | None:
        """The process's next message; None where there is none."""
        if self._process is None:
            return None
        try:
            assert self._process.stdout is not None
            message = _receive(self._process.stdout)
        except (OSError, EOFError, ValueError) as error:
            self._fail(error)
            return None
        self._proven = True
        return message

    def _fail(self, error: Exception) -> None:
        """End a process that failed. One that has never answered is not tried again: the next would fail in the same way."""
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
    """Run the process itself: answer messages until the proxy is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    gc.disable()  # a page is very many values, none of them in a reference cycle
    with (
        open(0, "rb", buffering=0) as requests,
        open(1, "wb", buffering=0) as answers,
        contextlib.suppress(EOFError, BrokenPipeError),
    ):
        while True:
            for message in _answer(*_receive(requests)):
                _send(answers, *message)


def _answer(head: dict[str, Any], page: bytes) -> Iterator[_Message]:
    spec = TransformSpec.from_json(head)
    try:
        if head["work"] == "transform":
            transformed, table_of = transform(page, spec)
            body = transformed.body if transformed.edited else b""
            yield {"edited": transformed.edited, "origins": transformed.origins}, body
            yield {}, table_of().encode("ascii")
        elif head["work"] == "release":
            release = find_release(page, head["version"])
            yield {"version": str(release.version), "files": release.files} if release else {}, b""
        else:
            left = without_files(page, spec, frozenset(head["names"]))
            yield {"dropped": left.dropped, "kept": left.kept}, left.body if left.dropped else b""
    except BrokenPage as error:
        yield {"broken": str(error)}, b""


def _send(pipe: IO[bytes], head: dict[str, Any], page: bytes) -> None:
    text = json.dumps(head).encode()
    for data in (_LENGTHS.pack(len(text), len(page)) + text, page):
        view = memoryview(data)
        while view:
            view = view[pipe.write(view) :]


def _receive(pipe: IO[bytes]) -> _Message:
    head, page = _LENGTHS.unpack(_read(pipe, _LENGTHS.size))
    return json.loads(_read(pipe, head)), _read(pipe, page)


def _read(pipe: IO[bytes], count: int) -> bytes:
    """Exactly `count` bytes. Raises EOFError where the pipe ends before."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = pipe.readinto(view)  # type: ignore[attr-defined]  # of a raw file
        if not got:
            raise EOFError("it has ended")
        view = view[got:]
    return bytes(data)
