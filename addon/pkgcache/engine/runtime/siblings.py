"""The workers of one proxy tell each other how they are: each listens on a Unix socket, in a folder that their user alone can enter.

Whoever comes there gets one JSON object, on one line. The one that a client has asked adds them up, and waits for half a second at most: a
worker that is stopped, or busy for so long, is named and not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.runtime.seat import Seat
from pkgcache.engine.runtime.sum_of_all import CPU, NOTHING, Everyone, Report, Snapshot, added_up, inherit

WAIT_SECONDS: Final = 0.5
MOST_BYTES: Final = 1 << 20

_NO_REPORT: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class Siblings:
    """One worker's side. `report` tells how this one is; `metrics` are its counters."""

    def __init__(self, seat: Seat, report: Callable[[], Report], metrics: Metrics) -> None:
        self._seat = seat
        self._folder = Path(seat.folder)
        self._report = report
        self._telling = asyncio.Lock()
        inherited = _read(self._figures_file(seat.number))
        self._cpu_before: float = inherited["process"].get(CPU, 0)
        inherit(metrics, inherited)

    async def serve(self) -> None:
        """Tell whoever asks, until this is cancelled."""
        with _short_path(self._folder) as folder:
            server = await asyncio.start_unix_server(self._tell, f"{folder}/{self._seat.number}.socket")
            async with server:
                await server.serve_forever()

    async def everyone(self) -> Everyone:
        """Return the figures of all workers together."""
        others = [number for number in range(1, self._seat.count + 1) if number != self._seat.number]
        own, told = await asyncio.gather(self._own(), asyncio.gather(*map(self._ask, others)))
        reports = [own, *filter(None, told)]
        missing = {number for number, report in zip(others, told, strict=True) if report is None}
        last = {number: _read(self._figures_file(number)) for number in missing}
        return added_up(reports, last)

    async def _own(self) -> Report:
        """Return this worker's report, once its figures are kept for its successor: what was told must not be taken back."""
        async with self._telling:
            report = self._report()
            process = report.snapshot["process"]
            told = {**report.snapshot, "process": {**process, CPU: process.get(CPU, 0) + self._cpu_before}}
            with contextlib.suppress(OSError):
                async with asyncio.timeout(WAIT_SECONDS):
                    await asyncio.to_thread(_write, self._figures_file(self._seat.number), told)
        return replace(report, snapshot=told)

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(json.dumps(asdict(await self._own())).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _ask(self, number: int) -> Report | None:
        with contextlib.suppress(OSError, *_NO_REPORT):
            async with asyncio.timeout(WAIT_SECONDS):
                with _short_path(self._folder) as folder:
                    reader, writer = await asyncio.open_unix_connection(f"{folder}/{number}.socket", limit=MOST_BYTES)
                try:
                    return _report_of(await reader.readline(), number)  # ValueError for more than MOST_BYTES
                finally:
                    writer.close()
        return None

    def _figures_file(self, number: int) -> Path:
        return self._folder / f"{number}.json"


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Give a name of a folder that is short enough for a Unix socket's address, which has 108 bytes (unix(7))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _report_of(line: bytes, number: int) -> Report:
    """Read what a worker tells. Raises one of _NO_REPORT for what is none: the figures of the others are still to be told."""
    report = Report(**json.loads(line))
    if report.number != number or not isinstance(report.started, int | float):
        raise ValueError(report.number)
    added_up([report], {})
    return report


def _write(path: Path, told: Snapshot) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.replace(path)


def _read(path: Path) -> Snapshot:
    try:
        return {**NOTHING, **json.loads(path.read_text())}
    except (OSError, ValueError, TypeError):
        return NOTHING
