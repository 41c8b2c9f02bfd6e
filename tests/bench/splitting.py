"""Response splitting behind the real nginx and HAProxy: 1,000 HEADs with harm in them, each with another client's request behind it.

Of before: a HEAD of a file name with line ends in it was answered with a body, and 51 of 300 (nginx) and 90 of 300 (HAProxy) second
clients got a page of the first one's.
"""

import argparse
import tempfile
import time
from pathlib import Path

from tests.support.authority import Authority
from tests.support.front_ends import FRONT_ENDS, is_installed
from tests.support.proxy import Proxy
from tests.support.splitting import rounds
from tests.support.upstream import Upstream


def main() -> None:
    """Print a line for each front end, and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    count = min(parser.parse_args().rounds, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        with Upstream(authority) as upstream:
            indexes = [f"pypi={upstream.index_url}", "dead=http://127.0.0.1:9/simple/"]
            options = {"pypi_cache_index": indexes, "pypi_cache_deny": "denied"}
            with Proxy(Path(folder) / "proxy", options=options, upstream_ca=authority.bundle) as proxy:
                print("| front end | rounds | wrong | seconds |\n|---|---|---|---|")
                for name, start in FRONT_ENDS.items():
                    if not is_installed(name):
                        print(f"| {name} | not installed | | |")
                        continue
                    began = time.monotonic()
                    with start(proxy.port, Path(folder) / name) as port:
                        wrong = [problem for problem in rounds(port, count) if problem]
                    print(f"| {name} | {count} | {len(wrong)} | {time.monotonic() - began:.0f} |")
                    print(*wrong[:10], sep="\n")
                print(*proxy.complaints, sep="\n")


if __name__ == "__main__":
    main()
