"""engine/upstream/trust.py."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi


def upstream_ssl_context() -> ssl.SSLContext:
    """The system's trust; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured (OpenSSL); certifi's roots where the system has none."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE") and not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(cafile=certifi.where())
    return context


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
