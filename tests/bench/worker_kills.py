"""50 SIGKILLs of random workers under load: each failed request is the killed worker's, pip and uv succeed, no byte is wrong or lost."""

import argparse
import json
import subprocess
import sys
from collections import Counter
from typing import Final

from tests.bench import tools
from tests.bench.tools import note, stage
from tests.e2e.test_worker_kills import kill_under_load, lost
from tests.support.clients import bare_env
from tests.support.proxy import PYPI_CACHE, Options, Proxy

KILLS: Final = 50
FILES: Final = 600
CLIENTS: Final = 6
RESET_SECONDS: Final = 1.0


def run(arguments: argparse.Namespace) -> None:
    """One table."""
    with stage() as here:
        options: Options = {"pypi_cache_index": f"pypi={here.upstream.index_url}"}
        with Proxy(
            here.new_folder(), options=options, upstream_ca=here.authority.bundle, workers=arguments.workers
        ) as proxy:
            seen = kill_under_load(
                proxy,
                here.upstream,
                here.folder / "agents",
                kills=arguments.kills,
                files=FILES,
                clients=CLIENTS,
                pause=(0.2, 2.5),
            )
            missing = lost(proxy, here.upstream, seen)
            complaints = proxy.complaints
            proxy.stop()
            words = [PYPI_CACHE, "verify", "--dir", proxy.store, "--json"]
            done = subprocess.run(words, env=bare_env(here.folder), capture_output=True, text=True, check=False)
            verified = json.loads(done.stdout)
    unexplained, failed = seen.unexplained(RESET_SECONDS), [install for install in seen.installs if install[1]]
    for each in unexplained[:5]:
        note(f"not explained: {each}")
    for _, _, text in failed[:2]:
        note(text)
    named = sum(bool(failure.pid) for failure in seen.failures)
    installs = Counter(tool for tool, _, _ in seen.installs)
    rows = [
        ("kills, of workers", f"{len(seen.kills)}, of {arguments.workers}"),
        ("requests answered, bytes of them held against digests", f"{seen.requests:,}"),
        ("wrong bytes, or another status than 200", "; ".join(seen.wrong[:3]) or "0"),
        ("requests that failed", f"{len(seen.failures)}"),
        ("of them on a connection whose `Via` names the killed worker", f"{named}"),
        (
            "of them reset before the first byte, within a second of a kill",
            f"{len(seen.failures) - named - len(unexplained)}",
        ),
        ("of them neither", f"{len(unexplained)}"),
        ("longest wait for a first byte", f"{seen.slowest:.2f} s"),
        ("installs by pip, by uv, with their own retries", f"{installs['pip']}, {installs['uv']}"),
        ("of them failed", f"{len(failed)}"),
        ("files that a client had whole, and of them lost (upstream down)", f"{len(seen.whole)}, {len(missing)}"),
        ("`pypi-cache verify` afterwards", f"{verified['entries']:,} entries, {len(verified['wrong'])} wrong"),
        ("errors in the log", "; ".join(complaints[:3]) or "0"),
    ]
    tools.table("kill -9 of workers under load", ("what", "count"), rows)
    if seen.wrong or unexplained or failed or missing or complaints or verified["wrong"]:
        sys.exit("it does not hold")


def _further(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=KILLS, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")


if __name__ == "__main__":
    tools.main(run, __doc__, repeat=1, further=_further)
