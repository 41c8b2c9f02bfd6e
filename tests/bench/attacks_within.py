"""More kinds of harm than those of `attacks`: uploads, files, pages and wheels of an upstream, the store itself, and the command."""

import contextlib
import functools
import random
import sqlite3
import subprocess
from pathlib import Path
from typing import Final

from pkgcache.engine.store.keys import parse_key
from tests.bench.attacks import PATIENCE, Target, each, kind
from tests.bench.harm import COMMAND, command_env
from tests.e2e.test_poisoned_rows import poisons
from tests.support.wire import Wire, fetch

MB: Final = 1_000_000
POISONS: Final = list(poisons().values())

one_at_a_time: Final = functools.partial(each, clients=1)

# Uploads and files


@kind
@each
def uploads(target: Target, ill: bool, source: random.Random) -> str:
    """20 MB to the origin, half of them left in the middle; or 64 kB."""
    with Wire(target.port, target.upload, ca=target.ca, timeout=PATIENCE) as wire:
        if not ill or source.random() < 0.5:
            return str(wire.request(target.upload, method="POST", body=bytes(20 * MB if ill else 65536)).status)
        wire.send(target.upload, method="POST", headers={"Content-Length": str(20 * MB)}, body=bytes(10 * MB))
        return "left"


@kind
@each
def files_without_length(target: Target, ill: bool, source: random.Random) -> str:
    """Ever new files of 20 MB that do not say so, left after 4 kB; or of 200 kB that do."""
    url = f"{target.files}{'endless' if ill else 'sized'}/x-{source.getrandbits(60)}-py3-none-any.whl"
    answer = fetch(target.port, url, ca=target.ca, read_limit=4096 if ill else None, keep=False, timeout=PATIENCE)
    return str(answer.status)


# What an upstream has


@kind
@each
def pages_that_mean_harm(target: Target, ill: bool, source: random.Random) -> str:
    """Pages that swell, or on which a bad parser takes long; or a large one that does not."""
    return _anew(target, f"{target.pages}{source.choice(target.harmful[1:]) if ill else target.harmful[0]}/")


@kind
@each
def lists_that_mean_harm(target: Target, ill: bool, source: random.Random) -> str:
    """The same of lists of projects."""
    return _anew(target, source.choice(target.lists[1:]) if ill else target.lists[0])


def _anew(target: Target, url: str) -> str:
    headers = {"Cache-Control": "no-cache"}
    return str(fetch(target.port, url, ca=target.ca, headers=headers, keep=False, timeout=4 * PATIENCE).status)


@kind
@each
def wheels_that_swell(target: Target, ill: bool, source: random.Random) -> str:
    """METADATA that has to be taken out of a wheel, in which it is 64 MB or lies about itself; or is as usual."""
    url = source.choice(target.wheels[1:]) if ill else target.wheels[0]
    return str(fetch(target.port, f"{url}.metadata", ca=target.ca, keep=False, timeout=4 * PATIENCE).status)


# The store, and the command that works on it


@kind
@each
def rows_that_are_poisoned(target: Target, ill: bool, source: random.Random) -> str:
    """A stored page whose row somebody has changed just before; or that nobody has."""
    url = source.choice(target.rows)
    if ill:
        _poison(Path(target.store), url.rstrip("/").rpartition("/")[2], source)
    return str(fetch(target.port, url, ca=target.ca, keep=False).status)


def _poison(store: Path, project: str, source: random.Random) -> None:
    change = source.choice(POISONS)
    with (
        contextlib.suppress(sqlite3.Error, TypeError, ValueError),  # locked, or poisoned already
        contextlib.closing(sqlite3.connect(store / "entries" / "cache.db", timeout=1)) as database,
        database,
    ):
        for rowid, key, tag in database.execute("SELECT rowid, key, tag FROM Cache").fetchall():
            if parse_key(key).project == project:
                database.execute("UPDATE Cache SET tag = ? WHERE rowid = ?", (change(tag), rowid))


@kind
@one_at_a_time
def archives_imported(target: Target, ill: bool, _: random.Random) -> str:
    """`import`, into the store in use, of odd notes and of pages that swell; or of what `export` has written."""
    return _ran(target, "import", "--dir", target.store, target.archives[int(ill)])


@kind
@one_at_a_time
def locks_that_are_nested(target: Target, ill: bool, source: random.Random) -> str:
    """`warm` of locks that are nested too deeply; or of a good one, of packages that nobody has."""
    lock = source.choice(target.locks[1:]) if ill else target.locks[0]
    return _ran(target, "warm", "--proxy", f"http://127.0.0.1:{target.port}", "--lock", lock)


def _ran(target: Target, *words: str) -> str:
    home = Path(target.archives[0]).parent
    ran = subprocess.run(
        [*COMMAND, *words], env=command_env(home), capture_output=True, text=True, timeout=100, check=False
    )
    return "traceback" if "Traceback" in ran.stderr else f"exit {ran.returncode}"
