"""Reading lock files: uv.lock, poetry.lock, pdm.lock, pylock.toml (PEP 751), Pipfile.lock. Pure: text to values.

The kind is known from the file's name, or else from its content. Read of each package: name, version, index, files, and the environments
that it is for. Left out are packages that come from no index (git, paths, folders, bare URLs); `Lock.skipped` names them.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Final

from pkgcache.cli.warming.lock_formats import READERS
from pkgcache.cli.warming.lock_model import Lock, Table, WrongLock
from pkgcache.units import redact

MAX_KEY_PARTS: Final = 100
"""`a.b.c = 1` has three. Locks have two or three; `tomllib` takes time that grows with their square."""
STRING: Final = re.compile(r"\"(?:[^\"\\\n]|\\.)*+\"|'[^'\n]*+'")


class LockError(ValueError):
    """A lock that cannot be read. The message is one line: `file, line: what is wrong; what would be right`."""


def read_lock(name: str, text: str) -> Lock:
    """Read a lock, given its file's name and text. Raises LockError."""
    try:
        return _read_lock(name, text)
    except RecursionError:  # of the parser of JSON, TOML, a marker, or of showing a value that is wrong
        raise LockError(f"{name}: nested too deeply; expected a lock as its tool writes it") from None


def _read_lock(name: str, text: str) -> Lock:
    base = re.split(r"[/\\]", name)[-1]
    data = _parsed(name, base, text)
    kind = _kind(base, data)
    if kind is None:
        raise LockError(
            f"{name}: not a known lock file; expected uv.lock, poetry.lock, pdm.lock, pylock.toml or Pipfile.lock"
        )
    try:
        return READERS[kind](data)
    except WrongLock as error:
        raise LockError(f"{name}{_line_of(text, error.where)}: {redact(str(error))}") from None


def _parsed(name: str, base: str, text: str) -> Table:
    try:
        data = (
            json.loads(text)
            if base.endswith(".json") or base.startswith("Pipfile") or text.lstrip().startswith("{")
            else _toml(name, text)
        )
    except json.JSONDecodeError as error:
        raise LockError(
            f"{name}, line {error.lineno}: not JSON ({error.msg}); expected what `pipenv lock` writes"
        ) from None
    except tomllib.TOMLDecodeError as error:
        message = re.sub(r" \(at (?:line (\d+), column \d+|end of document)\)$", "", str(error))
        line = re.search(r"\(at line (\d+)", str(error))
        where = f", line {line[1]}" if line else ", at its end"
        raise LockError(
            f"{name}{where}: not TOML ({message}); expected a lock as its tool writes it, without merge conflict markers"
        ) from None
    except LockError:
        raise
    except ValueError as error:  # a number of more digits than Python converts, in both formats
        raise LockError(f"{name}: {error}; expected a lock as its tool writes it") from None
    if not isinstance(data, dict):
        raise LockError(f"{name}: a list or a single value; expected what `pipenv lock` writes")
    return data


def _toml(name: str, text: str) -> Table:
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MAX_KEY_PARTS and STRING.sub("", line).count(".") > MAX_KEY_PARTS:
            raise LockError(
                f"{name}, line {number}: a key of more than {MAX_KEY_PARTS} parts; expected a lock as its tool writes it"
            )
    return tomllib.loads(text)


def _kind(base: str, data: Table) -> str | None:
    """Which tool's lock it is, by the name that the tool gives it, or else by keys that only this tool writes; None if neither fits."""
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if (
        base == "uv.lock"
        or base.endswith(".py.lock")
        or ("requires-python" in data and "package" in data and not metadata)
    ):
        return "uv"
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", base) or "lock-version" in data:
        return "pylock"
    if base == "poetry.lock" or "python-versions" in metadata:
        return "poetry"
    if base == "pdm.lock" or "lock_version" in metadata:
        return "pdm"
    return "pipfile" if base == "Pipfile.lock" or "_meta" in data else None


def _line_of(text: str, where: str) -> str:
    number = next((number for number, line in enumerate(text.splitlines(), 1) if where and where in line), None)
    return f", line {number}" if number else ""
