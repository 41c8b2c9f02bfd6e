"""The clients that the benchmarks drive, pip 9 to the newest, uv, poetry, pdm and pipenv, and the ways in which each is pointed at a proxy.

Each is installed in a throw-away environment of its own, straight from the default index, pip on the oldest Python of this machine that
it supports.
"""

import importlib.metadata
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.bench.tools import note
from tests.support.authority import Authority
from tests.support.clients import UV, Env, Result, clean_env, installed, run
from tests.support.names import INDEX_URL
from tests.support.proxy import Proxy
from tests.support.real import Tunnel

PIPS: Final = ("9", "10", "18", "19", "20", "21", "22", "23", "24", "25", "")
"""The series of pip, each by its last release; empty: the newest of all."""
WANTED: Final = ("six", "idna", "certifi", "flask", "tqdm")
"""With what some resolvers look at and nobody installs here: tqdm needs one more package on Windows."""
WANTED_OF_PYTHON_2: Final = ("six", "idna<3", "certifi", "requests<2.28", "flask")
ROOTS: Final = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or ""
"""This machine's roots, for what goes past the proxy."""
PYPROJECT: Final = """\
[project]
name = "trial"
version = "0"
requires-python = ">=3.12"
dependencies = [{wanted}]

[tool.poetry]
package-mode = false

[tool.pdm]
distribution = false
"""
POETRY_SOURCE: Final = """
[[tool.poetry.source]]
name = "cache"
url = "{url}"
"""
TIMEOUT: Final = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way in which a client is pointed at the proxy. `pyproject` is put at the end of the project's file."""

    name: str
    args: Callable[[Proxy], list[str]] = lambda _: []
    env: Callable[[Proxy], dict[str, str]] = lambda _: {}
    pyproject: Callable[[Proxy], str] = lambda _: ""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the proxy, which then goes to the default index itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that is installed. `command` gives the words to run in a home, with a way's arguments."""

    name: str
    version: str
    python: str
    wanted: tuple[str, ...]
    ways: tuple[Way, ...]
    command: Callable[[Path, list[str]], Sequence[str | Path]]
    env: Env
    site: str
    """Where it installs, from its home; a pattern."""
    old_index: bool = False
    """Its own default index is another than today's."""

    def install(self, home: Path, way: Way, proxy: Proxy | None) -> Result:
        """Install what is wanted, as a new agent in `home`; without a proxy, by itself."""
        home.mkdir(parents=True)
        args, env, more = (way.args(proxy), way.env(proxy), way.pyproject(proxy)) if proxy else ([], STRAIGHT, "")
        wanted = ", ".join(f'"{each}"' for each in self.wanted)
        if self.name in {"poetry", "pdm"}:
            (home / "pyproject.toml").write_text(PYPROJECT.format(wanted=wanted) + more)
        return run(home, self.command(home, args), env={**self.env, **env}, timeout=TIMEOUT)

    def installed(self, home: Path) -> dict[str, str]:
        """What is installed there."""
        folders = list(home.glob(self.site))
        return installed(folders[0]) if folders else {}


TRUST: Final = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""What names the roots to one client or another."""
STRAIGHT: Final = dict.fromkeys(TRUST, ROOTS)


# The ways

DEFAULT_INDEX: Final = """\
try:
    from pip._internal.models.index import PyPI
except ImportError:
    from pip.models.index import PyPI
print(PyPI.simple_url)
"""
"""Asks a pip where it goes by default."""


def _bundle(*names: str) -> Callable[[Proxy], dict[str, str]]:
    return lambda proxy: {"HTTPS_PROXY": proxy.url, **dict.fromkeys(names, str(proxy.bundle))}


PIP_WAYS: Final = (
    Way(name="`--proxy`, `--cert`", args=lambda proxy: ["--proxy", proxy.url, "--cert", str(proxy.bundle)]),
    Way(name="`HTTPS_PROXY`, `PIP_CERT`", env=_bundle("PIP_CERT")),
    Way(
        name="`-i` the proxy",
        args=lambda proxy: ["-i", f"{proxy.url}/pypi/simple", "--trusted-host", "127.0.0.1"],
    ),
)
UV_WAYS: Final = (
    Way(name="`HTTPS_PROXY`, `SSL_CERT_FILE`", env=_bundle("SSL_CERT_FILE")),
    Way(name="`UV_DEFAULT_INDEX` the proxy", env=lambda proxy: {"UV_DEFAULT_INDEX": f"{proxy.url}/pypi/simple"}),
)
POETRY_WAYS: Final = (
    Way(name="`HTTPS_PROXY`, `REQUESTS_CA_BUNDLE`", env=_bundle("REQUESTS_CA_BUNDLE")),
    Way(
        name="`[[tool.poetry.source]]` the proxy",
        pyproject=lambda proxy: POETRY_SOURCE.format(url=f"{proxy.url}/pypi/simple/"),
    ),
)
PDM_WAYS: Final = (
    Way(name="`HTTPS_PROXY`, `REQUESTS_CA_BUNDLE`", env=_bundle("REQUESTS_CA_BUNDLE")),
    Way(name="`HTTPS_PROXY`, `SSL_CERT_FILE`", env=_bundle("SSL_CERT_FILE")),
    Way(name="`PDM_PYPI_URL` the proxy", env=lambda proxy: {"PDM_PYPI_URL": f"{proxy.url}/pypi/simple"}),
)
PIPENV_WAYS: Final = (
    Way(name="`HTTPS_PROXY`, `REQUESTS_CA_BUNDLE`", env=_bundle("REQUESTS_CA_BUNDLE")),
    Way(name="`HTTPS_PROXY`, `PIP_CERT`", env=_bundle("PIP_CERT")),
    Way(name="`PIPENV_PYPI_MIRROR` the proxy", env=lambda proxy: {"PIPENV_PYPI_MIRROR": f"{proxy.url}/pypi/simple"}),
)


def old_pip_ways(default: str) -> tuple[Way, ...]:
    """The ways of a pip whose default index is at another place than today's: told of today's, or the proxy is told of its own."""
    by_proxy, by_environment, own = PIP_WAYS
    told = replace(
        by_proxy,
        name=f"{by_proxy.name}, `-i` today's index",
        args=lambda proxy: [*by_proxy.args(proxy), "-i", INDEX_URL],
    )
    options = {"pypi_cache_index": f"old={default} {INDEX_URL}"}
    named = (
        replace(way, name=f"{way.name} (`pypi_cache_index`)", options=options) for way in (by_proxy, by_environment)
    )
    return (told, own, *named)


# Installing the clients


class Workshop:
    """Where the clients are installed, straight from the index. What is there already is used again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = folder / "home"
        self._home.mkdir(parents=True, exist_ok=True)

    def pip(self, series: str) -> Client:
        """The last pip of a series, in an environment on the oldest Python that it supports."""
        wheel = self.folder / f"pip-{series or 'newest'}"
        if not wheel.exists():
            requirement = f"pip=={series}.*" if series else "pip"
            self._uv("pip", "install", "--no-deps", "--python", sys.executable, "--target", wheel, requirement)
        (about,) = importlib.metadata.distributions(name="pip", path=[str(wheel)])
        supported = SpecifierSet(about.metadata["Requires-Python"] or "")
        version, python = min((version, path) for version, path in pythons().items() if version in supported)
        place = self.folder / f"pip-{series or 'newest'}-venv"
        if not place.exists():
            self._venv(place, version, python)
            shutil.copytree(wheel, _site_packages(place), dirs_exist_ok=True)
        default = self._default_index(place / "bin" / "python")
        command: list[str | Path] = [place / "bin" / "python", "-m", "pip", "install"]
        wanted = WANTED_OF_PYTHON_2 if version.major == 2 else WANTED
        return Client(
            name="pip",
            version=about.version,
            python=str(version),
            wanted=wanted,
            ways=PIP_WAYS if default == INDEX_URL else old_pip_ways(default),
            old_index=default != INDEX_URL,
            command=lambda home, args: [*command, "--target", home / "target", *args, *wanted],
            env={},
            site="target",
        )

    def _default_index(self, python: Path) -> str:
        """Where this pip goes by default."""
        return run(self._home, [python, "-c", DEFAULT_INDEX]).ok().stdout.strip().rstrip("/") + "/"

    def uv(self) -> Client:
        """The uv of this environment."""
        words: list[str | Path] = [UV, "pip", "install", "--python", sys.executable]
        return Client(
            name="uv",
            version=importlib.metadata.version("uv"),
            python=platform.python_version(),
            wanted=WANTED,
            ways=UV_WAYS,
            command=lambda home, args: [*words, "--target", home / "target", *args, *WANTED],
            env={},
            site="target",
        )

    def poetry(self) -> Client:
        """The newest poetry."""
        return self._project_tool(
            "poetry",
            ["install", "--no-interaction"],
            ways=POETRY_WAYS,
            env={"POETRY_VIRTUALENVS_IN_PROJECT": "true", "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"},
        )

    def pdm(self) -> Client:
        """The newest pdm, with the dependencies that it was released with: newer ones may not fit."""
        env = {"PDM_CHECK_UPDATE": "false"}
        return self._project_tool("pdm", ["install"], extra="[locked]", ways=PDM_WAYS, env=env)

    def pipenv(self) -> Client:
        """The newest pipenv. It writes a Pipfile with its usual index."""
        env = {"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_NOSPIN": "1", "PIPENV_IGNORE_VIRTUALENVS": "1", "NO_COLOR": "1"}
        return self._project_tool("pipenv", ["install", *WANTED], ways=PIPENV_WAYS, env=env)

    def _project_tool(
        self,
        name: str,
        words: Sequence[str],
        *,
        ways: tuple[Way, ...],
        env: Env,
        extra: str = "",
    ) -> Client:
        place = self.folder / name
        if not place.exists():
            self._venv(place, Version(platform.python_version()), Path(sys.executable))
            self._uv("pip", "install", "--python", place / "bin" / "python", f"{name}{extra}")
        (about,) = importlib.metadata.distributions(name=name, path=[str(_site_packages(place))])
        return Client(
            name=name,
            version=about.version,
            python=platform.python_version(),
            wanted=WANTED,
            ways=ways,
            command=lambda _, args: [place / "bin" / name, *words, *args],
            env={"VIRTUALENV_NO_PERIODIC_UPDATE": "1", "PATH": f"{place / 'bin'}:{os.environ['PATH']}", **env},
            site=".venv/lib/python3*/site-packages",
        )

    def _venv(self, place: Path, version: Version, python: Path) -> None:
        if version.major == 3:
            run(self._home, [python, "-m", "venv", "--without-pip", place]).ok()
        else:  # the last virtualenv that makes environments for Python 2
            bare = ("--no-download", "--no-pip", "--no-setuptools", "--no-wheel")
            words = ("tool", "run", "--python", sys.executable, "--from", "virtualenv<20.22", "virtualenv")
            self._uv(*words, *bare, "--python", python, place)

    def _uv(self, *words: str | Path) -> None:
        run(self._home, [UV, *words], env={"SSL_CERT_FILE": ROOTS}, timeout=TIMEOUT).ok()


def pythons() -> dict[Version, Path]:
    """The Pythons of this machine: on PATH, and pyenv's."""
    folders = [Path(each) for each in os.get_exec_path()]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    found: dict[Version, Path] = {}
    for folder in folders:
        for path in (*folder.glob("python2.7"), *folder.glob("python3.[0-9]"), *folder.glob("python3.[0-9][0-9]")):
            said = subprocess.run(
                [path, "-c", "import platform, ssl; print(platform.python_version())"],
                env=clean_env(Path(tempfile.gettempdir())),
                capture_output=True,
                text=True,
                check=False,
            )
            if said.returncode == 0:
                found.setdefault(Version(said.stdout.strip()), path)
    return found


def _site_packages(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


# What all need


def stand_in_url(tunnel: Tunnel) -> str:
    """A tunnel as a parent proxy's address."""
    return f"http://127.0.0.1:{tunnel.port}"


def last_words(result: Result) -> str:
    """What a client said at its end, in one line."""
    lines = [line.strip() for line in f"{result.stdout}\n{result.stderr}".splitlines() if line.strip()]
    return " ⏎ ".join(lines[-4:])[-600:]


def full_bundle(folder: Path, authority: Authority) -> Path:
    """This machine's roots and a test authority's, in one file."""
    path = folder / "roots.pem"
    path.write_text(Path(ROOTS).read_text() + authority.bundle.read_text())
    return path


def clients(workshop: Workshop, only: Sequence[str]) -> Iterator[Client]:
    """Those that were asked for, in order; each is installed when its turn comes."""
    makers: dict[str, Callable[[], Client]] = {
        f"pip{series}" if series else "pip-newest": lambda series=series: workshop.pip(series)  # type: ignore[misc]
        for series in PIPS
    }
    makers |= {"uv": workshop.uv, "poetry": workshop.poetry, "pdm": workshop.pdm, "pipenv": workshop.pipenv}
    for name, make in makers.items():
        if not only or name in only:
            try:
                yield make()
            except (AssertionError, OSError, subprocess.SubprocessError, ValueError) as error:
                note(f"{name} cannot be installed: {error}")
