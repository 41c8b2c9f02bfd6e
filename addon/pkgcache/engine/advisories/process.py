"""Runs the process that reads advisories (`reading`), and hands over the index that it makes: a few MB, of which nothing is parsed here."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from pkgcache.engine.advisories.reading import UNCHANGED, UnreadableError

SECONDS: Final = 300.0
"""The process gets this long by the clock; it has a limit of processor time too."""

MAX_INDEX: Final = 64 << 20
"""Bytes of an index, which stay in memory. That of 35,000 records has 2 MB."""

_CHILD: Final = "pkgcache.engine.advisories.reading"
_STEP: Final = 256 * 1024


async def read_advisories(source: Path | IO[bytes], known: str = "") -> bytes:
    """The index of a source; `UNCHANGED` where its signature is the `known` one. Raises UnreadableError.

    Cancelling it ends the process.
    """
    given = source if not isinstance(source, Path) else subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *command(source, known),
        stdin=given,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the proxy's
    )
    try:
        async with asyncio.timeout(SECONDS):
            assert process.stdout is not None
            parts: list[bytes] = []
            size = 0
            while part := await process.stdout.read(_STEP):
                parts.append(part)
                size += len(part)
                if size > MAX_INDEX:
                    raise UnreadableError(f"its index would be larger than {MAX_INDEX >> 20} MiB")
            await process.wait()
    except TimeoutError:
        raise UnreadableError(f"reading it takes more than {SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return answer_of(b"".join(parts), process.returncode)


def command(source: Path | IO[bytes], known: str = "") -> list[str]:
    """The process's command line: this very Python, and this very code."""
    code = f"import sys; sys.path[:] = sys.argv[3:]; import {_CHILD} as work; work.serve()"
    path = [entry for entry in sys.path if entry]
    shown = str(source.absolute()) if isinstance(source, Path) else ""
    return [sys.executable, "-I", "-S", "-c", code, shown, known, *path]


def answer_of(answer: bytes, code: int | None) -> bytes:
    """What the process has answered, if it is an index or `UNCHANGED`. Raises UnreadableError."""
    if answer == UNCHANGED:
        return answer
    if answer.startswith(b"!"):
        raise UnreadableError(answer[1:].decode(errors="replace").strip())
    if code or not answer.endswith(b"\n"):
        raise UnreadableError(f"the process that reads it has ended (exit code {code})")
    return answer
