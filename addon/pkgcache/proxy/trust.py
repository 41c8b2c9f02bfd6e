"""Certificates: whom the proxy trusts upstream, and what its agents have to trust."""

from __future__ import annotations

import os
import ssl
import weakref
from pathlib import Path

import certifi
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def system_roots() -> Path:
    """The file of public (and company) roots: `SSL_CERT_FILE`, the system's bundle, or certifi's."""
    named = os.environ.get("SSL_CERT_FILE")
    found = (named, ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES)
    return next((Path(path) for path in found if path and Path(path).is_file()), Path(certifi.where()))


def ca_file(confdir: str) -> Path:
    """mitmproxy's CA certificate, the one that signs for package hosts."""
    return Path(confdir).expanduser() / "mitmproxy-ca-cert.pem"


def bundle(confdir: str) -> bytes:
    """What an agent has to trust: our CA first, and all roots, since tunnelled hosts show their real certificates."""
    return ca_file(confdir).read_bytes().rstrip(b"\n") + b"\n" + system_roots().read_bytes()


class FlowTrust:
    """Adds the system's roots to what ordinary flows trust: mitmproxy alone knows certifi's list only."""

    def __init__(self) -> None:
        self._extended: weakref.WeakSet[SSL.Context] = weakref.WeakSet()

    def extend(self, context: SSL.Context) -> None:
        """Once for each of mitmproxy's (cached) TLS contexts; by its store, since a context in use takes no other change."""
        store = context.get_cert_store()
        if store is None or context in self._extended:
            return
        self._extended.add(context)
        for certificate in x509.load_pem_x509_certificates(system_roots().read_bytes()):
            store.add_cert(X509.from_cryptography(certificate))
