"""What the benchmarks share: curl with its clock, medians, Markdown tables, processor time and memory of a process, a stage.

The machine is small and others work on it too, so a figure alone says little: everything that is compared is measured in turns
within one run, several times, and given as a median with its range.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.authority import Authority
from tests.support.clients import bare_env
from tests.support.clock import VARIABLE as CLOCK
from tests.support.names import file_url
from tests.support.proxy import Options, Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel

MB: Final = 1_000_000
_WRITE_OUT: Final = "%{http_code} %{size_download} %{time_pretransfer} %{time_starttransfer} %{time_total}"


# Clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One download by curl; times in seconds since curl began."""

    status: int
    size: int
    asked: float
    """When CONNECT and TLS were done and the request went out."""
    first_byte: float
    total: float

    @property
    def rate(self) -> float:
        """Bytes a second from the request on."""
        return self.size / (self.total - self.asked)


class Curl:
    """A curl under way. It speaks HTTP/1.1, trusts `ca` alone and knows nothing of this machine's settings."""

    def __init__(
        self,
        url: str,
        *,
        ca: Path,
        proxy: str | None = None,
        connect_to: str | None = None,
        limit_rate: int | None = None,
        args: Sequence[str] = (),
    ) -> None:
        """`connect_to`: host:port that every connection goes to instead. `limit_rate`: bytes a second that it reads."""
        words = ["curl", "--disable", "--silent", "--show-error", "--http1.1", "--cacert", str(ca)]
        words += ["--output", "/dev/null", "--write-out", _WRITE_OUT]
        words += ["--proxy", proxy] if proxy else []
        words += ["--connect-to", f"::{connect_to}"] if connect_to else []
        words += ["--limit-rate", str(limit_rate)] if limit_rate else []
        self.process = subprocess.Popen(
            [*words, *args, url], env=bare_env(Path(tempfile.gettempdir())), stdout=subprocess.PIPE, text=True
        )

    def result(self) -> Transfer:
        """Wait for its end. Raises RuntimeError where it did not get all."""
        output = self.process.communicate()[0]
        if self.process.returncode:
            raise RuntimeError(f"curl: exit {self.process.returncode}")
        status, size, asked, first_byte, total = output.split()
        if status != "200":
            raise RuntimeError(f"curl: status {status}")
        return Transfer(
            status=200, size=int(size), asked=float(asked), first_byte=float(first_byte), total=float(total)
        )

    def leave(self) -> None:
        """End it, finished or not."""
        self.process.kill()
        self.process.communicate()


# Processes


def memory(pid: int, field: str = "VmRSS") -> int:
    """Resident bytes of a process: now (`VmRSS`) or at most so far (`VmHWM`)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} is gone")


def reset_peak(pid: int) -> None:
    """Let `VmHWM` count from here."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descendants(pid: int) -> list[int]:
    """A process and all that have come from it and live."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def processor_seconds(pid: int) -> float:
    """Processor time so far of a process and its children, be they alive or waited for."""
    ticks = 0
    for each in descendants(pid):
        with suppress(OSError):  # one that has just ended
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


# The stage


class Stage:
    """A scripted mirror in this process, and proxies before it, in one temporary folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._proxies = 0
        self.authority = Authority(folder)
        self.upstream = stack.enter_context(Upstream(self.authority))
        self.small = make_wheel("small")
        self.upstream.add(self.small)

    def wheel(self, size: int, name: str = "huge") -> ReleaseFile:
        """Publish a wheel of about `size` stored bytes, kept on disk."""
        release = make_wheel(name, payload_size=size, seed=1, folder=self.folder / "wheels")
        self.upstream.add(release)
        return release

    def new_folder(self) -> Path:
        """A folder for one more process."""
        self._proxies += 1
        return self.folder / f"process-{self._proxies}"

    @contextmanager
    def proxy(
        self,
        *,
        index: str | None = None,
        ca: Path | None = None,
        options: Options | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Proxy]:
        """This project's proxy with an empty store; it has answered a small request on both hosts.

        `index` and `ca`: another upstream than the scripted one, which must have `small` too.
        """
        with Proxy(
            self.new_folder(),
            options={"pypi_cache_index": f"pypi={index or self.upstream.index_url}", **(options or {})},
            upstream_ca=ca or self.authority.bundle,
            args=args,
            env={CLOCK: "", **(env or {})},
            timeout=60,
        ) as proxy:
            self.warm(proxy)
            yield proxy

    def settle(self, proxy: Proxy) -> None:
        """Wait until what was fetched is in the store, and a hit is a hit."""
        while any((proxy.store / "growing").iterdir()):
            time.sleep(0.1)
        time.sleep(2)

    def warm(self, proxy: Proxy) -> None:
        """One small request, so that certificates, connections and code are there, as in a proxy in use."""
        Curl(file_url(self.small), ca=proxy.ca, proxy=proxy.url).result()


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage that is cleared away at the end."""
    with tempfile.TemporaryDirectory(prefix="pypi-cache-bench-") as folder, ExitStack() as stack:
        yield Stage(Path(folder), stack)


# Figures


def spread(values: Sequence[float], unit: str = "", digits: int = 0, scale: float = 1.0) -> str:
    """The median and, in brackets, the range.

    >>> spread([3.0, 1.0, 2.0], "s")
    '2 s (1–3)'
    """
    low, middle, high = (value * scale for value in (min(values), statistics.median(values), max(values)))
    text = f"{middle:,.{digits}f}{f' {unit}' if unit else ''}"
    return text if len(values) == 1 else f"{text} ({low:,.{digits}f}–{high:,.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    3.0
    """
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n**{title}**\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line on standard error, so that standard output has the tables alone."""
    print(text, file=sys.stderr, flush=True)


def main(
    run: Callable[[argparse.Namespace], None],
    doc: str | None,
    *,
    repeat: int,
    further: Callable[[argparse.ArgumentParser], object] = lambda _: None,
    **options: str,
) -> None:
    """Parse the command line (`--repeat`, a switch for each of `options`, and `further` ones), run, and say how busy the machine was."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument(
        "--repeat", type=int, default=repeat, help="how often each figure is measured (default: %(default)s)"
    )
    for name, text in options.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    further(parser)
    arguments = parser.parse_args()
    started = time.monotonic()
    before = os.getloadavg()[0]
    run(arguments)
    print(
        f"\nMedian (range) of {arguments.repeat}, peers in turns; {os.cpu_count()} cores, load {before:.1f} before; "
        f"{time.monotonic() - started:.0f} s."
    )
