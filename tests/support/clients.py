"""Real clients (pip, uv, curl) in a clean environment.

Nothing of this machine's settings may lead them past the proxy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from tests.support.forked import may_fork, start_forked

if TYPE_CHECKING:
    from tests.support.proxy import Proxy

UV: Final = Path(sys.executable).parent / "uv"
CURL: Final = shutil.which("curl")
TIMEOUT: Final = 90.0
type Env = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a client fared."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def ok(self) -> Self:
        """Itself; AssertionError with both streams where it failed."""
        assert self.returncode == 0, f"exit {self.returncode}\n{self}"
        return self

    def failed(self) -> Self:
        """Itself; AssertionError with both streams where it succeeded."""
        assert self.returncode != 0, f"succeeded\n{self}"
        return self

    def __str__(self) -> str:
        return f"$ {' '.join(self.command)}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def bare_env(home: Path) -> dict[str, str]:
    """PATH, HOME and a locale, and nothing else that is set here."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": _made(home)}


def clean_env(home: Path, **extra: str) -> dict[str, str]:
    """An agent's environment: no settings of pip, uv, proxies or TLS but those in `extra`; caches under `home`."""
    return bare_env(home) | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_RETRIES": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        **extra,
    }


def run(
    home: Path,
    command: Sequence[str | Path],
    *,
    env: Env | None = None,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
) -> Result:
    """Run anything as an agent whose home is `home` (its caches: a new home has none)."""
    words = tuple(str(word) for word in command)
    started = time.monotonic()
    done = subprocess.run(
        words,
        env=clean_env(home, **(env or {})),
        cwd=cwd or home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Result(
        command=words,
        returncode=done.returncode,
        stdout=done.stdout,
        stderr=done.stderr,
        seconds=time.monotonic() - started,
    )


def pip(home: Path, *words: str | Path, env: Env | None = None, timeout: float = TIMEOUT) -> Result:
    """`python -m pip …`, as a fork where that sees all of the environment."""
    command = [sys.executable, "-m", "pip", *words]
    environment = clean_env(home, PIP_CACHE_DIR=str(home / ".cache" / "pip")) | dict(env or {})  # pip's, of its home
    if not may_fork(environment):
        return run(home, command, env=env, timeout=timeout)
    arguments, started = tuple(map(str, words)), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        process = start_forked(arguments, env=environment, cwd=home, output=out, errors=err, program="pip")
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return Result(
            command=tuple(map(str, command)),
            returncode=status,
            stdout=out.read_text(),
            stderr=err.read_text(),
            seconds=time.monotonic() - started,
        )


def pip_download(
    home: Path,
    requirements: Sequence[str],
    dest: Path,
    *,
    args: Sequence[str | Path] = (),
    env: Env | None = None,
    timeout: float = TIMEOUT,
) -> Result:
    """`pip download` into `dest`."""
    return pip(home, "download", "--dest", dest, *args, *requirements, env=env, timeout=timeout)


def pip_install(
    home: Path,
    requirements: Sequence[str],
    target: Path,
    *,
    args: Sequence[str | Path] = (),
    env: Env | None = None,
    timeout: float = TIMEOUT,
) -> Result:
    """`pip install --target`."""
    return pip(home, "install", "--target", target, *args, *requirements, env=env, timeout=timeout)


def uv(home: Path, *words: str | Path, env: Env | None = None, cwd: Path | None = None) -> Result:
    """`uv …`."""
    return run(home, [UV, *words], env=env, cwd=cwd)


def uv_install(
    home: Path,
    requirements: Sequence[str],
    target: Path,
    *,
    args: Sequence[str | Path] = (),
    env: Env | None = None,
) -> Result:
    """`uv pip install --target` for this Python."""
    words: list[str | Path] = ["pip", "install", "--python", sys.executable, "--target", target]
    return uv(home, *words, *args, *requirements, env=env)


def uv_compile(
    home: Path, requirements: Sequence[str], *, args: Sequence[str | Path] = (), env: Env | None = None
) -> Result:
    """`uv pip compile --generate-hashes`: the locked requirements are its stdout."""
    source = home / "requirements.in"
    source.write_text("\n".join(requirements) + "\n")
    words = ["pip", "compile", "--python", sys.executable, "--generate-hashes", "--no-header"]
    return uv(home, *words, *args, source, env=env)


def uv_lock(
    home: Path, dependencies: Sequence[str], *, args: Sequence[str | Path] = (), env: Env | None = None
) -> tuple[Result, str]:
    """`uv lock` in a project of its own with these dependencies; also the lock file's text, empty if there is none."""
    project = home / "project"
    project.mkdir(exist_ok=True)
    lines = "\n".join(f'    "{dependency}",' for dependency in dependencies)
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "locked"\nversion = "0"\nrequires-python = ">=3.12"\ndependencies = [\n{lines}\n]\n'
    )
    result = uv(home, "lock", "--python", sys.executable, *args, env=env, cwd=project)
    lock = project / "uv.lock"
    return result, lock.read_text() if lock.exists() else ""


def curl(home: Path, *words: str | Path, env: Env | None = None) -> Result:
    """`curl --silent --show-error …`; skip the test where `CURL` is None."""
    assert CURL is not None, "no curl on PATH"
    return run(home, [CURL, "--silent", "--show-error", *words], env=env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way in which an agent is pointed at the proxy."""

    name: str
    tool: Literal["pip", "uv"]
    args: Callable[["Proxy"], list[str]] = lambda _proxy: []
    env: Callable[["Proxy"], dict[str, str]] = lambda _proxy: {}
    keeps_urls: bool = True
    """The client goes on naming its usual index (and not the proxy's address)."""

    def __str__(self) -> str:
        return self.name

    def install(
        self,
        proxy: "Proxy",
        home: Path,
        requirements: Sequence[str],
        target: Path,
        *,
        args: Sequence[str | Path] = (),
        env: Env | None = None,
    ) -> Result:
        """Install into `target` this way. A new `home` is a new agent, without any cache."""
        install = pip_install if self.tool == "pip" else uv_install
        return install(
            home, requirements, target, args=[*self.args(proxy), *args], env={**self.env(proxy), **(env or {})}
        )


WAYS: Final = (
    Way(
        name="pip --proxy --cert",
        tool="pip",
        args=lambda proxy: ["--proxy", proxy.url, "--cert", str(proxy.bundle)],
    ),
    Way(
        name="pip HTTPS_PROXY PIP_CERT",
        tool="pip",
        env=lambda proxy: {"HTTPS_PROXY": proxy.url, "PIP_CERT": str(proxy.bundle)},
    ),
    Way(
        name="uv HTTPS_PROXY SSL_CERT_FILE",
        tool="uv",
        env=lambda proxy: {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(proxy.bundle)},
    ),
    Way(
        name="pip -i the proxy",
        tool="pip",
        args=lambda proxy: ["-i", f"{proxy.url}/pypi/simple", "--trusted-host", "127.0.0.1"],
        keeps_urls=False,
    ),
)
"""The four ways of issue 2; `pytest.mark.parametrize("way", WAYS, ids=str)`."""

PIP_PROXY, PIP_ENV, UV_ENV, PIP_INDEX = WAYS


def installed(target: Path) -> dict[str, str]:
    """Which distributions are in a `--target` folder: normalised name → version."""
    names = (path.name.removesuffix(".dist-info").rpartition("-") for path in target.glob("*.dist-info"))
    return {name.replace("_", "-"): version for name, _, version in names}


def _made(home: Path) -> str:
    folder = home / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
