"""Where a process's time goes, by py-spy if it is installed (`pip install py-spy`): outside the product, and sampled."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PY_SPY: Final = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
_RATE: Final = 100
_WAITING: Final = re.compile(r"_worker \(.*concurrent/futures/thread\.py|select \(.*selectors\.py")
"""Threads that wait for work, which py-spy may take for busy ones."""

CATEGORIES: Final = (
    ("hash", r"rules/routing/digests\.py"),
    ("write to disk", r"_write \(.*engine/fills/"),
    ("read from disk", r"engine/responses/bodies\.py|_pread"),
    ("store (SQLite)", r"diskcache|engine/store/"),
    ("TLS to client", r"OpenSSL/SSL\.py"),
    ("TLS from upstream", r"asyncio/sslproto\.py"),
    ("HTTP from upstream (aiohttp)", r"aiohttp"),
    ("sockets", r"(_read_ready__\w+|_write_\w+|write|_write_ready|writelines) \(.*asyncio/selector_events\.py"),
    ("thread hand-over", r"concurrent/futures/|call_soon_threadsafe|_write_to_self|asyncio/futures\.py|threading\.py"),
    ("mitmproxy: HTTP/1 and its own hooks", r"mitmproxy/(net|proxy/layers/http|http\.py|addonmanager|hooks)"),
    ("mitmproxy: layers and connections", r"mitmproxy/"),
    ("this addon: decisions and headers", r"pkgcache/"),
    ("event loop", r"asyncio/|selectors\.py"),
)
"""A sample belongs to the first of its frames, from the innermost out, that one of these matches; tried in this order per frame."""


class Spy:
    """Samples a process from `with` to its end."""

    def __init__(self, pid: int) -> None:
        assert PY_SPY is not None, "no py-spy"
        self._output = Path(tempfile.mkdtemp()) / "stacks.txt"
        words = [PY_SPY, "record", "--pid", str(pid), "--format", "raw", "--rate", str(_RATE)]
        words += ["--full-filenames", "--threads", "--output", str(self._output)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    def stacks(self) -> Counter[tuple[str, ...]]:
        """Frames from the outermost in, with how many samples had them."""
        counted: Counter[tuple[str, ...]] = Counter()
        for line in self._output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = tuple(stack.split(";"))
            if not _WAITING.match(frames[-1]):
                counted[frames] += int(count)
        return counted

    def shares(self) -> list[tuple[str, float]]:
        """Each category's share of the samples in which a thread was busy, greatest first."""
        counted: Counter[str] = Counter()
        for stack, count in self.stacks().items():
            counted[_category(stack)] += count
        total = max(1, counted.total())
        return [(name, count / total) for name, count in counted.most_common()]

    def functions(self, limit: int = 12) -> list[tuple[str, float]]:
        """The innermost Python functions with the greatest shares."""
        counted: Counter[str] = Counter()
        for stack, count in self.stacks().items():
            counted[re.sub(r":\d+\)$", ")", re.sub(r"\(.*?([^/]+/[^/]+)\)$", r"(\1)", stack[-1]))] += count
        total = max(1, counted.total())
        return [(name, count / total) for name, count in counted.most_common(limit)]


def _category(stack: tuple[str, ...]) -> str:
    for frame in reversed(stack):
        for name, pattern in CATEGORIES:
            if re.search(pattern, frame):
                return name
    return "other"
