"""A new CA has this project's name, and an old one keeps its own."""

import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import certs
from mitmproxy.options import Options

from pkgcache.proxy.certificates import name_new_ca, process_started


class Config:
    """In the place of mitmproxy's TlsConfig."""

    def __init__(self) -> None:
        self.updates: list[set[str]] = []

    def configure(self, updated: set[str]) -> None:
        self.updates.append(updated)


def name(folder: Path, *, after: float) -> tuple[bytes, Config]:
    """Name the CA in a folder, as a process that began so many seconds from now; the CA as it was before."""
    before = (folder / "mitmproxy-ca.pem").read_bytes() if folder.exists() else b""
    config = Config()
    name_new_ca(Options(confdir=str(folder)), config, time.time() + after)  # type: ignore[arg-type]
    return before, config


def subject(path: Path) -> str:
    return x509.load_pem_x509_certificate(path.read_bytes()).subject.rfc4514_string()


def test_a_ca_that_was_just_made(tmp_path: Path) -> None:
    """All of its files are of the new one, and TlsConfig reads it."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
    _, config = name(tmp_path, after=-5)
    assert config.updates == [{"confdir"}]
    for each in ("mitmproxy-ca.pem", "mitmproxy-ca-cert.pem", "mitmproxy-ca-cert.cer"):
        assert subject(tmp_path / each) == "O=pypi-cache,CN=pypi-cache"
    store = certs.CertStore.from_store(tmp_path, "mitmproxy", 2048)
    assert store.default_ca.cn == "pypi-cache"
    assert store.default_ca.public_key() == store.default_privatekey.public_key()
    assert (tmp_path / "mitmproxy-ca.pem").stat().st_mode & 0o077 == 0
    made, again = name(tmp_path, after=-5)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), again.updates) == (made, []), "it is named by now"


@pytest.mark.parametrize("after", [2.0, 86400.0])
def test_a_ca_older_than_this_process(tmp_path: Path, after: float) -> None:
    """Agents trust it, though it may be seconds old: made by mitmdump alone, and given to agents by a script."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
    before, config = name(tmp_path, after=after)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), config.updates) == (before, [])


def test_where_a_process_does_not_know_its_age(tmp_path: Path) -> None:
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
    config = Config()
    name_new_ca(Options(confdir=str(tmp_path)), config, None)  # type: ignore[arg-type]
    assert (config.updates, subject(tmp_path / "mitmproxy-ca.pem")) == ([], "O=mitmproxy,CN=mitmproxy")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("how", ["restored", "renamed"])
def test_an_older_ca_in_a_new_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, zone: str) -> None:
    """A CA that was restored from a backup has a new file; one that was renamed (`mitmproxy-ca-next.pem`) an old one. Both stay."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with monkeypatch.context() as made_long_ago:
            if how == "restored":
                made_long_ago.setattr(certs, "CERT_VALIDITY_OFFSET", certs.CERT_VALIDITY_OFFSET - timedelta(hours=1))
            certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
        if how == "renamed":
            an_hour_ago = time.time() - 3600
            os.utime(tmp_path / "mitmproxy-ca.pem", (an_hour_ago, an_hour_ago))
        before, config = name(tmp_path, after=-60)
        assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), config.updates) == (before, [])
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_a_new_ca_in_another_time_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """mitmproxy writes local time into it."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        certs.CertStore.create_store(tmp_path, "mitmproxy", 2048)
        assert name(tmp_path, after=-60)[1].updates == [{"confdir"}]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_when_this_process_began() -> None:
    began = process_started()
    assert began is not None
    done = subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    assert abs(time.time() - float(done.stdout) - began) < 30


@pytest.mark.parametrize(("organization", "common"), [("ACME", "ACME root"), ("mitmproxy", "ACME root")])
def test_somebody_elses_ca(tmp_path: Path, organization: str, common: str) -> None:
    """A company's own, put there a moment ago."""
    certs.CertStore.create_store(tmp_path, "mitmproxy", 2048, organization, common)
    before, config = name(tmp_path, after=-5)
    assert ((tmp_path / "mitmproxy-ca.pem").read_bytes(), config.updates) == (before, [])


def test_no_ca(tmp_path: Path) -> None:
    """Where `confdir` is its default, mitmproxy makes one only after the scripts are loaded."""
    _, config = name(tmp_path / "new", after=-5)
    assert (config.updates, subject(tmp_path / "new" / "mitmproxy-ca.pem")) == ([], "O=pypi-cache,CN=pypi-cache")


def test_no_ca_that_can_be_made_and_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = Config()
    name_new_ca(Options(confdir=str(tmp_path / "file" / "conf")), config, 0)  # type: ignore[arg-type]
    (tmp_path / "mitmproxy-ca.pem").write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
    before, again = name(tmp_path, after=-5)
    assert (config.updates, again.updates) == ([], [])
    assert (tmp_path / "mitmproxy-ca.pem").read_bytes() == before
