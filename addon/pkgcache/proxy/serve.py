"""`pypi-cache serve`: mitmdump with the addon, from wherever the package is installed.

mitmproxy loads an addon by its script's path, and leaves that script's folder on `sys.path` for good. So the script is never inside the
package, whose modules could then shadow others (`settings`, `cli`): it stands beside it, in the wheel as in the repository.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from mitmproxy.tools.main import mitmdump

import pkgcache

SCRIPT: Final = Path(pkgcache.__file__).parents[1] / "pypi_cache.py"


def serve(arguments: Sequence[str]) -> NoReturn:
    """Run mitmdump with the addon and these further arguments, until it is stopped."""
    words = ["-s", str(SCRIPT), *arguments]
    # argparse shows the first word in its help and errors; mitmproxy and the addon look for `--options` in the others.
    sys.argv = ["pypi-cache serve", *words]
    sys.exit(mitmdump(words))
