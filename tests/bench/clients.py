"""Every client installs real packages through the proxy: cold, with its upstream cut off, and from the store of a mirror that has stopped.

Which clients, and in which ways they are pointed at the proxy, is in workshop.py. Each trial begins with a new proxy and an empty store:

- **the default index.** Cold: a new agent. Again: one more new agent, and a restarted proxy whose parent proxy is a port that hangs up;
  so an upstream request can neither succeed nor be overlooked.
- **a mirror** of JSON pages with relative links, on loopback, as the proxy's only upstream. Cold; then the mirror stops, all pages
  pass their lifetime, and a new agent installs from what is stored.

A client that fails is run once more without the proxy, to tell whose fault it is. The exit status is 1 if anything failed.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.tools import note, table
from tests.bench.workshop import ROOTS, Client, Way, Workshop, clients, last_words
from tests.support.clients import Result
from tests.support.peers import Peer
from tests.support.proxy import Proxy
from tests.support.real import RealIndex, RealServer

ASKED: Final = re.compile("/simple/|/packages/|/json$")
"""What clients ask for, and not who waits for a proxy's start."""
PAGE: Final = re.compile("/simple/[^/]+/$")
LIFETIME: Final = 1
"""Seconds that a page is fresh behind a mirror that will stop."""
MIRRORED: Final[Mapping[str, str]] = {
    "pypi_cache_index_ttl": f"{LIFETIME}s",
    "pypi_cache_stale_while_revalidate": "0",
}
FAILS: Final = "**fails**"
README_HEADER: Final = (
    "| client | version | Python | pointed at the proxy by | installs | again, no upstream | mirror stopped |"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """An installation through the proxy, and what the access log says of it."""

    result: Result
    got: dict[str, str]
    asked: int
    """Requests of the client."""
    forwarded: int
    """Those of them that the proxy answered with something from upstream."""
    pages: tuple[str, ...]
    """The `Cache-Status` of each page."""

    @property
    def ok(self) -> bool:
        return self.result.returncode == 0

    def __str__(self) -> str:
        return f"{len(self.got)} packages, {self.asked} requests, {self.result.seconds:.1f} s" if self.ok else FAILS


def phase(client: Client, way: Way, proxy: Proxy, home: Path) -> Phase:
    """One installation by a new agent."""
    before = len(proxy.access_log())
    result = client.install(home, way, proxy)
    lines = proxy.access_log()[before:]
    return Phase(
        result=result,
        got=client.installed(home),
        asked=sum(bool(ASKED.search(line["url"])) for line in lines),
        forwarded=sum("fwd=" in line["cache"] for line in lines),
        pages=tuple(line["cache"] for line in lines if PAGE.search(line["url"])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A client, pointed at the proxy in one way, cold and again; and what there is to say of its failures."""

    client: Client
    way: Way
    mirrored: bool
    """Its upstream was the mirror."""
    cold: Phase
    again: Phase | None
    knocks: int
    """Connections that the restarted proxy tried to make upstream, to no avail."""
    remarks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Both went well: the same packages, nothing from upstream, and each page marked stale where it is."""
        if self.again is None or not self.again.ok or self.again.got != self.cold.got or self.again.forwarded:
            return False
        return not self.mirrored or (bool(self.again.pages) and all(map(is_stale, self.again.pages)))

    @property
    def row(self) -> tuple[str, ...]:
        """For the table of all trials."""
        again, upstream = self.again, "the mirror" if self.mirrored else "the default index"
        pages = ", ".join(sorted({re.sub(r"ttl=(-?)\d+", r"ttl=\1N", each) for each in again.pages})) if again else ""
        forwarded = (f"{again.forwarded}" if again else "–") + (f" ({self.knocks} tried)" if self.knocks else "")
        what = (self.client.name, self.client.version, self.client.python, self.way.name, upstream)
        return (*what, str(self.cold), str(again or "–"), forwarded, f"`{pages}`" if pages else "–")


def is_stale(status: str) -> bool:
    """Whether a page's `Cache-Status` says that it is past its lifetime."""
    return re.fullmatch(r"pypi-cache; hit; ttl=-\d+; detail=stale-if-error", status) is not None


def by_default_index(client: Client, way: Way, folder: Path) -> Trial:
    """Cold, then with the upstream cut off."""
    again = None
    with Proxy(folder / "proxy", options=way.options, timeout=60) as proxy, Peer(lambda _: None) as dead:
        assert proxy.bundle.exists()  # fetched before anything is counted
        cold = phase(client, way, proxy, folder / "cold")
        if cold.ok:
            proxy.stop()
            proxy.env |= {"HTTPS_PROXY": f"http://127.0.0.1:{dead.port}"}
            proxy.start()
            again = phase(client, way, proxy, folder / "again")
        return _judged(client, way, folder, proxy, cold, again, knocks=dead.accepted)


def by_mirror(client: Client, way: Way, folder: Path, index: RealIndex) -> Trial:
    """Cold, then with the mirror stopped and all pages past their lifetime."""
    again = None
    with RealServer(index, "json") as mirror:
        options = {"pypi_cache_index": f"pypi={mirror.index_url}", **MIRRORED}
        env = {"SSL_CERT_FILE": ROOTS, "NO_PROXY": "127.0.0.1"}
        with Proxy(folder / "proxy", options=options, env=env, timeout=60) as proxy:
            assert proxy.bundle.exists()
            cold = phase(client, way, proxy, folder / "cold")
            if cold.ok:
                mirror.close()
                time.sleep(LIFETIME + 1)
                again = phase(client, way, proxy, folder / "again")
            return _judged(client, way, folder, proxy, cold, again, mirrored=True)


def _judged(
    client: Client,
    way: Way,
    folder: Path,
    proxy: Proxy,
    cold: Phase,
    again: Phase | None,
    *,
    mirrored: bool = False,
    knocks: int = 0,
) -> Trial:
    """The trial, with what there is to remark; once more without the proxy if it failed from the first."""
    remarks = list(proxy.complaints)
    for name, each in (("cold", cold), ("again", again)):
        if each and not each.ok:
            remarks.append(f"{name}: {last_words(each.result)}")
    if again and again.ok and again.got != cold.got:
        remarks.append(f"again got {again.got}, cold {cold.got}")
    if mirrored and again and not all(map(is_stale, again.pages)):
        remarks.append(f"pages were not stale: {again.pages}")
    if not cold.ok and not mirrored:
        straight = client.install(folder / "straight", way, None)
        remarks.append(
            f"without the proxy: {'well' if straight.returncode == 0 else f'a failure too: {last_words(straight)}'}"
        )
    return Trial(
        client=client, way=way, mirrored=mirrored, cold=cold, again=again, knocks=knocks, remarks=tuple(remarks)
    )


def trials(found: Iterator[Client], folder: Path, index: RealIndex, *, first_way: bool) -> Iterator[Trial]:
    """Each client in each way with the default index, and in its first way with the mirror."""
    for number, client in enumerate(found):
        for place, way in enumerate(client.ways[: 1 if first_way else None]):
            yield by_default_index(client, way, folder / f"{number}-{place}")
        yield by_mirror(client, client.ways[0], folder / f"{number}-mirror", index)


# Tables


def report(done: Sequence[Trial]) -> None:
    """All trials."""
    header = ("client", "version", "Python", "how configured", "upstream", "cold", "again, upstream gone")
    table(
        "Clients through the proxy, real packages",
        (*header, "of that from upstream", "`Cache-Status` of its pages"),
        [trial.row for trial in done],
    )


def readme(done: Sequence[Trial]) -> Iterator[str]:
    """The table of docs/pages/agents.md, line by line: a row a client, all its ways taken together; no times, so that it stays as it is."""
    yield README_HEADER
    yield "|---|---|---|---|---|---|---|"
    clients_ = {(each.client.name, each.client.version): each.client for each in done}
    for key, client in clients_.items():
        direct, mirrored = (
            [each for each in done if (each.client.name, each.client.version) == key and each.mirrored is whether]
            for whether in (False, True)
        )
        cells = (
            f"{client.name}{' ¹' if client.old_index else ''}",
            client.version,
            client.python,
            "; ".join(each.way.name for each in direct),
            _cell(direct, all(each.cold.ok for each in direct), f"{_packages(direct)} packages"),
            _cell(direct, all(each.ok for each in direct), "the same"),
            _cell(mirrored, all(each.ok for each in mirrored), "the same"),
        )
        yield f"| {' | '.join(cells)} |"
    if any(client.old_index for client in clients_.values()):
        yield ""
        yield (
            "¹ Its default index is on another host than today's: name today's by `-i`, or list its own with today's as the mirror "
            "(`pypi_cache_index='old=ITS-INDEX TODAYS-INDEX'`)."
        )


def _packages(done: Sequence[Trial]) -> str:
    return " or ".join(sorted({str(len(each.cold.got)) for each in done}))


def _cell(of: Sequence[Trial], well: bool, text: str) -> str:
    return (text if well else FAILS) if of else "–"


def main() -> int:
    """Run what the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="clients: pip9 … pip25, pip-newest, uv, poetry, pdm, pipenv; else all")
    parser.add_argument("--first-way", action="store_true", help="only each client's first way")
    parser.add_argument(
        "--readme", action="store_true", help="print the table of docs/pages/agents.md and nothing else"
    )
    parser.add_argument("--workshop", type=Path, help="keep the installed clients here, and use those that are there")
    arguments = parser.parse_args()
    done: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="pypi-cache-clients-") as name:
        folder = Path(name)
        found = clients(Workshop(arguments.workshop or folder / "workshop"), arguments.only)
        for trial in trials(found, folder, RealIndex(metadata=False), first_way=arguments.first_way):
            note(" | ".join(trial.row))
            for remark in trial.remarks:
                note(f"    {remark}")
            done.append(trial)
    if arguments.readme:
        print("\n".join(readme(done)))
    else:
        report(done)
        example = next(
            (each.again.pages[0] for each in done if each.mirrored and each.again and each.again.pages), None
        )
        print(f"\nA page with its mirror stopped: `Cache-Status: {example}`")
    bad = [trial for trial in done if not trial.ok]
    note(f"{len(done) - len(bad)} of {len(done)} trials went well")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
