"""What is built and handed out: the wheel, which starts a proxy by itself, and the documents at the repository's top."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from ruamel.yaml import YAML

from pkgcache import __version__
from tests.support.forked import REPOSITORY
from tests.support.proxy import Proxy


class Served(Proxy):
    """A proxy started by `python -m pkgcache serve`, which is what the command `pypi-cache serve` calls."""

    @property
    def command(self) -> list[str]:
        """The same options as ever, without `-s SCRIPT`."""
        _mitmdump, _s, _script, *options = super().command
        return [sys.executable, "-P", "-m", "pkgcache", "serve", *options]


def served(folder: Path, package: Path) -> Served:
    """Start the package that lies in a folder, past the one that is installed here."""
    proxy = Served(folder, env={"PYTHONPATH": str(package)}, start=False)
    proxy.process = proxy._executed()
    proxy.wait_until_up()
    return proxy


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serve", "--help"], "usage: pypi-cache serve"),
        (["serve", "--options"], "pypi_cache_max_size"),
        (["serve", "--no-such"], "pypi-cache serve: error: unrecognized arguments: --no-such"),
        (["serve", "--set", "pypi_cache_max_size=many"], "pypi_cache_max_size"),
        (["--version"], f"pypi-cache, version {__version__}"),
        (["--help"], "pypi-cache serve"),
        (["--help"], "\n  serve    Start the proxy"),
        (["--help"], "\n  ca       `ca new`: make the CA"),
        (["server"], "'serve'"),
        (["ca", "--help"], "Usage: pypi-cache ca new"),
        (["verify", "--help"], "quarantine"),
    ],
)
def test_words_of_the_command(words: list[str], expected: str, tmp_path: Path) -> None:
    """`serve` goes to mitmdump and everything else to the maintenance command; neither ends in a traceback."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pkgcache", *words],
        env={"PYTHONPATH": str(REPOSITORY / "addon"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. pip fetches the build backend, with this machine's own settings."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=170)
    if done.returncode and "No matching distribution found for hatchling" in done.stderr:
        pytest.skip(f"the build backend cannot be had here: {done.stderr}")
    assert not done.returncode, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.network
def test_the_wheel_serves(wheel: Path, tmp_path: Path) -> None:
    """Unpacked beside this environment's libraries: the proxy and its data come from the wheel alone."""
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"} == {"pypi_cache.py", "pkgcache"}
    assert list(unpacked.glob("*.dist-info/licenses/LICENSE"))
    packaged = {path.relative_to(REPOSITORY / "addon") for path in (REPOSITORY / "addon").rglob("*") if path.is_file()}
    missing = {path for path in packaged if not (unpacked / path).is_file() and "__pycache__" not in path.parts}
    assert not missing
    with served(tmp_path / "proxy", unpacked) as proxy:
        assert proxy.get("/healthz").status == 200
        assert f"Loading script {unpacked}/pypi_cache.py" in proxy.output
        made = x509.load_pem_x509_certificate(proxy.get("/ca.pem").body)
        assert made.subject.rfc4514_string() == "O=pypi-cache,CN=pypi-cache", "a new CA has our name"
        assert not proxy.complaints, proxy.output


CONTAINER = REPOSITORY / "addon/pkgcache/data/container"


def test_the_containerfile_copies_what_is_there_and_runs_as_nobody_in_particular() -> None:
    """Its steps were run with buildah; this holds it to the repository."""
    lines = (CONTAINER / "Containerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied
    assert all((REPOSITORY / name).exists() for names in copied for name in names)
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", "\n".join(lines), re.MULTILINE)
    assert {"VOLUME", "HEALTHCHECK", "ENTRYPOINT", "ARG"} <= {line.partition(" ")[0] for line in lines}
    assert lines.index("USER 10001:10001") < next(n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT"))


def test_the_compose_file_names_what_is_there() -> None:
    compose = YAML(typ="safe").load((CONTAINER / "compose.yaml").read_text())
    assert compose["services"].keys() == {"pypi-cache", "prometheus", "grafana"}
    build = compose["services"]["pypi-cache"]["build"]
    assert (CONTAINER / build["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / build["dockerfile"]).is_file()
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (CONTAINER / source).is_file(), source
        for config in service.get("configs", ()):
            YAML(typ="safe").load(compose["configs"][config["source"]]["content"])


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## (\S+) · \d{4}-\d\d-\d\d$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_a_document_that_people_look_for(name: str) -> None:
    assert (REPOSITORY / name).read_text().strip()


def test_nothing_that_is_built_is_tracked() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert {"/dist/", "/.site/"} <= set(ignored)
