"""A herd: 50 cold clients of one 24 MB file, and 8 of one 200 MB file, against a lone cold client in the same run.

The upstream is paced at 4 MB/s for each answer (8 × 200 MB: 25 MB/s), or the processor of this machine would be what is measured.
"""

import argparse
from collections.abc import Sequence
from typing import Final

from tests.bench import tools
from tests.bench.tools import MB, Curl, Stage, Transfer, median, note, spread, stage
from tests.support.behaviour import Behaviour
from tests.support.names import file_url
from tests.support.wheels import ReleaseFile

CASES: Final = ((50, 24 * MB, 4 * MB), (8, 200 * MB, 25 * MB))


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    rows = []
    with stage() as here:
        for clients, size, pace in CASES:
            wheel = here.wheel(size, f"herd{clients}")
            here.upstream.script(Behaviour(f"/herd{clients}-", pace=pace))
            lone: list[float] = []
            slowest: list[float] = []
            fastest: list[float] = []
            gets: list[int] = []
            for number in range(arguments.repeat):
                lone.append(_ask(here, wheel, 1)[0][0].total)
                transfers, count = _ask(here, wheel, clients)
                slowest.append(max(each.total for each in transfers))
                fastest.append(min(each.total for each in transfers))
                gets.append(count)
                note(
                    f"{clients} clients, {number + 1}: lone {lone[-1]:.2f} s, slowest {slowest[-1]:.2f} s, GETs {count}"
                )
            rows.append(
                (
                    f"{clients} × {size // MB} MB, upstream {pace // MB} MB/s",
                    ", ".join(str(count) for count in sorted(set(gets))),
                    spread(lone, "s", 2),
                    spread(fastest, "s", 2),
                    spread(slowest, "s", 2),
                    f"{median(slow / alone for slow, alone in zip(slowest, lone, strict=True)):.2f} ×",
                )
            )
    header = (
        "cold clients at once",
        "upstream GETs",
        "a lone client",
        "fastest of the herd",
        "slowest",
        "slowest : lone",
    )
    tools.table("A herd, cold", header, rows)


def _ask(here: Stage, wheel: ReleaseFile, clients: int) -> tuple[Sequence[Transfer], int]:
    """So many clients of a new proxy at once, and how many GETs the upstream saw. All must get all bytes."""
    with here.proxy() as proxy:
        before = here.upstream.count(method="GET", path_contains=wheel.filename)
        herd = [Curl(file_url(wheel), ca=proxy.ca, proxy=proxy.url) for _ in range(clients)]
        transfers = [each.result() for each in herd]
        assert all(each.size == wheel.size for each in transfers)
        return transfers, here.upstream.count(method="GET", path_contains=wheel.filename) - before


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=3)
