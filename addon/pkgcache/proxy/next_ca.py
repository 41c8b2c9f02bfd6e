"""`pypi-cache ca new`: make the CA that is to replace the present one, and end. docs/pages/security.md has the steps around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, NEXT_NAME
from pkgcache.proxy.new_ca import make_next_ca
from pkgcache.proxy.workers.arguments import read_options

USAGE: Final = f"""\
Usage: pypi-cache ca new [--confdir FOLDER] [--set NAME=VALUE]

  Make the next CA, as {NEXT_NAME} in mitmproxy's folder (default: ~/.mitmproxy), and end.

  A running proxy then hands out both CAs in /bundle.pem and /ca.pem, and goes on with the present one. Once all agents
  have fetched the bundle, rename {CA_KEY_NAME} to mitmproxy-ca-old.pem and {NEXT_NAME} to
  {CA_KEY_NAME}, and restart the proxy. Run this as the proxy's user.
"""


def ca(arguments: Sequence[str]) -> NoReturn:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(USAGE)
        sys.exit(0)
    options = read_options(_as_set(arguments[1:])) if arguments[:1] == ["new"] else None
    if options is None:
        sys.stderr.write(f"pypi-cache ca: expected `new`, with --confdir or --set alone\n\n{USAGE}")
        sys.exit(2)
    folder = Path(options.confdir).expanduser()
    try:
        path = make_next_ca(options)
    except FileExistsError:
        sys.stderr.write(f"pypi-cache ca: {folder / NEXT_NAME} is there already; it stays as it is\n")
        sys.exit(1)
    except OSError as error:
        sys.stderr.write(f"pypi-cache ca: {folder}: {error.strerror}\n")
        sys.exit(1)
    sys.stdout.write(f"{path}: the next CA. /bundle.pem and /ca.pem hold both from now on.\n")
    sys.exit(0)


def _as_set(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--confdir FOLDER`, the other commands' word, as mitmproxy writes it.

    >>> _as_set(["--confdir", "/a", "--set", "key_size=4096"]), _as_set(["--confdir=/a"])
    (['--set', 'confdir=/a', '--set', 'key_size=4096'], ['--set', 'confdir=/a'])
    """
    words: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, has_value, value = word.partition("=")
        words += ["--set", f"confdir={value if has_value else next(rest, '')}"] if name == "--confdir" else [word]
    return words
