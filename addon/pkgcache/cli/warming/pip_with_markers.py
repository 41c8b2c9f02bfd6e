"""Run pip with the markers of another machine: `pip_with_markers.py '{"sys_platform": "win32", …}' install …`.

pip's `--platform` and `--python-version` choose wheels, but requirements' markers are still evaluated for the Python that runs pip
(pip#11664 and others), so a Windows agent's colorama would never be fetched. `requirements` runs this as a script.
"""

from __future__ import annotations

import json
import sys

from pip._internal.cli.main import main
from pip._vendor.packaging import markers


def run(environment: dict[str, str], words: list[str]) -> int:
    """Run pip with these arguments and marker values: its exit code."""
    markers.default_environment = lambda: dict(environment)  # type: ignore[assignment,return-value]  # older pips have no type for it
    return main(words)


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), sys.argv[2:]))
