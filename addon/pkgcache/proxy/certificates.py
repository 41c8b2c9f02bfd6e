"""Certificates: whom the proxy trusts upstream, and what its agents have to trust."""

from __future__ import annotations

import weakref
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from pkgcache.engine.upstream.trust import system_roots


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
