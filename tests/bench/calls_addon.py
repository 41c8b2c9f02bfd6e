"""Counts what a request passes through: entries into functions of the package on the main thread, by `sys.setprofile`.

`mitmdump -s addon/pypi_cache.py -s tests/bench/calls_addon.py`, with BENCH_CALLS naming a file. SIGUSR1 begins a count, SIGUSR2 ends it
and writes it there as JSON: [[file, function], …] in order. Signal handlers run on the main thread, where the event loop is.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = f"{os.sep}pkgcache{os.sep}"


class CallCounter:
    """Notes each entry; the resumption of a generator or a coroutine counts as one, as it does for the interpreter."""

    def __init__(self) -> None:
        self.target = Path(os.environ["BENCH_CALLS"])
        self.entries: list[tuple[str, str]] = []
        signal.signal(signal.SIGUSR1, self.begin)
        signal.signal(signal.SIGUSR2, self.end)

    def begin(self, *_: object) -> None:
        """Forget what was counted, and count from here."""
        self.entries.clear()
        sys.setprofile(self.note)

    def end(self, *_: object) -> None:
        """Write what was counted."""
        sys.setprofile(None)
        unfinished = self.target.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.entries))
        unfinished.rename(self.target)

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """One event of the interpreter."""
        code = frame.f_code
        if event == "call" and PACKAGE in code.co_filename and not code.co_qualname.startswith("<module>"):
            self.entries.append((code.co_filename.partition(PACKAGE)[2], code.co_qualname))


addons = [CallCounter()]
