"""Where the command begins: Ctrl-C ends it in one line from its first moment on, also while its modules are being loaded."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130
"""By Ctrl-C or SIGTERM: what was done is whole, and the same command goes on from there."""


def main() -> NoReturn:
    """Load the command line, which takes a third of a second, and run it."""
    try:
        from pkgcache.cli.main import main as run  # noqa: PLC0415  this is what may be interrupted
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    run()
