"""Mutated requests to the proxy's own address and to the real nginx that serves the same page and file: what differs, and why it may.

`--count` requests (20,000 by default) are made by a seed from well-formed ones: lines are left out, doubled, folded, respelt, bytes are put
in. Each goes to both on a connection of its own, which is half-closed behind it. Compared are status, Content-Range, framing and body.
A difference without a reason of `differences.py` is printed, as are tracebacks and 5xx of the proxy's own.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.differences import Answer, reason_for, receive
from tests.bench.mutations import mutated
from tests.support.authority import Authority
from tests.support.front_ends import free_port, nginx
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel

MOST: Final = 20_000
SHOWN: Final = 3
"""Examples of each kind of difference."""

_SERVER: Final = """
  types {{ text/html html; }}
  default_type application/octet-stream;
  merge_slashes off;
  server {{ listen 127.0.0.1:{port}; root {root}; index index.html; lingering_timeout 1s; }}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two servers, and what is there on both."""

    proxy: Proxy
    nginx_port: int
    targets: tuple[str, ...]
    wholes: tuple[bytes, ...]
    """All that there is: what the targets are, and the list of projects."""
    validators: tuple[tuple[str, str], tuple[str, str]]
    """For each target ETag and Last-Modified: of the proxy, of nginx."""


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Both servers, warm."""
    authority = Authority(folder)
    release = make_wheel("fuzzed", payload_size=20_000)
    with Upstream(authority) as upstream:
        upstream.add(release)
        options = {"pypi_cache_index": f"pypi={upstream.index_url}", "pypi_cache_index_ttl": "1d"}
        with Proxy(folder / "proxy", options=options, upstream_ca=authority.bundle) as proxy:
            targets = ("/pypi/simple/fuzzed/", f"/pypi/{release.quoted_path}")
            root, port = folder / "root", free_port()
            for target in targets:
                path = root / (target + "index.html" if target.endswith("/") else target).lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(proxy.get(target).body)
            folder.chmod(0o755)
            with nginx(_SERVER.format(port=port, root=root), folder / "nginx", port):
                validators = tuple(
                    tuple(_validators(receive(at, _plain(target))) for target in targets) for at in (proxy.port, port)
                )
                wholes = tuple(proxy.get(target).body for target in (*targets, "/pypi/simple/"))
                yield Pair(proxy, port, targets, wholes, validators)  # type: ignore[arg-type]


def _plain(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()


def _validators(answer: Answer) -> tuple[str, str]:
    return answer.headers.get("etag", '""'), answer.headers.get("last-modified", "")


def requests_of(pair: Pair, number: int) -> tuple[bytes, bytes]:
    """The request of a number, with each server's own validators in it."""
    chosen = random.Random(number)
    which = chosen.randrange(len(pair.targets))
    text = mutated(chosen, pair.targets[which])
    ours, theirs = (
        text.replace(b"@ETAG@", tags[which][0].encode())
        .replace(b"@DATE@", tags[which][1].encode())
        .replace(b"@SELF@", b"127.0.0.1:%d" % port)
        for tags, port in zip(pair.validators, (pair.proxy.port, pair.nginx_port), strict=True)
    )
    return ours, theirs


def main() -> None:
    """Print how many requests differed for which reason, and what has none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=MOST)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="an example of each reason, for each pair of statuses")
    given = parser.parse_args()
    reasons: Counter[str] = Counter()
    pairs: dict[str, Counter[str]] = {}
    samples: dict[tuple[str, str], bytes] = {}
    unexplained: dict[tuple[int, int], list[str]] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, pair(Path(folder)) as both:

        def one(number: int) -> tuple[bytes, Answer, Answer]:
            ours, theirs = requests_of(both, number)
            return ours, receive(both.proxy.port, ours, _plain(both.targets[0])), receive(both.nginx_port, theirs)

        count = min(given.count, MOST)
        with ThreadPoolExecutor(4) as pool:
            for request, ours, theirs in pool.map(one, range(given.seed, given.seed + count)):
                reason = reason_for(request, ours, theirs, both.wholes)
                reasons[reason or "UNEXPLAINED"] += 1
                statuses = f"{ours.status}/{theirs.status}"
                pairs.setdefault(reason or "UNEXPLAINED", Counter())[statuses] += 1
                if given.show and reason != "the same":
                    samples[reason or "UNEXPLAINED", statuses] = request
                if reason is None:
                    unexplained.setdefault((ours.status, theirs.status), []).append(
                        f"{request!r}\n  ours {ours.framing} {ours.headers}\n  nginx {theirs.framing} {theirs.headers}"
                    )
        complaints = both.proxy.complaints
    print(f"{count} requests in {time.monotonic() - began:.0f} s; {len(complaints)} tracebacks\n")
    print("| reason | requests | ours/nginx |\n|---|---|---|")
    for reason, times in reasons.most_common():
        print(f"| {reason} | {times} | {', '.join(f'{pair} {n}' for pair, n in pairs[reason].most_common(6))} |")
    for (why, statuses), example in sorted(samples.items()):
        print(why, statuses, example, sep="\n  ")
    for codes, examples in unexplained.items():
        print(f"\n{codes}: {len(examples)}", *examples[:SHOWN], sep="\n")
    print(*complaints[:SHOWN], sep="\n")


if __name__ == "__main__":
    main()
