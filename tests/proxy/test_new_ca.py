"""The CA of a first start."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy.options import Options

from pkgcache.engine.upstream.own_ca import own_certificates
from pkgcache.proxy.new_ca import make_ca
from tests.support.proxy import PYPI_CACHE

FILES = {
    f"mitmproxy-{name}" for name in ("ca.pem", "ca.p12", "ca-cert.pem", "ca-cert.cer", "ca-cert.p12", "dhparam.pem")
}


def made_at_once(folder: Path, count: int) -> set[bytes]:
    """The CAs that so many starts see, which all begin at the same moment."""
    options = Options(confdir=str(folder))
    begin = threading.Barrier(count)

    def start() -> bytes:
        begin.wait()
        make_ca(options)
        return (folder / "mitmproxy-ca.pem").read_bytes()

    with ThreadPoolExecutor(count) as pool:
        return {each.result() for each in [pool.submit(start) for _ in range(count)]}


def test_twenty_first_starts_at_once_make_one(tmp_path: Path) -> None:
    """Two made two in one of four tries: each then served with its own, and agents trusted the one that was written last."""
    folder = tmp_path / "new" / "conf"
    (ca,) = made_at_once(folder, 20)
    assert own_certificates(folder) == own_certificates(folder, [ca])
    assert {file.name for file in folder.iterdir()} == FILES
    assert (folder / "mitmproxy-ca.pem").stat().st_mode & 0o777 == 0o600


def test_one_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mitmproxy-ca.pem").write_text("an operator's own")
    make_ca(Options(confdir=str(tmp_path)))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("mitmproxy-ca.pem", "an operator's own")]


def test_a_start_that_was_killed_in_the_middle(tmp_path: Path) -> None:
    """Of its files the key is the last, and without the key there is no CA."""
    (tmp_path / "mitmproxy-ca-cert.pem").write_text("half")
    (ca,) = made_at_once(tmp_path, 2)
    assert (tmp_path / "mitmproxy-ca-cert.pem").read_bytes() in ca


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        make_ca(Options(confdir=str(tmp_path / "file" / "conf")))


def ca(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PYPI_CACHE, "ca", *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", [("--confdir", "{}"), ("--set", "confdir={}"), ("--confdir={}",)], ids=" ".join)
def test_the_next_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Made without a second proxy, which would collide on the port; and never twice, since agents may trust the first by now."""
    made_at_once(tmp_path, 1)
    given = [word.format(tmp_path) for word in words]
    done = ca("new", *given)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "mitmproxy-ca-next.pem"
    assert done.stdout.startswith(f"{path}: ")
    assert {file.name for file in tmp_path.iterdir()} == {*FILES, path.name}
    assert path.stat().st_mode & 0o777 == 0o600
    made = path.read_bytes()
    assert x509.load_pem_x509_certificate(made).subject.rfc4514_string() == "O=pypi-cache,CN=pypi-cache"
    assert b"PRIVATE KEY" in made
    assert len(own_certificates(tmp_path)) == 2
    again = ca("new", *given)
    assert (again.returncode, again.stdout, path.read_bytes()) == (1, "", made)
    assert "is there already" in again.stderr


@pytest.mark.parametrize("words", [(), ("old",), ("new", "--unheard-of")])
def test_what_ca_takes(words: tuple[str, ...]) -> None:
    done = ca(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: pypi-cache ca new" in done.stderr
