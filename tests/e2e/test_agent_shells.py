"""`/env.sh` and its like in the shells of agents: what they set, with which tools, where they can write, and how it is undone.

PowerShell cannot be had where this was written: its script is held by `tests/web/test_agent_settings.py`, as a text alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.clients import bare_env, pip_download, run
from tests.support.factories import small_wheels
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream

SHELLS: Final[Mapping[str, tuple[str, ...]]] = {
    "sh": ("sh", "-euc"),
    "dash": ("dash", "-euc"),
    "bash": ("bash", "-euc"),
    "bash without -e": ("bash", "-uc"),
    "zsh": ("zsh", "-feuc"),
    "busybox": ("busybox", "sh", "-euc"),
    "fish": ("fish", "--no-config", "-c"),
}
BUNDLES: Final = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TOOLS: Final = ("mktemp", "mkdir", "chmod", "mv", "rm", "od", "tr", "sed", "env", "cat", "stty")
FETCHERS: Final = {"curl": "curl", "wget": "wget", "python3": sys.executable}


@dataclass(frozen=True, slots=True)
class Agent:
    """A machine of its own: a home, and a PATH with the usual small tools and those named."""

    folder: Path
    url: str

    def evaluate(
        self, shell: str, then: str = "env", *, fetcher: str = "", query: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Read the settings into a shell, as the start page says, and then run a command in it. `fetcher`: only this is on the PATH."""
        program, *words = SHELLS[shell]
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed on this machine, so its settings are not tried here")
        if fetcher and shutil.which(FETCHERS[fetcher]) is None:
            pytest.skip(f"{fetcher} is not installed on this machine")
        # Fetched beforehand where the agent has something else than curl to do it by.
        suffix = "fish" if shell == "fish" else "sh"
        script = self.folder / f"env.{suffix}"
        fetched = run(self.folder, ["curl", "-fsS", f"{self.url}/env.{suffix}{query}"]).ok()
        script.write_text(fetched.stdout)
        line = f"source {script}; and {then}" if shell == "fish" else f'eval "$(cat {script} || echo false)" && {then}'
        env = bare_env(self.folder) | environment
        if fetcher:
            env["PATH"] = self._path(fetcher)
        env = {name: value for name, value in env.items() if value != "UNSET"}
        return subprocess.run(
            [shutil.which(program) or program, *words, line],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _path(self, fetcher: str) -> str:
        folder = self.folder / f"only-{fetcher}"
        folder.mkdir(exist_ok=True)
        for name, place in {**{tool: tool for tool in TOOLS}, fetcher: FETCHERS[fetcher]}.items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(shutil.which(place) or f"/missing/{name}")
        return str(folder)


def read(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What `env` has printed."""
    assert done.returncode == 0, done
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Proxy]:
    with Upstream(ca) as upstream:
        upstream.add(*small_wheels())
        folder = tmp_path_factory.mktemp("shells")
        with Proxy(folder, options={"pypi_cache_index": f"pypi={upstream.index_url}"}, upstream_ca=ca.bundle) as proxy:
            yield proxy
            assert not proxy.complaints, proxy.output


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Proxy]:
    """A proxy that requires a login, with a password that no URL may hold as it is."""
    folder = tmp_path_factory.mktemp("locked")
    with Proxy(folder, options={"proxyauth": "me:p@ss/w%rd ü"}, upstream_ca=ca.bundle) as proxy:
        yield proxy


@pytest.fixture
def agent(proxy: Proxy, home: Path) -> Agent:
    return Agent(home, proxy.url)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_set(agent: Agent, proxy: Proxy, shell: str, tmp_path: Path) -> None:
    """Without a word on standard error, under `set -eu` where a shell has it; and pip installs with it."""
    done = agent.evaluate(shell)
    assert done.stderr == ""
    seen = read(done)
    assert seen["HTTPS_PROXY"] == seen["https_proxy"] == proxy.url
    assert seen["NO_PROXY"] == seen["no_proxy"] == "localhost,127.0.0.1,::1"
    for name in BUNDLES:
        assert Path(seen[name]).read_bytes() == proxy.get("/bundle.pem").body
    assert Path(seen["PIP_CERT"]).is_relative_to(agent.folder / ".cache")
    assert not [path for path in Path(seen["PIP_CERT"]).parent.iterdir() if path.name != "pypi-cache-bundle.pem"]
    if shell in {"sh", "fish"}:
        extra = {name: seen[name] for name in ("HTTPS_PROXY", "NO_PROXY", *BUNDLES)}
        pip_download(agent.folder, ["beta"], tmp_path / "dest", env=extra).ok()


@pytest.mark.parametrize("fetcher", FETCHERS)
@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_with_one_tool_alone(agent: Agent, proxy: Proxy, shell: str, fetcher: str) -> None:
    """The other two are not on the PATH. A proxy that is set already does not come in between."""
    seen = read(
        agent.evaluate(shell, fetcher=fetcher, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    )
    assert Path(seen["PIP_CERT"]).read_bytes() == proxy.get("/bundle.pem").body
    assert seen["http_proxy"] == "http://127.0.0.1:9", "that is none of ours"


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed on this machine")
def test_with_the_tools_of_busybox_alone(agent: Agent, proxy: Proxy) -> None:
    """As in an Alpine container: its wget knows neither `--no-proxy` nor `--no-config`."""
    folder = agent.folder / "applets"
    folder.mkdir()
    for name in (*TOOLS, "wget", "sh"):
        (folder / name).symlink_to(shutil.which("busybox") or "")
    seen = read(agent.evaluate("busybox", PATH=str(folder)))
    assert Path(seen["PIP_CERT"]).read_bytes() == proxy.get("/bundle.pem").body


@pytest.mark.parametrize("shell", sorted(SHELLS.keys() - {"zsh", "fish"}))
def test_without_a_home(agent: Agent, shell: str, tmp_path: Path) -> None:
    """HOME unset: a temporary folder, and a word about it. zsh and fish set HOME themselves, from the table of users."""
    temporary = tmp_path / "tmp with a blank"
    temporary.mkdir()
    done = agent.evaluate(shell, HOME="UNSET", TMPDIR=str(temporary))
    seen = read(done)
    assert Path(seen["PIP_CERT"]).parent.parent == temporary
    assert f"the bundle is in {temporary}" in done.stderr


@pytest.mark.parametrize("place", ["file", "no folder"])
@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_with_a_home_that_cannot_be_written(agent: Agent, shell: str, place: str, tmp_path: Path) -> None:
    """The tests may run as root, who may write everywhere but in a file, or below /proc."""
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file") if place == "file" else "/proc/self/fd"
    done = agent.evaluate(shell, HOME=place, TMPDIR=str(tmp_path))
    assert Path(read(done)["PIP_CERT"]).parent.parent == tmp_path
    assert "the bundle is in" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_undone(agent: Agent, proxy: Proxy, shell: str) -> None:
    """What was set before is back, even if it was set twice; what was not set is gone."""
    before = {
        "NO_PROXY": "intranet.example",
        "SSL_CERT_FILE": "/etc/my roots.pem",
        "https_proxy": "http://other.example:1",
    }
    suffix = "fish" if shell == "fish" else "sh"
    set_ = agent.folder / f"env.{suffix}"
    undo = agent.folder / f"undo.{suffix}"
    undo.write_text(run(agent.folder, ["curl", "-fsS", f"{proxy.url}/env.{suffix}?undo"]).ok().stdout)
    again = f"source {set_}; source {undo}; env" if shell == "fish" else f". {set_} && . {undo} && env"
    seen = read(agent.evaluate(shell, again, **before))
    ours = {name for name in seen if "PYPI_CACHE" in name or name.upper().endswith("_PROXY") or name in BUNDLES}
    assert ours == before.keys()
    assert {name: seen[name] for name in before} == before


@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_undone_where_nothing_was_set(agent: Agent, shell: str) -> None:
    seen = read(agent.evaluate(shell, query="?undo", PIP_CERT="/mine.pem"))
    assert seen["PIP_CERT"] == "/mine.pem"


@pytest.mark.parametrize("shell", ["sh", "fish"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"NO_PROXY": "a.example"}, "a.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "localhost,::1"}, "localhost,::1,127.0.0.1"),
        ({"no_proxy": "b.example", "NO_PROXY": "a.example"}, "b.example,localhost,127.0.0.1,::1"),
    ],
)
def test_no_proxy_is_added_to(agent: Agent, shell: str, before: dict[str, str], after: str) -> None:
    """The lower-case name counts where both are there, as for curl and requests."""
    seen = read(agent.evaluate(shell, **before))
    assert seen["NO_PROXY"] == seen["no_proxy"] == after


LINES: Final = re.compile(r'eval "\$\((?:curl|wget|python3) .*\)"')
DOCUMENTS: Final = ("README.md", "docs/pages/agents.md", "docs/pages/index.md", "addon/pkgcache/data/agent/env.sh")


def pasted(proxy: Proxy) -> list[str]:
    """Every line that anybody is told to paste, for a proxy that is down."""
    repository = Path(__file__).parents[2]
    texts = [(repository / each).read_text() for each in DOCUMENTS] + [proxy.get("/").body.decode()]
    found = {line for text in texts for line in LINES.findall(text)}
    return sorted(re.sub(r"@PROXY@|http://[\w.]+:\d+", "http://127.0.0.1:9", line) for line in found)


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "fish"])
def test_a_proxy_that_is_down_stops_a_job(agent: Agent, proxy: Proxy, shell: str) -> None:
    """With `set -e` as in CI, and before `&&`: `x=$(…) && eval "$x"` let a job go on, and install around the proxy."""
    lines = pasted(proxy)
    assert len(lines) >= 4, "curl, wget and Python, and how it is undone"
    program, *words = SHELLS[shell]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed on this machine")
    for line in lines:
        joint = "&&" if shell == "bash without -e" else ";"
        command = [shutil.which(program) or program, *words, f"{line} {joint} echo it went on"]
        done = subprocess.run(
            command, env=bare_env(agent.folder), capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.stdout, done.returncode) == ("", 1), line


@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_where_the_bundle_cannot_be_fetched(agent: Agent, shell: str) -> None:
    """A script of yesterday, and no proxy there today: nothing is set, and the status says so."""
    dead = Agent(agent.folder, agent.url)
    suffix = "fish" if shell == "fish" else "sh"
    dead.evaluate(shell, "true")
    script = agent.folder / f"env.{suffix}"
    script.write_text(script.read_text().replace(agent.url, "http://127.0.0.1:9"))
    line = f"source {script}; or env" if shell == "fish" else f". {script} || env"
    done = subprocess.run(
        [*(word for word in SHELLS[shell][:-1]), "-c", line],
        env=bare_env(agent.folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "cannot fetch http://127.0.0.1:9/bundle.pem" in done.stderr
    assert "HTTPS_PROXY" not in read(done)
    assert len(list((agent.folder / ".cache").iterdir())) == 1, "the bundle of before, and no part of another"


def test_the_bundle_is_whole_at_every_moment(agent: Agent) -> None:
    """Other shells read it while it is written again: 20 of 75 reads failed when curl wrote into the file itself."""
    seen = read(agent.evaluate("sh"))
    bundle, whole = Path(seen["PIP_CERT"]), Path(seen["PIP_CERT"]).read_bytes()
    ended, reads = threading.Event(), []

    def look() -> None:
        while not ended.is_set():
            reads.append(bundle.read_bytes() == whole)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(5):
            read(agent.evaluate("sh"))
    finally:
        ended.set()
        reader.join()
    assert reads
    assert all(reads)


@pytest.mark.parametrize("shell", ["dash", "bash", "zsh", "busybox", "fish"])
def test_a_login(locked: Proxy, home: Path, shell: str) -> None:
    """Taken from two variables, and percent-encoded whatever is in it: mitmproxy takes it."""
    agent = Agent(home, locked.url)
    seen = read(agent.evaluate(shell, PYPI_CACHE_USER="me", PYPI_CACHE_PASSWORD="p@ss/w%rd ü", LC_ALL="C.UTF-8"))
    refused = run(
        home, ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "-x", locked.url, "http://peer.test/"]
    ).ok()
    assert refused.stdout == "407"
    let_in = run(
        home, ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "-x", seen["HTTPS_PROXY"], "http://peer.test/"]
    )
    assert let_in.ok().stdout == "502", "there is no such peer, but the login was right"


@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_a_login_that_nobody_can_be_asked_for(locked: Proxy, home: Path, shell: str) -> None:
    done = Agent(home, locked.url).evaluate(shell)
    assert done.returncode != 0
    assert "set PYPI_CACHE_USER and PYPI_CACHE_PASSWORD" in done.stderr


def test_the_variables_alone(proxy: Proxy, locked: Proxy) -> None:
    values = json.loads(proxy.get("/env.json").body)
    assert values["HTTPS_PROXY"] == values["https_proxy"] == proxy.url
    assert values["NO_PROXY"] == "localhost,127.0.0.1,::1"
    assert {values[name] for name in BUNDLES} == {"/tmp/pypi-cache.pem"}
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    assert proxy.get("/env.docker").body.decode() == proxy.get("/env.github").body.decode() == lines
    chosen = proxy.get("/env.docker?bundle=%2Fetc%2Fssl%2Fmy%20roots.pem").body.decode()
    assert "PIP_CERT=/etc/ssl/my roots.pem\n" in chosen
    assert "HTTPS_PROXY=http://USER:PASSWORD@127.0.0.1" in locked.get("/env.docker").body.decode()


@pytest.mark.parametrize("path", ["/env.json", "/env.github", "/env.docker"])
@pytest.mark.parametrize("bundle", ["%0ALD_PRELOAD=%2Fevil.so", "a%0Db", "a%00b", "a%E2%80%A8b"])
def test_a_path_that_would_begin_another_variable(proxy: Proxy, path: str, bundle: str) -> None:
    answer = proxy.get(f"{path}?bundle={bundle}")
    assert answer.status == 400
    assert b"LD_PRELOAD" not in answer.body
