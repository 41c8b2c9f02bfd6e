"""pip, uv and curl take what the scripted upstream gives, and are not led elsewhere by this machine's settings."""

from pathlib import Path

import pytest

from tests.support import clients
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import Result, clean_env, installed, pip_download, pip_install, uv_install
from tests.support.index import LinkForm, PageStyle
from tests.support.upstream import Upstream
from tests.support.wheels import make_sdist


def direct(tool: str, upstream: Upstream, ca: Authority, home: Path, wanted: list[str], target: Path) -> Result:
    """Install straight from the upstream."""
    if tool == "pip":
        return pip_install(home, wanted, target, args=["-i", upstream.index_url, "--cert", ca.bundle])
    args = ["--default-index", upstream.index_url]
    return uv_install(home, wanted, target, args=args, env={"SSL_CERT_FILE": str(ca.bundle)})


@pytest.mark.parametrize("mode", ["html", "json"])
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_install(upstream: Upstream, ca: Authority, home: Path, tmp_path: Path, tool: str, mode: str) -> None:
    upstream.mode = "html" if mode == "html" else "json"
    target = tmp_path / "target"
    direct(tool, upstream, ca, home, ["beta", "gamma_ray"], target).ok()
    assert installed(target) == {"alpha": "2.0", "beta": "1.0", "gamma-ray": "1.0"}
    assert (target / "beta.py").read_text() == 'VERSION = "1.0"\n'
    assert upstream.count(path_contains="/simple/alpha/") == 1
    assert upstream.count(method="GET", path_contains="beta-1.0-py3-none-any.whl.metadata") == 1, "PEP 658"
    assert upstream.count(method="GET", path_contains="/gamma_ray-1.0", status=200) >= 1


@pytest.mark.parametrize("form", [form for form in LinkForm if form is not LinkForm.PERCENT_DOTTED], ids=str)
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_every_form_of_link(
    upstream: Upstream, ca: Authority, home: Path, tmp_path: Path, tool: str, form: LinkForm
) -> None:
    upstream.mode = "html"
    upstream.style = PageStyle(form=form, files_origin=upstream.origin)
    direct(tool, upstream, ca, home, ["alpha==1.0"], tmp_path / "target").ok()


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_sdist(upstream: Upstream, ca: Authority, home: Path, tmp_path: Path, tool: str) -> None:
    upstream.add(make_sdist("delta", "3.0", requires=("alpha",)))
    direct(tool, upstream, ca, home, ["delta"], tmp_path / "target").ok()
    assert installed(tmp_path / "target") == {"alpha": "2.0", "delta": "3.0"}


def test_download_and_a_wrong_byte(upstream: Upstream, ca: Authority, home: Path, tmp_path: Path) -> None:
    args: list[str | Path] = ["-i", upstream.index_url, "--cert", ca.bundle]
    pip_download(home, ["Gamma.Ray"], tmp_path / "first", args=args).ok()
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["gamma_ray-1.0-py3-none-any.whl"]
    upstream.script(Behaviour("gamma_ray.*whl$", wrong_byte_at=200_000))
    result = pip_download(home, ["Gamma.Ray"], tmp_path / "second", args=[*args, "--no-cache-dir"]).failed()
    assert "DO NOT MATCH" in result.stderr
    with pytest.raises(AssertionError, match="DO NOT MATCH"):
        result.ok()


def test_locks(upstream: Upstream, ca: Authority, home: Path) -> None:
    env = {"SSL_CERT_FILE": str(ca.bundle), "UV_DEFAULT_INDEX": upstream.index_url}
    compiled = clients.uv_compile(home, ["beta"], env=env).ok()
    assert "beta==1.0" in compiled.stdout
    assert "--hash=sha256:" in compiled.stdout
    result, lock = clients.uv_lock(home, ["beta"], env=env)
    result.ok()
    assert f'registry = "{upstream.index_url.rstrip("/")}' in lock
    assert "alpha-2.0-py3-none-any.whl" in lock


@pytest.mark.skipif(clients.CURL is None, reason="no curl")
def test_curl(upstream: Upstream, ca: Authority, home: Path) -> None:
    result = clients.curl(home, "--cacert", ca.bundle, upstream.page_url("alpha")).ok()
    assert "alpha-1.0" in result.stdout


def test_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_FIND_LINKS", "UV_INDEX", "HTTPS_PROXY", "no_proxy", "SSL_CERT_DIR", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/elsewhere")
    env = clean_env(tmp_path, PIP_CERT="x")
    assert "/elsewhere" not in env.values()
    assert env["PIP_CERT"] == "x"
    assert env["HOME"] == str(tmp_path)
