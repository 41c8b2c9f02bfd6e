"""Which roots upstreams are trusted by: the same for fills, ordinary flows and /bundle.pem."""

import ssl
from pathlib import Path

import certifi
import pytest

from pkgcache.engine.upstream import trust
from pkgcache.engine.upstream.trust import root_certificates, root_files, upstream_ssl_context
from pkgcache.proxy import certificates
from tests.support.authority import Authority


@pytest.fixture
def bare_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without any bundle of its own."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", ())
    paths = ssl.get_default_verify_paths()._replace(cafile=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


def test_certifi_where_there_is_nothing_else(bare_system: None) -> None:
    assert root_files() == [Path(certifi.where())]


def test_the_systems_bundle_comes_first(bare_system: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / "here.pem"
    here.touch()
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", (str(tmp_path / "missing.pem"), str(here)))
    assert root_files() == [here]


def test_openssls_default_comes_before_it(bare_system: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("default.pem", "system.pem"):
        (tmp_path / name).touch()
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", (str(tmp_path / "system.pem"),))
    paths = ssl.get_default_verify_paths()._replace(cafile=str(tmp_path / "default.pem"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert root_files() == [tmp_path / "default.pem"]


def test_ssl_cert_file_comes_before_all(monkeypatch: pytest.MonkeyPatch, ca: Authority) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.bundle))
    assert root_files() == [Path(ca.bundle)]


def test_an_ssl_cert_file_that_is_missing(bare_system: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    assert root_files() == [Path(certifi.where())]


def test_ssl_cert_dir_is_added(
    bare_system: None, monkeypatch: pytest.MonkeyPatch, ca: Authority, tmp_path: Path
) -> None:
    """The files that OpenSSL would read: named by a hash. An editor's backup beside them is none."""
    (tmp_path / "0a1b2c3d.0").write_bytes(Path(ca.bundle).read_bytes())
    (tmp_path / "company.pem").write_text("not read")
    (tmp_path / "0a1b2c3d.0~").write_text("not read")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert root_files() == [Path(certifi.where()), tmp_path / "0a1b2c3d.0"]
    count = upstream_ssl_context().cert_store_stats()["x509_ca"]
    monkeypatch.delenv("SSL_CERT_DIR")
    assert count == upstream_ssl_context().cert_store_stats()["x509_ca"] + 1


def test_fills_and_the_bundle_trust_the_same(monkeypatch: pytest.MonkeyPatch, ca: Authority, tmp_path: Path) -> None:
    """One root, and nothing beside it: neither the system's nor certifi's."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.bundle))
    fills = {ssl.DER_cert_to_PEM_cert(der) for der in upstream_ssl_context().get_ca_certs(binary_form=True)}
    assert fills == {root_certificates().decode()}
    (tmp_path / "mitmproxy-ca-cert.pem").write_text("OURS\n\n")
    assert certificates.bundle(str(tmp_path)) == b"OURS\n" + root_certificates()


def test_the_context_verifies() -> None:
    context = upstream_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_file_that_holds_no_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An OSError: the addon refuses to start, in one line."""
    (tmp_path / "bad.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bad.pem"))
    with pytest.raises(OSError):
        upstream_ssl_context()
