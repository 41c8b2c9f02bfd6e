"""Where the command begins. Ctrl-C ends it in one line from the first moment on, even while its modules are being loaded."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Load the command line, which takes a third of a second, and run it."""
    try:
        from pkgcache.cli.app import main as run  # noqa: PLC0415  loading is what may be interrupted
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(128 + signal.SIGINT)  # exits.INTERRUPTED, which may not be loaded yet
    run()


if __name__ == "__main__":
    main()
