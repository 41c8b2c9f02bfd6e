"""Which certificate authorities upstreams are trusted by: one answer for fills, ordinary flows and `/bundle.pem`.

The first of these files that exists: `SSL_CERT_FILE` (a company's CA among the public ones), OpenSSL's own default, the bundle of the
system, certifi's list. Where `SSL_CERT_DIR` is set, the certificates in that folder are added. Keeping to one answer matters, since an
agent trusts `/bundle.pem` alone: what a fill accepts must verify at the agent too, once its host is tunnelled.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

import certifi

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # openssl-rehash(1): OpenSSL reads no other file of the folder


def root_files() -> list[Path]:
    """Return the PEM files with the trusted roots; the first is a whole bundle, any others come from `SSL_CERT_DIR`."""
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES)
    bundle = next((Path(name) for name in candidates if name and Path(name).is_file()), Path(certifi.where()))
    folders = [Path(name) for name in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if name]
    return [
        bundle,
        *(path for folder in folders for path in sorted(folder.glob("*.*")) if _HASHED_NAME.fullmatch(path.name)),
    ]


def root_certificates() -> bytes:
    """Return the trusted roots as one PEM text. Raises OSError."""
    return b"".join(path.read_bytes().rstrip(b"\n") + b"\n" for path in root_files())


def upstream_ssl_context() -> ssl.SSLContext:
    """Return the context for fetches: Python's defaults, with these roots. Raises OSError for files that cannot be read."""
    bundle, *more = root_files()
    context = ssl.create_default_context(cafile=bundle)
    for path in more:
        context.load_verify_locations(path)
    return context
