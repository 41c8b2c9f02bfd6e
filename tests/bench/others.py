"""Tools that call pip or read an index themselves: direct, cold through the proxy, restarted with the upstream cut, and offline.

`BIN` is a folder with the commands (an environment's `bin` with those tools installed that are named). What a
tool has made, or has printed, should be the same everywhere: a lock's bytes, an audit's findings, the packages that were installed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.tools import note, table
from tests.bench.workshop import ROOTS, TRUST, last_words
from tests.support.clients import run
from tests.support.peers import Peer
from tests.support.proxy import Proxy

WANTED: Final = "flask==3.1.0\ntqdm\n"
FILES: Final[Mapping[str, str]] = {
    "in.txt": WANTED,
    "pins.txt": "six==1.17.0\nidna==3.10\n",
    "tox.ini": "[testenv]\nskip_install = true\ndeps = six\n    idna\ncommands = pip freeze\n",
    "noxfile.py": (
        "import nox\n@nox.session\ndef one(session):\n    session.install('six', 'idna')\n    session.run('pip', 'freeze')\n"
    ),
    "Pipfile": '[packages]\nflask = "==3.1.0"\ntqdm = "*"\n',
    "pyproject.toml": (
        '[project]\nname = "trial"\nversion = "0"\nrequires-python = ">=3.12"\ndependencies = ["tqdm", "flask==3.1.0"]\n'
        "[tool.hatch.envs.default]\nskip-install = true\ndependencies = ['six', 'idna']\n"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool's command in a folder with `FILES`, and what it has made of it, to be compared."""

    name: str
    words: Sequence[str]
    made: Callable[[Path, str], str]
    env: Mapping[str, str] | None = None


def _file(name: str) -> Callable[[Path, str], str]:
    return lambda folder, _: (folder / name).read_text()


def _is_there(name: str) -> Callable[[Path, str], str]:
    return lambda folder, _: str((folder / name).exists())


def _printed(_: Path, output: str) -> str:
    return "\n".join(sorted(line for line in output.splitlines() if "==" in line))


def _audited(folder: Path, _: str) -> str:
    found = json.loads((folder / "audit.json").read_text())["dependencies"]
    return "\n".join(
        f"{each['name']} {sorted(v['id'] for v in each['vulns']) if 'vulns' in each else 'skipped'}" for each in found
    )


TOOLS: Final = (
    Tool(
        name="pip-compile",
        words=("pip-compile", "-q", "--generate-hashes", "--no-header", "-o", "out.txt", "in.txt"),
        made=_file("out.txt"),
    ),
    Tool(name="uv lock", words=("uv", "lock", "-q"), made=_file("uv.lock")),
    Tool(
        name="uv compile",
        words=(
            "uv",
            "pip",
            "compile",
            "-q",
            "--universal",
            "--generate-hashes",
            "--no-header",
            "in.txt",
            "-o",
            "u.txt",
        ),
        made=_file("u.txt"),
    ),
    Tool(
        name="pip-audit",
        words=(
            *[
                "pip-audit",
                "-r",
                "pins.txt",
                "--no-deps",
                "--disable-pip",
                "--progress-spinner=off",
                "-f",
                "json",
                "-o",
                "audit.json",
            ],
        ),
        made=_audited,
    ),
    Tool(name="poetry", words=("poetry", "lock", "--no-interaction", "-q"), made=_file("poetry.lock")),
    Tool(name="pdm", words=("pdm", "lock", "-q"), made=_file("pdm.lock"), env={"PDM_CHECK_UPDATE": "0"}),
    Tool(
        name="pipenv",
        words=("pipenv", "lock", "-q"),
        made=_file("Pipfile.lock"),
        env={"PIPENV_IGNORE_VIRTUALENVS": "1"},
    ),
    Tool(name="pex", words=("pex", "six", "idna", "-o", "it.pex"), made=_is_there("it.pex")),
    Tool(name="tox", words=("tox", "-q", "run", "-e", "py"), made=_printed),
    Tool(name="nox", words=("nox", "-s", "one"), made=_printed),
    Tool(name="hatch", words=("hatch", "run", "pip", "freeze"), made=_printed),
    Tool(name="pipx", words=("pipx", "install", "--quiet", "pycowsay"), made=_is_there("pipx/venvs/pycowsay")),
)


def once(tool: Tool, path: Path, home: Path, env: Mapping[str, str]) -> tuple[str, float]:
    """Run a tool as a new agent; what it has made (`FAILS: …` if it fails), and its seconds."""
    home.mkdir(parents=True)
    for name, text in FILES.items():
        (home / name).write_text(text)
    own = {
        "PATH": f"{path}:/usr/bin:/bin",
        "HOME": str(home),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIPX_HOME": str(home / "pipx"),
    }
    own |= {
        "XDG_CACHE_HOME": str(home / "cache"),
        "UV_CACHE_DIR": str(home / "uv"),
        "UV_PYTHON": str(path / "python"),
        "PEX_ROOT": str(home / "pex"),
    }
    began = time.monotonic()
    result = run(
        home, [path / tool.words[0], *tool.words[1:]], env={**own, **(tool.env or {}), **env}, cwd=home, timeout=400
    )
    try:
        made = tool.made(home, result.stdout + result.stderr)
    except (OSError, ValueError, KeyError) as error:
        made = f"FAILS: {error}"
    if result.returncode and tool.name != "pip-audit":  # 1: it has found something
        made = f"FAILS: {last_words(result)}"
    return made, time.monotonic() - began


def compared(tool: Tool, path: Path, folder: Path) -> tuple[str, ...]:
    """A row of the table: the four runs of a tool."""
    straight, seconds = once(tool, path, folder / "direct", dict.fromkeys(TRUST, ROOTS))
    cells = [f"{straight[:150] if 'FAILS' in straight else f'{len(straight)} bytes'}, {seconds:.0f} s"]
    with Proxy(folder / "proxy", timeout=60) as proxy, Peer(lambda _: None) as dead:
        for how in ("cold", "cut", "offline"):
            if how != "cold":
                proxy.stop()
                proxy.env |= {"HTTPS_PROXY": f"http://127.0.0.1:{dead.port}"}
                proxy.options["pypi_cache_offline"] = how == "offline"
                proxy.start()
            env = {"HTTPS_PROXY": proxy.url, **dict.fromkeys(TRUST, str(proxy.bundle))}
            made, seconds = once(tool, path, folder / how, env)
            if straight.startswith("FAILS") and not made.startswith(
                "FAILS"
            ):  # better: what comes next is compared with this
                straight = made
            cells.append(f"{'the same' if made == straight else '**' + made[:300] + '**'}, {seconds:.0f} s")
        for complaint in proxy.complaints:
            note(complaint)
    return (tool.name, *cells)


def main() -> int:
    """Run them, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bin", type=Path, help="a folder with the commands")
    parser.add_argument("only", nargs="*", help=f"else {', '.join(tool.name for tool in TOOLS)}")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="pypi-cache-others-") as name:
        for tool in TOOLS:
            if not arguments.only or tool.name in arguments.only:
                rows.append(compared(tool, arguments.bin.absolute(), Path(name) / tool.name.replace(" ", "-")))
                note(" | ".join(rows[-1]))
    table("Tools around pip", ("tool", "direct", "cold", "upstream cut", "offline"), rows)
    return 1 if any("**" in cell for row in rows for cell in row) else 0


if __name__ == "__main__":
    sys.exit(main())
