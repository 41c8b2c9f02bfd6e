"""Requirements: pip itself resolves them through the proxy, for each environment, and reports what it would install.

With `--dry-run` pip fetches pages and metadata as for an install, but no wheel whose metadata the index has; `warmer` fetches the
reported files afterwards, several at a time. For another Python or platform pip considers wheels only, since it can build only for its
own, and is run by `pip_with_markers`, since its `--platform` leaves markers as they are on this machine.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from pkgcache.cli.warming.environments import Environment
from pkgcache.cli.warming.lock_model import LockedFile, Package

_OPTION = re.compile(r"\s*(?:(?:-i|--index-url|--pypi-url|--extra-index-url)(?:\s+|=)|-i)(\S+)")
_NESTED = re.compile(r"\s*(?:-r|--requirement|-c|--constraint)(?:\s+|=)?(\S+)")
_OURS = re.compile(
    r"(PIP|UV)_.*|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE", re.IGNORECASE
)
_COLLECTING = re.compile(r"\s*Collecting ([A-Za-z0-9._-]+)")
_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)
_BROKEN = re.compile(r"^WARNING: Retrying \(.*\) after connection broken by (.*)", re.MULTILINE)


class ResolutionError(Exception):
    """pip could not resolve the requirements. The message is pip's, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipRoute:
    """How pip reaches the proxy (`bundle`: the certificates to trust), and which indexes it asks; an empty `index` is pip's default."""

    proxy: str
    bundle: Path
    index: str = ""
    more_indexes: tuple[str, ...] = ()
    tell: Callable[[str], None] = lambda _: None
    """Called with the name of each project that pip looks at."""

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment as an agent's, without settings that lead past the proxy."""
        others = {name: value for name, value in os.environ.items() if not _OURS.fullmatch(name)}
        names = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
        return others | dict.fromkeys(names, self.proxy) | {
            "PIP_CERT": str(self.bundle),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INPUT": "1",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **({"PIP_INDEX_URL": self.index} if self.index else {}),  # not arguments: every user can see those, and URLs hold passwords
            **({"PIP_EXTRA_INDEX_URL": " ".join(self.more_indexes)} if self.more_indexes else {}),
        }  # fmt: skip


def index_urls(files: Sequence[Path]) -> list[str]:
    """The indexes that requirements files and the files they include name, with their credentials. Raises OSError."""
    found: dict[str, None] = {}
    seen: set[Path] = set()
    reading: list[Iterator[str | Path]] = [iter(files)]
    while (
        reading
    ):  # no recursion: a chain of files may be longer than Python's stack is deep, and may end where it began
        item = next(reading[-1], None)
        if item is None:
            reading.pop()
        elif isinstance(item, str):
            found[item] = None
        elif (file := item.resolve()) not in seen:
            seen.add(file)
            reading.append(_named_in(file))
    return list(found)


def _named_in(file: Path) -> Iterator[str | Path]:
    """The indexes' URLs that a file names, and the files that it includes, in their order."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _OPTION.match(line):
            yield match[1]
        elif (match := _NESTED.match(line)) and (nested := file.parent / match[1]).is_file():
            yield nested


def resolve(arguments: Sequence[str], environment: Environment, route: PipRoute) -> list[Package]:
    """Ask pip what it would install in an environment. Raises ResolutionError.

    `arguments` are those of `pip install`: `-r FILE`, or requirements.
    """
    with tempfile.TemporaryDirectory(prefix="pypi-cache-warm-") as folder:
        report = Path(folder) / "report.json"
        command = [*_pip(environment), "install", "--dry-run", "--ignore-installed", "--report", str(report)]
        command += ["--no-color", "--progress-bar", "off"]
        if not environment.native:
            command += ["--only-binary", ":all:", "--target", str(Path(folder) / "target"), "--implementation", "cp"]
            command += ["--python-version", ".".join(map(str, environment.python))]
            for platform in environment.platforms:
                command += ["--platform", platform]
        status, errors = _run([*command, *arguments], route, Path(folder) / "errors")
        if status:
            raise ResolutionError(pip_message(errors) or f"pip ended with {status}")
        return read_report(json.loads(report.read_text(encoding="utf-8")))


def _run(command: Sequence[str], route: PipRoute, errors: Path) -> tuple[int, str]:
    """Run pip, and tell what it is at. Returns its status and what it wrote to standard error."""
    with (
        errors.open("wb") as file,
        subprocess.Popen(
            command,
            env=route.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if match := _COLLECTING.match(line):
                route.tell(match[1])
        process.wait()
    return process.returncode, errors.read_text(errors="replace")


def _pip(environment: Environment) -> list[str]:
    if environment.native:
        return [sys.executable, "-m", "pip"]
    return [sys.executable, str(Path(__file__).with_name("pip_with_markers.py")), json.dumps(dict(environment.markers))]


def pip_message(output: str) -> str:
    """The reason for a failure, in pip's words: its last error, and why it could not reach the index, if it could not."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [
        each for each in _ERROR.findall(output) if each != "Exception:"
    ]  # a traceback follows, whose last line says more
    reason = next(iter([*reversed(errors), *reversed(lines)]), "")
    broken = _BROKEN.findall(output)
    return f"{reason} ({broken[-1]})" if broken else reason


def read_report(report: Mapping[str, Any]) -> list[Package]:
    """Read the packages of pip's installation report, with the URL of each file. Local folders and VCS checkouts are left out."""
    packages = []
    for item in report.get("install", ()):
        info = item["download_info"]
        if not info["url"].startswith(("https:", "http:")) or "archive_info" not in info:
            continue
        hashes = tuple(f"{name}:{value}" for name, value in info["archive_info"].get("hashes", {}).items())
        file = LockedFile(filename=info["url"].rpartition("/")[2], url=info["url"], hashes=hashes)
        packages.append(
            Package(
                name=canonicalize_name(item["metadata"]["name"]), version=item["metadata"]["version"], files=(file,)
            )
        )
    return packages
