"""Two mirrors that break off at 40 random offsets, one after the other: right files, and the longest that a client waited."""

import argparse
import random
from typing import Final

from tests.bench import tools
from tests.bench.tools import note, spread, stage
from tests.support.behaviour import Behaviour
from tests.support.names import file_url
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import fetch

CUTS: Final = 40
SIZE: Final = 3_000_000


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    source = random.Random(40)
    right, wrong, asked, seconds = 0, list[str](), list[int](), list[float]()
    with stage() as here, Upstream(here.authority) as second:
        second.add(here.small)
        with here.proxy(index=f"{here.upstream.index_url} {second.index_url}") as proxy:
            for number in range(CUTS * arguments.repeat):
                release = make_wheel(f"cut-{number}", payload_size=SIZE, seed=number)
                offsets = [source.randrange(SIZE) for _ in range(3)]
                for mirror in (here.upstream, second):
                    mirror.add(release)
                    mirror.script(
                        *(
                            Behaviour(f"/cut_{number}-", cut_after=at, skip=turn, times=1, reset=bool(at % 2))
                            for turn, at in enumerate(offsets)
                        )
                    )
                answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
                if answer.status == 200 and answer.complete and answer.sha256 == release.sha256:
                    right += 1
                else:
                    wrong.append(f"{offsets}: {answer.status} {answer.error or answer.sha256}")
                    note(wrong[-1])
                asked.append(sum(mirror.count(path_contains=release.filename) for mirror in (here.upstream, second)))
                seconds.append(answer.seconds)
    rows = [
        ("files", str(len(asked))),
        ("right", str(right)),
        ("upstream GETs a file", spread(asked)),
        ("seconds a file", spread(seconds, "s", 2)),
        ("wrong", "; ".join(wrong) or "0"),
    ]
    tools.table("Cut at random offsets, two mirrors", ("what", "figure"), rows)


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1)
