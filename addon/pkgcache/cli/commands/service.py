"""`pypi-cache service`: print a systemd unit for this installation."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

import pkgcache
from pkgcache.cli.output import print_line, say

UNIT: Final = Path(pkgcache.__file__).parent / "data" / "systemd" / "pypi-cache.service"
HOMES: Final = ("/home/", "/root/", "/run/user/")
"""What `ProtectHome=yes` hides, programs too."""

PRIVILEGED: Final = 1024
USER: Final = "pypi-cache"
STATE: Final = "/var/lib/pypi-cache"
STORE: Final = "pypi_cache_dir"
ACCESS_LOG: Final = "pypi_cache_access_log"


@click.command(
    short_help="Print a systemd unit.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--user", default=USER, show_default=True, help="The user that the proxy runs as; it needs no home.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def service(user: str, arguments: Sequence[str]) -> None:
    """Print a systemd unit that starts the proxy as a user of its own, which can write only to its store, CA and log.

    ARGUMENTS are mitmdump's, for the proxy: pypi-cache service --listen-port 3128 --set pypi_cache_max_size=50g
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}\$?", user):
        raise click.UsageError(f"--user {user!r} is no user's name")
    if wrong := next((each for each in arguments if not each.isprintable()), None):
        raise click.UsageError(f"{wrong!r} cannot stand in a unit: it has control characters")
    command = start(Path(pkgcache.__file__), Path(sys.argv[0]))
    print_line(unit(UNIT.read_text(), command, user, arguments).rstrip("\n"))
    for path in (Path(command[0]), Path(pkgcache.__file__), Path(sys.executable).resolve()):
        if (closed := closed_folder(path)) is not None:
            advice = "install it where all may read: pipx install --global, UV_TOOL_DIR=/opt/uv uv tool install, or a clone in /opt"
            say(f"warning: only its owner may enter {closed}, so the user {user} cannot start {path}; {advice}")
            break


def start(package: Path, program: Path) -> Sequence[str]:
    """Return the command that starts the proxy: a checkout's run.sh, else the installed command."""
    script = package.parents[2] / "run.sh"
    if script.is_file() and (package.parents[2] / "pyproject.toml").is_file():
        return [str(script)]
    words = [sys.executable, "-m", "pkgcache"] if program.suffix == ".py" else [str(program.absolute())]
    return [*words, "serve"]


def closed_folder(path: Path) -> Path | None:
    """Return the uppermost folder on the way to a file that others than its owner cannot enter, as homes often are; None if all can."""
    for folder in reversed(path.absolute().parents):
        with contextlib.suppress(OSError):
            if not folder.stat().st_mode & stat.S_IXOTH:
                return folder
    return None


def unit(template: str, command: Sequence[str], user: str, arguments: Sequence[str]) -> str:
    """Return the unit's text. What the arguments set themselves is not set by the unit, and can be written wherever it is."""
    given = settings_of(arguments)
    confdir, store = given.get("confdir", STATE), given.get(STORE, f"{STATE}/store")
    log = given.get(ACCESS_LOG, "-")
    folders = [confdir, store, *([str(Path(log).parent)] if log.startswith("/") else [])]
    writable = [each for each in dict.fromkeys(folders) if not f"{each}/".startswith(f"{STATE}/")]
    own = [] if "confdir" in given else ["--set", "confdir=%S/pypi-cache"]
    own += [] if STORE in given else ["--set", f"{STORE}=%S/pypi-cache/store"]
    words = [*own, *map(quoted, arguments)]
    tool = command[:-1] or [*command, "cli"]
    again = ["service", *(["--user", user] if user != USER else []), *arguments]
    is_at_home = any(f"{each}/".startswith(HOMES) for each in (command[0], *writable))
    places = {
        "@USER@": user,
        "@COMMAND@": shlex.join([*tool, *again]),
        "@STATS@": shlex.join([*tool, "stats", "--confdir", confdir, "--dir", store]),
        "@FOLDERS@": "".join(f"#   install -d -o {user} -m 0700 {shlex.quote(each)}\n" for each in writable),
        "@WRITABLE@": "".join(f"ReadWritePaths={quoted(each)}\n" for each in writable),
        "@CONFDIR@": confdir,
        "@STORE@": store,
        "@START@": " ".join(map(quoted, command)),
        "@ARGUMENTS@": "".join(f" {each}" for each in words),
        "@HOME@": "read-only" if is_at_home else "yes",
        "@CAPABILITIES@": "CAP_NET_BIND_SERVICE" if _port(arguments) < PRIVILEGED else "",
    }
    return re.sub("|".join(places), lambda found: places[found[0]], template)


def settings_of(arguments: Sequence[str]) -> dict[str, str]:
    """Return what `--set` sets among mitmdump's arguments, the last value of each name.

    >>> settings_of(["--listen-port", "80", "--set", "confdir=/a", "--set=pypi_cache_dir=/b"])
    {'confdir': '/a', 'pypi_cache_dir': '/b'}
    """
    words = [word for first, word in itertools.pairwise(["", *arguments]) if first == "--set"]
    words += [word.removeprefix("--set=") for word in arguments if word.startswith("--set=")]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def quoted(word: str) -> str:
    r"""Return a word as systemd.syntax(7) and systemd.service(5) want it: `%` and `$` doubled, and in quotes where that is needed.

    >>> quoted("--set"), quoted("pypi_cache_index=a=https://a.example/100%25/$x y")
    ('--set', '"pypi_cache_index=a=https://a.example/100%%25/$$x y"')
    """
    doubled = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./~\[\]-]+", doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _port(arguments: Sequence[str]) -> int:
    """Return the port that the arguments name, 8080 if they name none."""
    text = " ".join(arguments)
    found = re.search(r"(?:--listen-port|-p|--set listen_port)[ =](\d+)", text)
    return int(found[1]) if found else 8080
