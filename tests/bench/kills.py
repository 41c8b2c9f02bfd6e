"""SIGKILL at 100 random instants of a fill, a restart, the same request again: right files, wrong hits, leftovers."""

import argparse
import random
from typing import Final

from tests.bench import tools
from tests.bench.tools import note, stage
from tests.e2e.test_kill import SPAN, Killed, kill_and_ask_again

KILLS: Final = 100


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    source = random.Random(41)
    done: list[Killed] = []
    wrong: list[str] = []
    with stage() as here, here.proxy() as proxy:
        for number in range(KILLS * arguments.repeat):
            try:
                done.append(kill_and_ask_again(proxy, here.upstream, number, source.uniform(0, SPAN)))
            except AssertionError as error:
                wrong.append(f"{number}: {error}")
                note(wrong[-1])
                if not proxy.alive:
                    proxy.start()
    fetched = [each.fetched for each in done]
    rows = [
        ("kills", str(len(done) + len(wrong))),
        ("right files, no leftover, no wrong hit", str(len(done))),
        ("of them before the last byte had come", str(sum(not each.committed for each in done))),
        ("of them after the commit (a hit)", str(sum(each.committed for each in done))),
        ("bytes fetched when killed", f"{min(fetched, default=0):,}–{max(fetched, default=0):,}"),
        ("wrong", "; ".join(wrong) or "0"),
    ]
    tools.table("kill -9 in mid fill", ("what", "count"), rows)


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1)
