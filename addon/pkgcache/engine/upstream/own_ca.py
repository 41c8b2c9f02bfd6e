"""The certificates of mitmproxy's CA, which agents have to trust: of every layout of its folder that mitmproxy takes.

mitmproxy reads `mitmproxy-ca.pem` alone: a key and a certificate, and behind it those that issued it, if it is an intermediate CA. It
writes `mitmproxy-ca-cert.pem` beside a CA that it makes itself; beside an operator's own there is none, or that of an earlier CA.

While a CA is replaced, agents have to trust two. So the certificates of `mitmproxy-ca-next.pem` and `mitmproxy-ca-old.pem` are added.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CA_KEY_NAME: Final = "mitmproxy-ca.pem"
CA_NAME: Final = "mitmproxy-ca-cert.pem"
NEXT_NAME: Final = "mitmproxy-ca-next.pem"
OLD_NAME: Final = "mitmproxy-ca-old.pem"

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates_in(pem: bytes) -> list[bytes]:
    """Return the certificates of a PEM text, whatever stands between them: keys, comments."""
    return [block + b"\n" for block in _CERTIFICATE.findall(pem.replace(b"\r", b""))]


def own_certificates(folder: Path, in_use: Iterable[bytes] = ()) -> list[bytes]:
    """Return the certificates that agents have to trust, each once: those in use, those of the CA's file, the next and the old CA's."""
    found = [certificate for pem in in_use for certificate in certificates_in(pem)]
    for name in (CA_KEY_NAME, NEXT_NAME, OLD_NAME):
        found += certificates_in(_read(folder / name))
    if not found:  # a key that only the proxy's user may read
        found = certificates_in(_read(folder / CA_NAME))
    return list({certificate.translate(None, b"\n \t"): certificate for certificate in found}.values())


def ca_path(folder: Path) -> Path:
    """Return the file to name to people: the one without a key, if there is one and it is of the same CA."""
    used, copy = certificates_in(_read(folder / CA_KEY_NAME)), _read(folder / CA_NAME)
    is_copy = bool(copy) and (not used or certificates_in(copy)[:1] == used[:1])
    is_all = not os.path.exists(folder / CA_KEY_NAME)  # noqa: PTH110  no error where the folder is another user's
    return folder / (CA_NAME if is_copy or is_all else CA_KEY_NAME)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
