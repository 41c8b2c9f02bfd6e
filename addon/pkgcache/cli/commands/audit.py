"""`pypi-cache audit`: list what is stored that an advisory names, and who has fetched it by the access log."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click

from pkgcache.cli.exits import FOUND, UnusableError
from pkgcache.cli.opening import opened
from pkgcache.cli.output import AS_JSON, counted, print_json, print_line, printable, say, shown_size, shown_time
from pkgcache.cli.progress_bar import bar
from pkgcache.cli.selection import Globs, read_globs
from pkgcache.cli.store_location import StoreLocation, with_store_options
from pkgcache.engine.advisories.kept import read_kept
from pkgcache.engine.advisories.process import read_advisories
from pkgcache.engine.advisories.reading import UnreadableError
from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.engine.store.entries import Entries
from pkgcache.engine.store.keys import parse_key
from pkgcache.rules.policy.admission import Admission, build_admission
from pkgcache.rules.policy.advisories import Advisories, readings
from pkgcache.rules.policy.osv import Affected
from pkgcache.rules.routing.filenames import is_distribution
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.settings import SettingError

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line of the access log; a request's target has a limit that is far below."""

FETCHED: Final = frozenset({200, 206})


@dataclass(slots=True)
class Fetches:
    """How often one client has fetched a file, and when last, as the log has it."""

    count: int = 0
    last: str = ""


@dataclass(slots=True)
class Finding:
    """A file that advisories name: what is stored of it, and who has fetched it, by client and user."""

    project: str
    advisories: tuple[Affected, ...]
    entries: int = 0
    size: int = 0
    stored_at: float = 0.0
    fetched: dict[tuple[str, str], Fetches] = field(default_factory=dict)

    @property
    def is_malicious(self) -> bool:
        """Whether one of the advisories says so."""
        return any(each.malicious for each in self.advisories)


class Audit:
    """Finds files that advisories name, by their file names."""

    def __init__(self, advisories: Advisories, admission: Admission, globs: Globs) -> None:
        self.findings: dict[str, Finding] = {}
        self._advisories = advisories
        self._admission = admission
        self._globs = globs
        self._named = lru_cache(maxsize=65536)(self._look_up)

    def _look_up(self, filename: str) -> tuple[str, tuple[Affected, ...]]:
        for project, version, text in readings(filename):
            private = any(self._admission.is_private(project, owner) for _, owner in self._admission.private)
            if private or not self._globs.match_project(project):
                continue
            if found := self._advisories.affecting(project, version, text):
                return project, tuple(found)
        return "", ()

    def _finding(self, filename: str) -> Finding | None:
        project, found = self._named(filename)
        return self.findings.setdefault(filename, Finding(project, found)) if found else None

    def read_store(self, entries: Entries) -> None:
        """Look at all release files of the store, and at ranges of them."""
        with bar("reading the store", entries.figures()["entries"], of_bytes=False) as progress:
            for row in entries.rows():
                progress.advance()
                parsed = parse_key(row.key)
                if parsed.kind in {"file", "part"} and (found := self._finding(parsed.name.removesuffix(".metadata"))):
                    found.entries += 1
                    found.size += row.size
                    found.stored_at = max(found.stored_at, row.stored_at)

    def read_log(self, path: Path) -> int:
        """Look at an access log; returns how many of its lines cannot be read. Raises OSError."""
        unreadable = 0
        with path.open("rb") as file, bar(f"reading {path.name}", path.stat().st_size, of_bytes=True) as progress:
            for line in _lines(file):
                progress.advance(len(line))
                try:
                    self._read_line(json.loads(line))
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    unreadable += 1
        return unreadable

    def _read_line(self, line: Any) -> None:
        filename = unquote(urlsplit(line["url"]).path.rpartition("/")[2])
        if line["status"] not in FETCHED or line["method"] != "GET" or not is_distribution(filename):
            return
        if found := self._finding(filename):
            fetches = found.fetched.setdefault((str(line["client"]), str(line.get("user", ""))), Fetches())
            fetches.count += 1
            fetches.last = max(fetches.last, str(line["time"]))


def _lines(file: Any) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE):
        yield line


@click.command(short_help="List what is stored that an advisory names, and who has it.")
@click.argument("globs", metavar="[GLOB]...", nargs=-1)
@click.option(
    "--advisories",
    "source",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="OSV records: a folder, a JSON file or a zip. Without it: those that the proxy has.",
)
@click.option(
    "--access-log",
    "logs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="An access log to look for clients in, once for each. Without it: pypi_cache_access_log, where that is a file.",
)
@click.option("--malicious", is_flag=True, help="Only what is reported as malicious.")
@AS_JSON
@with_store_options
def audit(
    location: StoreLocation,
    globs: tuple[str, ...],
    *,
    source: Path | None,
    logs: tuple[Path, ...],
    malicious: bool,
    as_json: bool,
) -> None:
    """List the stored files that an advisory names, with its id, and the clients that have fetched them.

    Files that the access log names are listed too if they are no longer stored. --json prints one object a line.

    Exit code 1 if there is one.
    """
    chosen = read_globs(globs)
    advisories = _advisories(location, source)
    found = Audit(advisories, _admission(location), chosen)
    with opened(location) as entries:
        found.read_store(entries)
    logs = logs or _usual_log(location)
    if not logs:
        say("no access log was read, so clients are not known: --access-log FILE")
    for log in logs:
        try:
            if unreadable := found.read_log(log):
                say(f"{log}: {counted(unreadable, 'line')} cannot be read")
        except OSError as error:
            raise UnusableError(f"{log}: {error.strerror}") from None
    findings = sorted(
        (item for item in found.findings.items() if item[1].is_malicious or not malicious),
        key=lambda item: (not item[1].is_malicious, item[1].project, item[0]),
    )
    for filename, each in findings:
        if as_json:
            print_json(_as_object(filename, each), indent=None)
        else:
            _print(filename, each)
    if not as_json:
        say(f"{counted(advisories.about['records'], 'advisory', 'advisories')}, {counted(len(findings), 'file')}")
    if findings:
        raise click.exceptions.Exit(FOUND)


def _print(filename: str, each: Finding) -> None:
    what = "malicious" if each.is_malicious else "vulnerable"
    ids = ", ".join(dict.fromkeys(one.id for one in each.advisories))
    stored = f"{shown_size(each.size)}, stored {shown_time(each.stored_at)}" if each.entries else "no longer stored"
    print_line(printable(f"{filename}  {what}  {ids}  ({stored})"))
    for (client, user), fetches in sorted(each.fetched.items(), key=lambda item: item[1].last, reverse=True):
        who = f"{client} ({user})" if user else client
        print_line(printable(f"    {who}  {counted(fetches.count, 'time')}, last {fetches.last[:19]}Z"))


def _as_object(filename: str, each: Finding) -> dict[str, Any]:
    return {
        "file": filename,
        "project": each.project,
        "malicious": each.is_malicious,
        "advisories": list(dict.fromkeys(one.id for one in each.advisories)),
        "stored": each.entries > 0,
        "size": each.size,
        "stored_at": each.stored_at or None,
        "fetched": [
            {"client": client, "user": user, "count": fetches.count, "last": fetches.last}
            for (client, user), fetches in each.fetched.items()
        ],
    }


def _advisories(location: StoreLocation, source: Path | None) -> Advisories:
    """The advisories to look by: of a path, read now, or those that the proxy has kept. Raises UnusableError."""
    given = location.settings.advisories
    if source is None and given and "://" not in given:
        source = Path(given)
    try:
        text = read_kept(location.folder) if source is None else asyncio.run(read_advisories(source))
        if text is not None:
            return Advisories(text, "none", yank=False)
    except UnreadableError as error:
        raise UnusableError(f"advisories of {source}: {error}") from None
    except (ValueError, RecursionError):
        pass  # what is kept is not whole
    raise UnusableError(
        f"{location.folder} has no advisories: expected --advisories PATH, or a proxy that has run with pypi_cache_advisories"
    )


def _admission(location: StoreLocation) -> Admission:
    try:
        return build_admission(location.settings, build_indexes(location.settings.index, pip_defaults()))
    except SettingError as error:
        raise UnusableError(str(error)) from None


def _usual_log(location: StoreLocation) -> tuple[Path, ...]:
    """The proxy's access log, where it is a file that is there."""
    log = location.settings.access_log
    path = Path(os.path.expanduser(log))  # noqa: PTH111  a user without a home is no error
    return (path,) if log not in {"", "-"} and path.is_file() else ()
