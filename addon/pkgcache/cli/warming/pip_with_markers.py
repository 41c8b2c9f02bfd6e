"""pip, for whom markers mean another machine than this: `pip_with_markers.py '{"sys_platform": "win32", …}' install …`.

pip's `--platform` and `--python-version` choose wheels; the markers of requirements are still those of the Python that runs pip
(pip#11664 and others), so that a Windows agent's colorama would never be fetched. Run as a script, by requirements.py alone.
"""

from __future__ import annotations

import json
import sys

from pip._internal.cli.main import main
from pip._vendor.packaging import markers


def run(environment: dict[str, str], words: list[str]) -> int:
    """pip with these words, its markers meaning this environment: pip's exit code."""
    markers.default_environment = lambda: dict(environment)  # type: ignore[assignment,return-value]  # older pips have no type of it
    return main(words)


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), sys.argv[2:]))
