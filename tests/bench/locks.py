"""Lock files of uv, poetry and pdm: without the proxy, and through it with mirrors of relative links as its only upstream; byte for byte.

The mirrors are of the real packages, on loopback: one of JSON, one of HTML alone, which cannot tell `size` and `upload-time`. Where the
default index that this machine reaches speaks no JSON, there are two comparisons: with that index as it is, and with a server that
stands in for it and speaks JSON (tests/support/real.py), to which a tunnel leads.
"""

import argparse
import difflib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.clients import PYPROJECT, STRAIGHT, TIMEOUT, Workshop, full_bundle, last_words, stand_in_url
from tests.bench.tools import note, table
from tests.support.authority import Authority
from tests.support.clients import UV, Result, run
from tests.support.names import INDEX_URL
from tests.support.proxy import Options, Proxy
from tests.support.real import RealIndex, RealServer, Tunnel

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
    """What the default index is: as this machine reaches it, or the stand-in behind a tunnel."""

    name: str
    env: Mapping[str, str]
    server: RealServer | None = None


def lockers(workshop: Workshop) -> Iterator[Locker]:
    """uv, poetry and pdm. pdm's lock has URLs only if asked for them, poetry's has none."""
    poetry, pdm, uv = workshop.poetry(), workshop.pdm(), workshop.uv()
    words: dict[str, tuple[str | Path, ...]] = {
        each.name: tuple(each.command(Path(), []))[:1] for each in (poetry, pdm)
    }
    yield Locker(
        name="uv",
        version=uv.version,
        words=[UV, "lock"],
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


class Comparison:
    """All locks of one world, each kind of upstream with a new proxy and an empty store."""

    def __init__(self, world: World, folder: Path, index: RealIndex, roots: Path) -> None:
        self.world = world
        self._folder = folder
        self._index = index
        self._roots = roots

    def rows(self, lockers: Sequence[Locker]) -> Iterator[tuple[str, ...]]:
        """The table's rows; differences and failures go to standard error."""
        straight = {**STRAIGHT, **self.world.env}
        if self.world.env:
            straight |= dict.fromkeys(STRAIGHT, str(self._roots))
        reference = {each.name: self._lock(each, "straight", straight) for each in lockers}
        for each in lockers:
            yield self._row(each, "without the proxy", reference[each.name], None)
        kinds = {"the default index": self._default, "JSON mirror": self._json, "HTML-only mirror": self._html}
        for kind, opened in kinds.items():
            with opened() as proxy:
                for each in lockers:
                    env = {"HTTPS_PROXY": proxy.url, **dict.fromkeys(STRAIGHT, str(proxy.bundle))}
                    lock = self._lock(each, kind.replace(" ", "-"), env)
                    yield self._row(each, f"proxy, {kind}", lock, reference[each.name], html="HTML" in kind)
                for complaint in proxy.complaints:
                    note(f"{self.world.name}, {kind}: {complaint}")

    def _lock(self, locker: Locker, name: str, env: Mapping[str, str]) -> Lock:
        lock = locker.lock(self._folder / name / locker.name, env)
        if lock.result.returncode != 0:
            note(f"{self.world.name}, {name}, {locker.name}: {last_words(lock.result)}")
        return lock

    def _row(
        self, locker: Locker, how: str, lock: Lock, reference: Lock | None, *, html: bool = False
    ) -> tuple[str, ...]:
        verdict = self._verdict(locker, lock, reference, html=html)
        asked = self.world.server.asked if self.world.server else None
        releases = str(asked.pop("release", 0)) if asked is not None and locker.name == "poetry" else ""
        size = f"{lock.packages} packages, {len(lock.text.encode()):,} bytes" if lock.text else "**fails**"
        return (self.world.name, f"{locker.name} {locker.version}", how, size, verdict, releases)

    def _verdict(self, locker: Locker, lock: Lock, reference: Lock | None, *, html: bool) -> str:
        if reference is None:
            return ""
        if not lock.text or not reference.text:
            return "nothing to compare"
        if lock.text == reference.text:
            return "**the same, byte for byte**"
        one, other = (re.sub(locker.untold, "", each.text) for each in (lock, reference))
        if html and one == other:
            return "the same but for `size` and `upload-time`"
        lines = difflib.unified_diff(other.splitlines(), one.splitlines(), "without", "through", lineterm="", n=0)
        note("\n".join(list(lines)[:20]))
        return "**differs**"

    @contextmanager
    def _proxy(self, name: str, options: Options, env: Mapping[str, str]) -> Iterator[Proxy]:
        with Proxy(self._folder / f"proxy-{name}", options=options, env={**self.world.env, **env}, timeout=60) as proxy:
            yield proxy

    @contextmanager
    def _default(self) -> Iterator[Proxy]:
        with self._proxy("default", {}, self._trust) as proxy:
            yield proxy

    @contextmanager
    def _mirrored(self, server: RealServer) -> Iterator[Proxy]:
        with server, self._proxy(server.form, {"pypi_cache_index": f"pypi={server.index_url}"}, self._trust) as proxy:
            yield proxy

    @property
    def _trust(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self._roots), "NO_PROXY": "127.0.0.1"} if self.world.env else {}

    def _json(self) -> "Opened":
        return self._mirrored(RealServer(self._index, "json"))

    def _html(self) -> "Opened":
        return self._mirrored(RealServer(self._index, "html"))
