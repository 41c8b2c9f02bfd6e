"""Lock files of uv, poetry and pdm: without the proxy, and through it with mirrors of relative links as its only upstream; byte for byte.

The mirrors are of the real packages, on loopback: one of JSON, one of HTML alone, which cannot tell `size` and `upload-time`. Where the
default index that this machine reaches speaks no JSON, there are two comparisons: with that index as it is, and with a server that
stands in for it and speaks JSON (tests/support/real.py), to which a tunnel leads.
"""

import argparse
import difflib
import itertools
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.bench.clients import PYPROJECT, ROOTS, TIMEOUT, TRUST, Workshop, full_bundle, last_words, stand_in_url
from tests.bench.tools import note, table
from tests.support.authority import Authority
from tests.support.clients import UV, Result, run
from tests.support.proxy import Proxy
from tests.support.real import Form, RealIndex, RealServer, Tunnel

type Kind = tuple[Form, bool]
"""A mirror's form, and whether it has the JSON API."""
TITLES: Final[dict[Kind | None, str]] = {
    None: "no mirror",
    ("json", False): "JSON mirror",
    ("json", True): "JSON mirror with `/pypi/…/json`",
    ("html", False): "HTML-only mirror",
    ("html", True): "HTML-only mirror with `/pypi/…/json`",
}
WANTED: Final = ("flask", "httpx", "boto3", "black", "cryptography")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locker:
    """A client that writes a lock file, and what of that file HTML cannot tell."""

    name: str
    version: str
    words: Sequence[str | Path]
    file: str
    env: Mapping[str, str]
    untold: str
    """A pattern."""
    needs_json: bool = False

    def lock(self, home: Path, env: Mapping[str, str]) -> "Lock":
        """A new agent's lock of what is wanted."""
        home.mkdir(parents=True)
        (home / "pyproject.toml").write_text(PYPROJECT.format(wanted=", ".join(f'"{each}"' for each in WANTED)))
        result = run(home, self.words, env={**self.env, **env}, timeout=TIMEOUT)
        path = home / self.file
        return Lock(result=result, text=path.read_text() if result.returncode == 0 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock file, or why there is none."""

    result: Result
    text: str

    @property
    def packages(self) -> int:
        return self.text.count("[[package]]")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the default index is: as this machine reaches it, or the stand-in (`server`) behind a tunnel (`env`)."""

    name: str
    roots: str
    env: Mapping[str, str] = field(default_factory=dict)
    server: RealServer | None = None
    mirrors: tuple[Kind, ...] = tuple(filter(None, TITLES))


def lockers(workshop: Workshop) -> Iterator[Locker]:
    """uv, poetry and pdm. pdm's lock has URLs only if asked for them, poetry's has none."""
    poetry, pdm, uv = workshop.poetry(), workshop.pdm(), workshop.uv()
    words: dict[str, tuple[str | Path, ...]] = {
        each.name: tuple(each.command(Path(), []))[:1] for each in (poetry, pdm)
    }
    yield Locker(
        name="uv",
        version=uv.version,
        words=[UV, "lock", "--python", sys.executable],
        file="uv.lock",
        env={},
        untold=r', (size = \d+|upload-time = "[^"]*")',
    )
    yield Locker(
        name="poetry",
        version=poetry.version,
        words=[*words["poetry"], "lock", "--no-interaction"],
        file="poetry.lock",
        env=poetry.env,
        untold=r', (size = \d+|upload-time = "[^"]*")',
        needs_json=True,
    )
    yield Locker(
        name="pdm",
        version=pdm.version,
        words=[*words["pdm"], "lock", "--strategy", "static_urls"],
        file="pdm.lock",
        env=pdm.env,
        untold=r', (size = \d+|upload_time = "[^"]*")',
    )


def compare(world: World, index: RealIndex, lockers: Sequence[Locker], folder: Path) -> Iterator[tuple[str, ...]]:
    """The table's rows. Each kind of upstream has a new proxy with an empty store. Differences go to standard error."""
    straight = {**world.env, **dict.fromkeys(TRUST, world.roots)}
    reference: dict[str, Lock] = {}
    for each in lockers:
        reference[each.name] = each.lock(folder / "straight" / each.name, straight)
        yield _row(world, each, "without the proxy", reference[each.name])
    for number, kind in enumerate((None, *world.mirrors)):
        name = TITLES[kind]
        with ExitStack() as stack:
            mirror = stack.enter_context(RealServer(index, kind[0], api=kind[1])) if kind else None
            options = {"pypi_cache_index": f"pypi={mirror.index_url}"} if mirror else {}
            env = {**world.env, "SSL_CERT_FILE": world.roots, "NO_PROXY": "127.0.0.1"}
            proxy = stack.enter_context(Proxy(folder / f"proxy-{number}", options=options, env=env, timeout=60))
            through = {"HTTPS_PROXY": proxy.url, **dict.fromkeys(TRUST, str(proxy.bundle))}
            for each in lockers:
                lock = each.lock(folder / f"through-{number}" / each.name, through)
                yield _row(world, each, f"proxy, {name}", lock, _verdict(each, lock, reference[each.name]))
            for complaint in proxy.complaints:
                note(f"{world.name}, {name}: {complaint}")


def _row(world: World, locker: Locker, how: str, lock: Lock, verdict: str = "") -> tuple[str, ...]:
    releases = str(world.server.asked.pop("release", 0)) if world.server else ""
    if lock.result.returncode != 0:
        note(f"{world.name}, {how}, {locker.name}: {last_words(lock.result)}")
    size = f"{lock.packages} packages, {len(lock.text.encode()):,} bytes" if lock.text else "**fails**"
    return (world.name, f"{locker.name} {locker.version}", how, size, verdict, releases)


def _verdict(locker: Locker, lock: Lock, reference: Lock) -> str:
    if not lock.text or not reference.text:
        return "nothing to compare"
    if lock.text == reference.text:
        return "**the same, byte for byte**"
    one, other = (re.sub(locker.untold, "", each.text) for each in (reference, lock))
    if one == other:
        return "the same but for `size` and `upload-time`"
    difference = difflib.unified_diff(one.splitlines(), other.splitlines(), "without", "through", lineterm="", n=0)
    note("\n".join(itertools.islice(difference, 20)))
    return "**differs**"


def main() -> None:
    """Make all locks, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="uv, poetry, pdm; else all")
    parser.add_argument("--workshop", type=Path, help="keep the installed clients here, and use those that are there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pypi-cache-locks-") as name, ExitStack() as stack:
        folder = Path(name)
        index = RealIndex(metadata=False)
        chosen = [
            each
            for each in lockers(Workshop(arguments.workshop or folder / "workshop"))
            if not arguments.only or each.name in arguments.only
        ]
        worlds = [World(name="as it is", roots=ROOTS)]
        if not index.speaks_json:
            authority = Authority(folder)
            server = stack.enter_context(RealServer(index, "canonical", authority))
            tunnel = stack.enter_context(Tunnel(server))
            stand_in = World(
                name="stand-in",
                roots=str(full_bundle(folder, authority)),
                env={"HTTPS_PROXY": stand_in_url(tunnel)},
                server=server,
            )
            worlds = [replace(worlds[0], mirrors=(("html", False),)), stand_in]
        rows: list[tuple[str, ...]] = []
        for number, world in enumerate(worlds):
            able = [each for each in chosen if index.speaks_json or world.server or not each.needs_json]
            for row in compare(world, index, able, folder / f"world-{number}"):
                note(" | ".join(row))
                rows.append(row)
    table(
        f"Lock files of {', '.join(WANTED)}",
        ("default index", "client", "how", "lock", "against the one without the proxy", "release JSON asked of it"),
        rows,
    )


if __name__ == "__main__":
    main()
