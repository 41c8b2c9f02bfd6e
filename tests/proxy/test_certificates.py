"""A new CA has this project's name, and an old one keeps its own."""

import time
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import certs
from mitmproxy.options import Options

from pkgcache.proxy.certificates import JUST_MADE_SECONDS, name_new_ca


class Config:
    """In the place of mitmproxy's TlsConfig."""

    def __init__(self) -> None:
        self.updates: list[set[str]] = []

    def configure(self, updated: set[str]) -> None:
        self.updates.append(updated)


def name(folder: Path, *, after: float) -> tuple[bytes, Config]:
    """Name the CA in a folder, so many seconds after it was made; the CA as it was before."""
    before = (folder / "mitmproxy-ca.pem").read_bytes() if folder.exists() else b""
    config = Config()
    name_new_ca(Options(confdir=str(folder)), config, now=time.time() + after)  # type: ignore[arg-type]
    return before, config


def subject(path: Path) -> str:
    return x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string()


def test_a_ca_that_was_just_made(tmp_path: Path) -> None:
    """All of its files are of the new one, and TlsConfig reads it."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
    _, config = name(tmp_path, after=1)
    assert config.updates == [{"confdir"}]
    for each in ("mitmproxy-ca.pem", "mitmproxy-ca-cert.pem", "mitmproxy-ca-cert.cer"):
        assert subject(tmp_path / each) == "O=pypi-cache,CN=pypi-cache"
    store = certs.CertStore.from_store(tmp_path, "mitmproxy", 2048)
    assert store.default_ca.cn == "pypi-cache"
    assert store.default_ca.public_key() == store.default_privatekey.public_key()
    assert (tmp_path / "mitmproxy-ca.pem").stat().st_mode & 0o077 == 0
    made, again = name(tmp_path, after=1)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), again.updates) == (made, []), "it is named by now"


@pytest.mark.parametrize("after", [JUST_MADE_SECONDS + 1, 86400.0, -5.0])
def test_an_older_ca(tmp_path: Path, after: float) -> None:
    """Agents trust it. A time stamp in the future says nothing."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
    before, config = name(tmp_path, after=after)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), config.updates) == (before, [])


@pytest.mark.parametrize(("organization", "common"), [("ACME", "ACME root"), ("mitmproxy", "ACME root")])
def test_somebody_elses_ca(tmp_path: Path, organization: str, common: str) -> None:
    """A company's own, put there a moment ago."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048, organization, common)
    before, config = name(tmp_path, after=0.5)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), config.updates) == (before, [])


def test_no_ca_and_a_broken_one(tmp_path: Path) -> None:
    _, config = name(tmp_path / "nowhere", after=1)
    (tmp_path / "mitmproxy-ca.pem").write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
    before, again = name(tmp_path, after=1)
    assert (config.updates, again.updates) == ([], [])
    assert (tmp_path / "mitmproxy-ca.pem").read_bytes() == before
