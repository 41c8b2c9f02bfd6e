"""`pypi-cache service`: print a systemd unit for this installation."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

import pkgcache
from pkgcache.cli.output import print_line

UNIT: Final = Path(pkgcache.__file__).parent / "data" / "systemd" / "pypi-cache.service"
HOMES: Final = ("/home/", "/root/", "/run/user/")
"""What `ProtectHome=yes` hides, programs too."""

PRIVILEGED: Final = 1024


@click.command(
    short_help="Print a systemd unit.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--user", default="pypi-cache", show_default=True, help="The user that the proxy runs as; it needs no home."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def service(user: str, arguments: Sequence[str]) -> None:
    """Print a systemd unit that starts the proxy as a user of its own, which can write nothing but its store and its CA.

    ARGUMENTS are mitmdump's, for the proxy: pypi-cache service --listen-port 3128 --set pypi_cache_max_size=50g
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}\$?", user):
        raise click.UsageError(f"--user {user!r} is no user's name")
    if wrong := next((each for each in arguments if not each.isprintable()), None):
        raise click.UsageError(f"{wrong!r} cannot stand in a unit: it has control characters")
    print_line(unit(UNIT.read_text(), start(Path(pkgcache.__file__), Path(sys.argv[0])), user, arguments).rstrip("\n"))


def start(package: Path, program: Path) -> Sequence[str]:
    """Return the command that starts the proxy: a checkout's run.sh, else the installed command."""
    script = package.parents[2] / "run.sh"
    if script.is_file() and (package.parents[2] / "pyproject.toml").is_file():
        return [str(script)]
    words = [sys.executable, "-m", "pkgcache"] if program.suffix == ".py" else [str(program.absolute())]
    return [*words, "serve"]


def unit(template: str, command: Sequence[str], user: str, arguments: Sequence[str]) -> str:
    """Return the unit's text."""
    is_at_home = command[0].startswith(HOMES)
    places = {
        "@USER@": user,
        "@COMMAND@": shlex.join(command[:-1] or [*command, "cli"]),
        "@START@": " ".join(map(quoted, command)),
        "@ARGUMENTS@": "".join(f" {quoted(each)}" for each in arguments),
        "@HOME@": "read-only" if is_at_home else "yes",
        "@CAPABILITIES@": "CAP_NET_BIND_SERVICE" if _port(arguments) < PRIVILEGED else "",
    }
    return re.sub("|".join(places), lambda found: places[found[0]], template)


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
