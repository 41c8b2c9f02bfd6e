"""Memory: 16 clients that read at 1 MB/s each, on a 1 GB hit and on 1 GB fills; resident memory over idle, sampled each second."""

import argparse
import time
from collections.abc import Sequence
from typing import Final

from tests.bench import tools
from tests.bench.tools import MB, Curl, Stage, memory, note, reset_peak, stage
from tests.support.names import file_url
from tests.support.proxy import Proxy
from tests.support.wheels import ReleaseFile

SIZE: Final = 1000 * MB
CLIENTS: Final = 16
RATE: Final = 1 * MB
SECONDS: Final = 25


def run(arguments: argparse.Namespace) -> None:
    """One table; each case in a process of its own."""
    rows = []
    with stage() as here:
        wheel = here.wheel(SIZE)
        for _ in range(arguments.repeat):
            with here.proxy() as proxy:
                Curl(file_url(wheel), ca=proxy.ca, proxy=proxy.url).result()
                here.settle(proxy)
                proxy.restart()
                here.warm(proxy)
                rows.append(_row("hit", here, proxy, wheel))
            for pace in (SIZE / SECONDS / 1.25, None):
                here.upstream.pace(pace)
                with here.proxy() as proxy:
                    name = "unpaced" if pace is None else f"at {pace / MB:.0f} MB/s"
                    rows.append(_row(f"fill, upstream {name}", here, proxy, wheel))
                here.upstream.pace(None)
    title = f"{CLIENTS} clients at {RATE // MB} MB/s each on a 1 GB file, {SECONDS} s"
    tools.table(title, ("", "idle", "median over idle", "most over idle", "peak (VmHWM) over idle", "client got"), rows)


def _row(name: str, here: Stage, proxy: Proxy, wheel: ReleaseFile) -> Sequence[str]:
    time.sleep(2)
    idle = memory(proxy.pid)
    reset_peak(proxy.pid)
    before = here.upstream.bytes_sent(path_contains=wheel.filename)
    clients = [Curl(file_url(wheel), ca=proxy.ca, proxy=proxy.url, limit_rate=RATE) for _ in range(CLIENTS)]
    samples = []
    for _ in range(SECONDS):
        time.sleep(1)
        samples.append(memory(proxy.pid) - idle)
    assert all(client.process.poll() is None for client in clients), proxy.output[-2000:]
    peak = memory(proxy.pid, "VmHWM") - idle
    fetched = here.upstream.bytes_sent(path_contains=wheel.filename) - before
    for client in clients:
        client.leave()
    if name == "hit":
        assert fetched == 0, "the upstream was asked for what the store should have"
    note(f"{name}: {[round(sample / MB) for sample in samples]}; upstream sent {fetched / MB:.0f} MB")
    return (
        name,
        f"{idle / MB:.0f} MB",
        f"{tools.median(samples) / MB:+.0f} MB",
        f"{max(samples) / MB:+.0f} MB",
        f"{peak / MB:+.0f} MB",
        f"about {SECONDS * RATE // MB} MB",
    )


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1)
