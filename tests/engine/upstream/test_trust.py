"""Which roots upstreams are trusted by: the same for fills, ordinary flows and /bundle.pem."""

import contextlib
import ssl
import warnings
from pathlib import Path

import certifi
import pytest
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.certs import CertStore
from OpenSSL import SSL

from pkgcache.engine.upstream import trust
from pkgcache.engine.upstream.trust import root_certificates, root_files, upstream_ssl_context
from pkgcache.proxy.certificates import FlowTrust, OwnCertificates
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
    config = TlsConfig()
    config.certstore = CertStore.from_store(tmp_path, "mitmproxy", 2048)
    ours = (tmp_path / "mitmproxy-ca-cert.pem").read_bytes()
    assert OwnCertificates(str(tmp_path), config).bundle() == ours + root_certificates()


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


@pytest.mark.parametrize("serial", [b"\x02\x01\x00", b"\x02\x01\xff"], ids=["0", "-1"])
def test_a_root_without_a_positive_serial_number(
    serial: bytes, monkeypatch: pytest.MonkeyPatch, ca: Authority, tmp_path: Path
) -> None:
    """Some public roots have one (RFC 5280 §4.1.2.2 forbids it). `cryptography` warns that it will refuse them, and no root is parsed.

    Ordinary flows verify by what stands behind it in the bundle, and fills too.
    """
    der = ssl.PEM_cert_to_DER_cert(Path(ca.bundle).read_text())
    at = der.index(b"\xa0\x03\x02\x01\x02\x02") + 5  # behind the version comes the serial number
    odd = der[:at] + serial + der[at + 2 + der[at + 1] :]
    shorter = len(der) - len(odd)
    for start in (2, 6):  # the lengths of Certificate and TBSCertificate, two bytes each
        odd = odd[:start] + (int.from_bytes(odd[start : start + 2]) - shorter).to_bytes(2) + odd[start + 2 :]
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(ssl.DER_cert_to_PEM_cert(odd) + Path(ca.bundle).read_text())
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    flows = SSL.Context(SSL.TLS_CLIENT_METHOD)
    flows.set_verify(SSL.VERIFY_PEER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            FlowTrust().extend(flows)
    assert upstream_ssl_context().cert_store_stats()["x509_ca"] == 2
    assert is_trusted(flows, ca)


def is_trusted(context: SSL.Context, ca: Authority) -> bool:
    """Whether a client with this context accepts a server of the authority. Raises SSL.Error where it does not."""
    client = SSL.Connection(context)
    client.set_connect_state()
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ca.server_context("server.test").wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except (SSL.WantReadError, ssl.SSLWantReadError):
                pass
            else:
                if end is client:
                    return True
            with contextlib.suppress(SSL.WantReadError):
                to_server.write(client.bio_read(1 << 16))
            if more := to_client.read():
                client.bio_write(more)
    return False
