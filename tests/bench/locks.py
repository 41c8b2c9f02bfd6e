"""Lock files of uv, poetry and pdm: without the proxy, and through it with mirrors of relative links as its only upstream; byte for byte.

The mirrors are of the real packages, on loopback: one of JSON, one of HTML alone, which cannot tell `size` and `upload-time`. Where the
default index that this machine reaches lacks JSON pages or releases' documents, what needs them is compared in a second world: with a
server that stands in for that index and has them (tests/support/real.py), to which a tunnel leads. The exit status is 1 unless every
lock is as it should be.
"""

import argparse
import difflib
import itertools
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.bench.tools import note, table
from tests.bench.workshop import (
    POETRY_SOURCE,
    PYPROJECT,
    ROOTS,
    TIMEOUT,
    TRUST,
    Workshop,
    full_bundle,
    last_words,
    stand_in_url,
)
from tests.support.authority import Authority
from tests.support.clients import UV, Result, run
from tests.support.names import INDEX_URL
from tests.support.proxy import Proxy
from tests.support.real import Form, RealIndex, RealServer, Tunnel

type Row = tuple[str, ...]
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
SAME: Final = "**the same, byte for byte**"
SAME_BUT: Final = "the same but for `size` and `upload-time`"


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
    needs_documents: bool = False
    """It cannot use an index without releases' documents, or without JSON pages."""
    more: str = ""
    """At the end of its pyproject.toml."""

    def lock(self, home: Path, env: Mapping[str, str]) -> "Lock":
        """A new agent's lock of what is wanted."""
        home.mkdir(parents=True)
        wanted = ", ".join(f'"{each}"' for each in WANTED)
        (home / "pyproject.toml").write_text(PYPROJECT.format(wanted=wanted) + self.more)
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
    """What the default index is: as this machine reaches it, or the stand-in behind a tunnel (`env`)."""

    name: str
    roots: str
    env: Mapping[str, str] = field(default_factory=dict)


def lockers(workshop: Workshop) -> Iterator[Locker]:
    """uv, poetry and pdm. pdm's lock has URLs only if asked for them, poetry's has none.

    poetry twice: as it comes, and with the default index as a source that the project names; then it reads wheels by ranges.
    """
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
    by_itself = Locker(
        name="poetry",
        version=poetry.version,
        words=[*words["poetry"], "lock", "--no-interaction"],
        file="poetry.lock",
        env=poetry.env,
        untold=r', (size = \d+|upload-time = "[^"]*")',
        needs_documents=True,
    )
    yield by_itself
    yield replace(by_itself, name="poetry-source", needs_documents=False, more=POETRY_SOURCE.format(url=INDEX_URL))
    yield Locker(
        name="pdm",
        version=pdm.version,
        words=[*words["pdm"], "lock", "--strategy", "static_urls"],
        file="pdm.lock",
        env=pdm.env,
        untold=r', (size = \d+|upload_time = "[^"]*")',
    )


def compare(world: World, index: RealIndex, lockers: Sequence[Locker], folder: Path) -> Iterator[Row]:
    """The table's rows. Each kind of upstream has a new proxy with an empty store. Differences go to standard error."""
    straight = {**world.env, **dict.fromkeys(TRUST, world.roots)}
    reference = {each.name: each.lock(folder / "straight" / each.name, straight) for each in lockers}
    for each in lockers:
        yield _row(world, each, "without the proxy", reference[each.name])
    for number, kind in enumerate(TITLES):
        with ExitStack() as stack:
            mirror = stack.enter_context(RealServer(index, kind[0], api=kind[1])) if kind else None
            options = {"pypi_cache_index": f"pypi={mirror.index_url}"} if mirror else {}
            env = {**world.env, "SSL_CERT_FILE": world.roots, "NO_PROXY": "127.0.0.1"}
            proxy = stack.enter_context(Proxy(folder / f"proxy-{number}", options=options, env=env, timeout=60))
            through = {"HTTPS_PROXY": proxy.url, **dict.fromkeys(TRUST, str(proxy.bundle))}
            for stopped in (False, True) if mirror else (False,):
                name = TITLES[kind] + (", now stopped" if stopped else "")
                if mirror and stopped:
                    mirror.close()
                for each in lockers:
                    lock = each.lock(folder / f"through-{number}-{stopped}" / each.name, through)
                    yield _row(world, each, f"proxy, {name}", lock, _verdict(each, lock, reference[each.name]))
            for complaint in proxy.complaints:
                note(f"{world.name}, {TITLES[kind]}: {complaint}")


def _row(world: World, locker: Locker, how: str, lock: Lock, verdict: str = "") -> Row:
    if lock.result.returncode != 0:
        note(f"{world.name}, {how}, {locker.name}: {last_words(lock.result)}")
    size = f"{lock.packages} packages, {len(lock.text.encode()):,} bytes" if lock.text else "**fails**"
    return (world.name, f"{locker.name} {locker.version}", how, size, verdict)


def _verdict(locker: Locker, lock: Lock, reference: Lock) -> str:
    if not lock.text or not reference.text:
        return "**nothing to compare**"
    if lock.text == reference.text:
        return SAME
    one, other = (re.sub(locker.untold, "", each.text) for each in (reference, lock))
    if one == other:
        return SAME_BUT
    difference = difflib.unified_diff(one.splitlines(), other.splitlines(), "without", "through", lineterm="", n=0)
    note("\n".join(itertools.islice(difference, 20)))
    return "**differs**"


def as_it_should_be(row: Row) -> bool:
    """The same; HTML need not tell size and time."""
    _, _, how, size, verdict = row
    allowed = {SAME, SAME_BUT} if "HTML" in how else {SAME} if how.startswith("proxy") else {""}
    return verdict in allowed and "fails" not in size


def worlds(
    index: RealIndex, lockers: Iterable[Locker], folder: Path, stack: ExitStack
) -> Iterator[tuple[World, list[Locker]]]:
    """The default index as it is and who can use it as it is; then the stand-in, where there are others."""
    whole = index.speaks_json and index.tells_releases
    able, others = ([each for each in lockers if (whole or not each.needs_documents) is can] for can in (True, False))
    if able:
        yield World(name="as it is", roots=ROOTS), able
    if others:
        authority = Authority(folder)
        tunnel = stack.enter_context(Tunnel(stack.enter_context(RealServer(index, "canonical", authority))))
        env = {"HTTPS_PROXY": stand_in_url(tunnel)}
        yield World(name="stand-in", roots=str(full_bundle(folder, authority)), env=env), others


def main() -> int:
    """Make all locks, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="uv, poetry, poetry-source, pdm; else all")
    parser.add_argument("--workshop", type=Path, help="keep the installed clients here, and use those that are there")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pypi-cache-locks-") as name, ExitStack() as stack:
        folder = Path(name)
        index = RealIndex(metadata=False)
        all_lockers = lockers(Workshop(arguments.workshop or folder / "workshop"))
        chosen = [each for each in all_lockers if not arguments.only or each.name in arguments.only]
        for world, able in worlds(index, chosen, folder, stack):
            for row in compare(world, index, able, folder / world.name):
                note(" | ".join(row))
                rows.append(row)
    table(
        f"Lock files of {', '.join(WANTED)}",
        ("default index", "client", "how", "lock", "against the one without the proxy"),
        rows,
    )
    wrong = [row for row in rows if not as_it_should_be(row)]
    print(f"\n{len(rows) - len(wrong)} of {len(rows)} locks are as they should be.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
