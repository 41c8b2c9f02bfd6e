"""A CA of one's own: whatever mitmproxy takes is served to agents, with its chain; and a CA is replaced while agents trust both."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.authority import Authority
from tests.support.factories import small_wheels
from tests.support.names import page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wire import fetch

ROOT = trustme.CA(organization_name="a company's root")
CHILD = ROOT.create_child_ca()
NEXT = trustme.CA(organization_name="the next CA")


def encrypted(key: trustme.Blob) -> bytes:
    """The key with a password."""
    read = serialization.load_pem_private_key(key.bytes(), None)
    secret = serialization.BestAvailableEncryption(b"sesame")
    return read.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Proxy]:
    """Its CA is an intermediate one with an elliptic-curve key and a password; a file of an earlier CA lies beside it."""
    with (
        Upstream(ca) as upstream,
        Proxy(
            tmp_path_factory.mktemp("ca"),
            options={"pypi_cache_index": [f"pypi={upstream.index_url}"], "cert_passphrase": "sesame"},
            upstream_ca=ca.bundle,
            start=False,
        ) as proxy,
    ):
        upstream.add(*small_wheels())
        proxy.confdir.mkdir()
        proxy.ca.write_bytes(trustme.CA().cert_pem.bytes())
        chain = CHILD.cert_pem.bytes() + ROOT.cert_pem.bytes()
        (proxy.confdir / "mitmproxy-ca.pem").write_bytes(chain + encrypted(CHILD.private_key_pem))
        proxy.start()
        yield proxy
        assert not proxy.complaints, proxy.output


def trusting(folder: Path, *trusted: bytes) -> Path:
    path = folder / "trusted.pem"
    path.write_bytes(b"".join(trusted))
    return path


def test_what_agents_get(proxy: Proxy) -> None:
    """Both were a 500; and with a file of an earlier CA beside it, that one was served."""
    ours = CHILD.cert_pem.bytes() + ROOT.cert_pem.bytes()
    assert proxy.get("/ca.pem").body == ours
    bundle = proxy.get("/bundle.pem").body
    assert bundle.startswith(ours)
    assert bundle.count(b"BEGIN CERTIFICATE") > 2
    assert b"PRIVATE" not in bundle
    assert f"CA      {proxy.url}/ca.pem\n" in proxy.output


@pytest.mark.parametrize("trusted", ["root", "bundle"])
def test_the_chain_is_sent_whole(proxy: Proxy, trusted: str, tmp_path: Path) -> None:
    """An agent of the company trusts its root alone."""
    path = trusting(tmp_path, ROOT.cert_pem.bytes() if trusted == "root" else proxy.get("/bundle.pem").body)
    assert fetch(proxy.port, page_url("alpha"), ca=path).status == 200


def test_a_ca_is_replaced(proxy: Proxy, tmp_path: Path) -> None:
    """As docs/pages/security.md says: agents trust both CAs before the proxy changes from one to the other, and after."""
    used, following, old = (proxy.confdir / f"mitmproxy-ca{suffix}.pem" for suffix in ("", "-next", "-old"))
    following.write_bytes(NEXT.private_key_pem.bytes() + NEXT.cert_pem.bytes())
    early = trusting(tmp_path, proxy.get("/bundle.pem").body)
    assert fetch(proxy.port, page_url("alpha"), ca=early).status == 200
    shutil.move(used, old)
    shutil.move(following, used)
    for certificate in (CHILD.cert_pem, NEXT.cert_pem):
        assert certificate.bytes() in proxy.get("/bundle.pem").body, "before the restart"
    proxy.restart()
    assert fetch(proxy.port, page_url("alpha"), ca=early).status == 200
    late = proxy.get("/ca.pem").body
    assert late.startswith(NEXT.cert_pem.bytes())
    assert CHILD.cert_pem.bytes() in late
    old.unlink()
    assert proxy.get("/ca.pem").body == NEXT.cert_pem.bytes()


class AsIs(Proxy):
    """Started without `confdir`, in a home of its own that has none yet."""

    @property
    def command(self) -> list[str]:
        given = super().command
        place = given.index(f"confdir={self.confdir}")
        return given[: place - 1] + given[place + 1 :]


@pytest.mark.parametrize("workers", [None, 1], ids=["mitmdump -s", "pypi-cache serve"])
def test_a_new_ca_in_the_default_folder(tmp_path: Path, workers: int | None) -> None:
    """It was called mitmproxy there: with `confdir` left alone, mitmproxy makes its CA after the scripts are loaded, not before."""
    with AsIs(tmp_path, workers=workers) as proxy:
        path = tmp_path / ".mitmproxy" / "mitmproxy-ca.pem"
        made = x509.load_pem_x509_certificate(path.read_bytes())
        assert made.subject.rfc4514_string() == "O=pypi-cache,CN=pypi-cache"
        assert x509.load_pem_x509_certificate(proxy.get("/ca.pem").body) == made
        assert fetch(proxy.port, page_url("alpha"), ca=proxy.bundle).status != 0
        assert path.stat().st_mode & 0o077 == 0
