"""What runs in the process for large pages: it answers one message after another, until the proxy is gone.

Its memory has a limit, so that no page can take the machine's. What a page makes it raise is an answer like any other; a page that was
too much for its memory is its last, so that what the page took is given back.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any, Final

from packaging.version import Version

from pkgcache.engine.pages.worker_pipe import Message, PipeEnd
from pkgcache.rules.simple.json_api import remove_files_of_document
from pkgcache.rules.simple.json_api_build import Release, build_document, find_release
from pkgcache.rules.simple.limits import PROCESS_MEMORY
from pkgcache.rules.simple.page_model import BrokenPage, broken_by
from pkgcache.rules.simple.removal import Filtered, remove_files
from pkgcache.rules.simple.transform import TransformSpec, transform
from pkgcache.rules.simple.yanking import mark_yanked, mark_yanked_in_document

_NICE: Final = 5
"""Where processors are few, hits go before new pages."""


def without_files(page: bytes, spec: TransformSpec, names: frozenset[str]) -> Filtered:
    """A page without the files of these names, made on the calling thread. Raises BrokenPage."""
    if spec.document:
        return remove_files_of_document(page, lambda link: link.filename in names)
    return remove_files(page, spec.wanted, lambda link: link.filename in names)


def marked(page: bytes, spec: TransformSpec, reasons: Mapping[str, str]) -> bytes:
    """A page with files marked as yanked, by name, made on the calling thread; the very object if it has none. Raises BrokenPage."""
    return mark_yanked_in_document(page, reasons) if spec.document else mark_yanked(page, spec.wanted, reasons)


def serve() -> None:
    """Run the process itself: answer messages until the proxy is gone. The first message says that it is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    gc.disable()  # a page is very many values, none of them in a reference cycle
    _limit_memory()
    pipe = PipeEnd(0, 1)
    with contextlib.suppress(EOFError, BrokenPipeError, MemoryError):
        pipe.send({}, b"")
        while _answer_one(pipe):
            pass


def _answer_one(pipe: PipeEnd) -> bool:
    """Answer the next message; returns whether to go on. Raises EOFError and BrokenPipeError where the proxy is gone."""
    head, page = pipe.receive_buffer()
    try:
        for message in _answer(head, page):
            pipe.send(*message)
            del message  # it may be 64 MB, and the next one is made now
    except BrokenPipeError:
        raise
    except BrokenPage as error:
        pipe.send({"broken": str(error)}, b"")
        return True
    except MemoryError:
        pass  # it is answered below, when the exception's frames have let go of the memory
    except Exception as error:  # noqa: BLE001  whatever a page does, it is the page that is refused
        pipe.send({"broken": str(broken_by(error))}, b"")
        return True
    else:
        return True
    del head, page
    pipe.send({"broken": f"it takes more than {PROCESS_MEMORY >> 20} MiB of memory", "last": True}, b"")
    return False


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # where the system has no such limit
        import resource  # noqa: PLC0415  not on every system

        resource.setrlimit(resource.RLIMIT_AS, (PROCESS_MEMORY, PROCESS_MEMORY))


def _answer(head: dict[str, Any], page: Any) -> Iterator[Message]:
    """The answer's messages. `page`: a bytearray, which all that reads a page takes as it takes bytes."""
    work = head["work"]
    if work == "release":
        release = find_release(page, head["version"])
        yield {"version": str(release.version), "files": release.files} if release else {}, b""
        return
    if work == "document":
        release = Release(version=Version(head["version"]), files=tuple(head["files"]))
        metadata = None if head["metadata"] is None else head["metadata"].encode("latin-1")
        yield {}, build_document(head["project"], release, metadata, page or None)
        return
    spec = TransformSpec.from_json(head)
    if work == "transform":
        transformed, table_of = transform(page, spec, page.clear)
        yield (
            {"edited": transformed.edited, "origins": transformed.origins},
            transformed.body if transformed.edited else b"",
        )
        del transformed
        yield {}, table_of().encode("ascii")
    elif work == "mark":
        made = marked(page, spec, head["reasons"])
        yield {"edited": made is not page}, b"" if made is page else made
    else:
        left = without_files(page, spec, frozenset(head["names"]))
        yield {"dropped": left.dropped, "kept": left.kept}, left.body if left.dropped else b""
