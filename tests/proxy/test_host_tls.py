"""Certificates and TLS towards clients, as far as no connection is needed."""

import datetime as dt
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mitmproxy import certs
from OpenSSL import SSL

from pkgcache.proxy.host_tls import PARTIAL_WRITE, FastPathTlsLayer, _WithKey, encrypt_whole_chunks


@pytest.mark.parametrize("has_identifier", [True, False])
def test_the_issuers_key_is_named_as_mitmproxy_does(has_identifier: bool) -> None:
    """RFC 5280 §4.2.1.1: an operator's own CA need not have an identifier of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own CA")])
    day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + dt.timedelta(days=9))
    if has_identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(b"any bytes"), critical=False)
    ca = builder.sign(key, hashes.SHA256())
    leaf = ec.generate_private_key(ec.SECP256R1())
    ours = cast("x509.Certificate", _WithKey(ca, leaf.public_key()))
    made = [certs.dummy_cert(key, each, "a.test", [x509.DNSName("a.test")]).to_cryptography() for each in (ca, ours)]
    theirs, own = (each.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier) for each in made)
    assert theirs == own
    assert made[1].public_key() == leaf.public_key()


def test_what_comes_after_the_end_of_tls_is_dropped() -> None:
    class Ended:
        def sendall(self, _: bytes) -> None:
            raise SSL.Error([])

    layer: Any = FastPathTlsLayer.__new__(FastPathTlsLayer)
    layer.tls = Ended()
    assert list(layer.send_data(b"an alert of TLS within TLS")) == []


def test_a_chunk_is_encrypted_in_one_call() -> None:
    """pyOpenSSL's own setting wants a call for each TLS record of 16 kB."""
    ours, plain = (SSL.Context(SSL.TLS_METHOD) for _ in range(2))
    encrypt_whole_chunks(ours)
    assert ours.set_mode(0) == plain.set_mode(0) & ~PARTIAL_WRITE != plain.set_mode(0)
