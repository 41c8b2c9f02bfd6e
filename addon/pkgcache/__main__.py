"""`pypi-cache`, or `python -m pkgcache`: `serve` starts the proxy, `ca` makes its next CA; other words are the maintenance command's.

Neither loads the other: the maintenance command works without mitmproxy, and the proxy without its parsers and tables.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run `serve` or `ca`, or hand over to the maintenance command."""
    if sys.argv[1:2] == ["serve"]:
        from pkgcache.proxy.serve import serve  # noqa: PLC0415  see above

        serve(sys.argv[2:])
    if sys.argv[1:2] == ["ca"]:
        from pkgcache.proxy.next_ca import ca  # noqa: PLC0415  see above

        ca(sys.argv[2:])
    from pkgcache.cli.__main__ import main as command  # noqa: PLC0415

    command()


if __name__ == "__main__":
    main()
