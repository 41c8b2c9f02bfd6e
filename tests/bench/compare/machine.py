"""What the figures were measured on: machine, versions, date."""

import datetime as dt
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.bench.compare.contenders import FROM_INDEX, PEERS_VENV

SBIN: Final = f"{os.environ.get('PATH', '')}:/usr/sbin"
_PRINT: Final = "import importlib.metadata as m; print(m.version({!r}))"
ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "nginx": ("nginx", "-v"),
    "Squid": ("squid", "-v"),
    "wrk": ("wrk", "-v"),
    "curl": ("curl", "--version"),
    "socat": ("socat", "-V"),
    "h2load": ("h2load", "--version"),
    **{name: (str(PEERS_VENV / "bin" / "python"), "-c", _PRINT.format(name)) for name in FROM_INDEX},
}
"""What each is asked for its version."""


def described() -> dict[str, Any]:
    """All of it, for the JSON."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = {"Python": platform.python_version(), **{name: version(name) for name in ("mitmproxy", "pip", "uv")}}
    versions |= {name: found for name, words in ASKED.items() if (found := _version(words))}
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": cpu[1] if cpu else platform.machine(),
            "cores": os.cpu_count(),
            "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "system": platform.platform(),
            "load before": round(os.getloadavg()[0], 1),
        },
        "versions": versions,
    }


def _version(words: tuple[str, ...]) -> str:
    """The first thing like a version that a program says; empty if it is not there."""
    program = shutil.which(words[0], path=SBIN)
    if program is None:
        return ""
    done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else ""


def sentence(about: Mapping[str, Any]) -> str:
    """The same in a line, for the report."""
    of = about["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    machine = f"{of['cores']} cores ({of['processor']}), {of['memory'] / 1e9:.0f} GB, load {of['load before']} before"
    return f"{about['date'][:16]}, {machine}; {versions}."
