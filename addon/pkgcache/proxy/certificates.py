"""Certificates of the mitmproxy side: its CA, the bundle that agents trust, and the roots that ordinary flows trust."""

from __future__ import annotations

import weakref
from pathlib import Path

from OpenSSL import SSL

from pkgcache.engine.upstream.trust import root_certificates, root_files


def ca_file(confdir: str) -> Path:
    """Return the path of mitmproxy's CA certificate, with which package hosts are signed."""
    return Path(confdir).expanduser() / "mitmproxy-ca-cert.pem"


def bundle(confdir: str) -> bytes:
    """Return what an agent has to trust, as PEM: our CA, and all roots, since tunnelled hosts show their real certificates.

    uv's `SSL_CERT_FILE` replaces all roots, so our CA alone would not do.
    """
    return ca_file(confdir).read_bytes().rstrip(b"\n") + b"\n" + root_certificates()


class FlowTrust:
    """Adds the roots that fills trust to what ordinary flows trust: mitmproxy knows certifi's list only."""

    def __init__(self) -> None:
        self._extended: weakref.WeakSet[SSL.Context] = weakref.WeakSet()

    def extend(self, context: SSL.Context) -> None:
        """Extend one of mitmproxy's TLS contexts; these are cached, so each is extended once.

        The certificates go into the context's store: pyOpenSSL deprecates other changes to a context that already has a connection.
        OpenSSL reads the files itself. `cryptography` would judge each root by RFC 5280, and some public ones have no positive serial
        number.
        """
        store = context.get_cert_store()
        if store is None or context in self._extended:
            return
        self._extended.add(context)
        for path in root_files():
            store.load_locations(path)
