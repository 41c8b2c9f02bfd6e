"""Parses large pages in a process of its own: while Python parses 5 MB on a thread, the event loop waits for the interpreter's lock.

The process (`worker_process`) is this Python with this code's search path, spoken to over pipes (`worker_pipe`), started when the first
large page comes. It ends with the proxy, however that ends, because its standard input is then closed. Where no process can be started,
the thread that asked does the work itself. A page that was too much for the process, for its memory or its time, is a `BrokenPage`:
the proxy's own process never tries it.

It is no `ProcessPoolExecutor`: that forks a threaded parent or imports the main module (mitmproxy's) anew, pickles 5 MB pages, is
broken for good once a child dies, cannot answer in two parts, and its children get the terminal's Ctrl-C, which is for the proxy.

A transformed page is answered by two messages, the page and then its file table, so that the client need not wait for the table.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from packaging.version import Version

from pkgcache.engine.pages.worker_pipe import Message, PipeEnd, in_time
from pkgcache.engine.pages.worker_process import marked, without_files
from pkgcache.rules.simple.json_api_build import Release, build_document, find_release
from pkgcache.rules.simple.page_model import BrokenPage
from pkgcache.rules.simple.removal import Filtered
from pkgcache.rules.simple.transform import TransformedPage, TransformSpec, transform

logger = logging.getLogger(__name__)

LARGE: Final = 128 * 1024
"""Bytes of a page from which on the process works on it: a smaller one takes a few milliseconds."""

DENSE: Final = {b"<": 2000, b"{": 2000, b"[": 8000, b",": 8000, b"=": 8000, b"&": 8000}
"""So many tags, objects, elements, attributes or references make a page count as large: each of them costs a step in Python. Usual
pages of LARGE bytes have 1,300 tags or 2,500 commas; 12,000 odd links took 0.9 s, 30,000 attributes and 40,000 references 0.4 s."""

PAGE_SECONDS: Final = 20.0
"""The process gets this long for a page by the proxy's clock, and then is killed. 32 MB and 40,000 files take 2 to 5 s of a processor."""

CLOSE_SECONDS: Final = 2.0
"""The process gets this long to end by itself, then it is killed. In the middle of a page it is killed at once."""

_CHILD = ("pkgcache.engine.pages.worker_process", "serve")
_PIPE_BYTES: Final = 1 << 20
"""Of a pipe's buffer: at the usual 64 KiB a page of 5 MB takes 80 switches between the processes. The most that Linux lets anyone have."""


def is_large(page: bytes) -> bool:
    """Whether the process works on a page, or on a wheel's METADATA."""
    return len(page) >= LARGE or any(page.count(mark) >= most for mark, most in DENSE.items())


class PageWorker:
    """The process and its pipes. Its methods block: they are for threads, of which one at a time has the process.

    Each method works on a small page on the calling thread: handing it over would take longer than the work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: PipeEnd | None = None
        self._usable = not getattr(sys, "frozen", False)
        self._closed = False
        self._has_worked = False

    def transform[T](
        self, page: bytes, spec: TransformSpec, then: Callable[[TransformedPage], T]
    ) -> tuple[TransformedPage, T, str]:
        """The transformed page, what `then` makes of it, and the text of its FileTable. Raises BrokenPage.

        The process makes that text while `then` compresses the page here.
        """
        if is_large(page):
            with self._lock:
                if answer := self._ask("transform", page, spec.to_json()):
                    head, body = answer
                    edited = head["edited"]
                    transformed = TransformedPage(
                        body=body if edited else page, edited=edited, origins=tuple(head["origins"])
                    )
                    try:
                        done = then(transformed)
                    finally:
                        table = self._second()  # in any case: or the next page would be answered with it
                    return transformed, done, table[1].decode("ascii")
        transformed, table_of = transform(page, spec)
        return transformed, then(transformed), table_of()

    def remove(self, page: bytes, spec: TransformSpec, names: frozenset[str]) -> Filtered:
        """A page without the files of these names. Raises BrokenPage."""
        if is_large(page):
            with self._lock:
                answer = self._ask("remove", page, {"names": sorted(names), **spec.to_json()})
            if answer:
                head, body = answer
                return Filtered(body=body if head["dropped"] else page, dropped=head["dropped"], kept=head["kept"])
        return without_files(page, spec, names)

    def mark(self, page: bytes, spec: TransformSpec, reasons: Mapping[str, str]) -> bytes:
        """A page with files marked as yanked, by name; the very object if it has none of them. Raises BrokenPage."""
        if is_large(page):
            with self._lock:
                answer = self._ask("mark", page, {"reasons": dict(reasons), **spec.to_json()})
            if answer:
                return answer[1] if answer[0]["edited"] else page
        return marked(page, spec, reasons)

    def release(self, page: bytes, version: str) -> Release | None:
        """The files of one release (`find_release`). Raises BrokenPage."""
        if is_large(page):
            with self._lock:
                answer = self._ask("release", page, {"version": version})
            if answer:
                head = answer[0]
                return Release(version=Version(head["version"]), files=tuple(head["files"])) if head else None
        return find_release(page, version)

    def document(self, project: str, release: Release, metadata: bytes | None, page: bytes | None) -> bytes:
        """A document of the JSON API (`build_document`). Raises BrokenPage."""
        if is_large(page or b"") or is_large(metadata or b""):
            about = {"project": project, "version": str(release.version), "files": release.files}
            with self._lock:
                text = None if metadata is None else metadata.decode("latin-1")
                answer = self._ask("document", page or b"", {**about, "metadata": text})
            if answer:
                return answer[1]
        return build_document(project, release, metadata, page)

    def close(self) -> None:
        """End the process; a page that it works on is given up."""
        self._closed = True  # before the lock, which whoever works on a page has
        with self._lock:
            self._end()

    def _ask(self, work: str, page: bytes, more: dict[str, Any]) -> Message | None:
        """The process's answer; None where no process can be started. Needs the lock. Raises BrokenPage."""
        for again in (False, True):
            if self._pipe is None and not self._start():
                return None
            assert self._pipe is not None
            deadline = in_time(PAGE_SECONDS)
            try:
                self._pipe.send({"work": work, **more}, page, deadline)
                message = self._pipe.receive(deadline)
                if "last" in message[0] and self._has_worked:
                    self._end()  # what other pages have left on its heap may have been in the way: a new one has all its memory
                    continue
                self._has_worked = True
                return self._answered(message)
            except BrokenPage:
                raise
            except (OSError, EOFError, ValueError) as error:
                self._end(kill=True)
                if again:
                    raise BrokenPage(f"the process for large pages ended at it, twice ({error})") from error
                # It may have been killed for another reason, or before this page.
                logger.warning("the process for large pages ended (%s); a new one works on the page", error)
        raise AssertionError("the second try returns or raises")

    def _second(self) -> Message:
        """The second message of an answer. Raises BrokenPage."""
        assert self._pipe is not None
        try:
            return self._answered(self._pipe.receive(in_time(PAGE_SECONDS)))
        except BrokenPage:
            raise
        except (OSError, EOFError, ValueError) as error:
            self._end(kill=True)
            raise BrokenPage(f"the process for large pages ended at it ({error})") from error

    def _answered(self, message: Message) -> Message:
        """The message, unless it says that the page is broken."""
        head = message[0]
        if "broken" in head:
            if head.get("last"):
                self._end()
            raise BrokenPage(head["broken"])
        return message

    def _give_up(self, deadline: float) -> None:
        """Raise BrokenPage where the proxy is stopping, or the time for the page is over; the process is killed first."""
        if self._closed:
            self._end(kill=True)
            raise BrokenPage("the proxy is stopping")
        if time.monotonic() > deadline:
            self._end(kill=True)
            raise BrokenPage(f"it takes more than {PAGE_SECONDS:g} s to work on")

    def _start(self) -> bool:
        """Start the process, and wait until it is there. One that cannot be started is not tried again."""
        if self._closed:
            raise BrokenPage("the proxy is stopping")
        if not self._usable:
            return False
        code = f"import sys; sys.path[:] = sys.argv[1:]; import {_CHILD[0]} as work; work.{_CHILD[1]}()"
        path = [entry for entry in sys.path if entry]
        try:
            self._process = subprocess.Popen(  # noqa: S603  this very Python, and this very code
                [sys.executable, "-I", "-S", "-c", code, *path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is the proxy's
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(AttributeError, OSError):  # Linux alone, and bounded by the user's limit
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._pipe = PipeEnd(self._process.stdout.fileno(), self._process.stdin.fileno(), self._give_up)
            self._pipe.receive(in_time(PAGE_SECONDS))
            self._has_worked = False
        except (OSError, EOFError, ValueError, BrokenPage) as error:
            self._end(kill=True)
            if self._closed:
                raise BrokenPage("the proxy is stopping") from error
            self._usable = False
            logger.warning("no process for large pages can be started (%s): the proxy's own works on them", error)
            return False
        return True

    def _end(self, *, kill: bool = False) -> None:
        process, self._process, self._pipe = self._process, None, None
        if process is None:
            return
        if kill:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
