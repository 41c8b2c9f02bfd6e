"""Certificates of the mitmproxy side: its CA, the bundle that agents trust, and the roots that ordinary flows trust."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from pathlib import Path

from cryptography import x509
from mitmproxy import certs
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.options import CONF_BASENAME, Options
from OpenSSL import SSL

from pkgcache.engine.upstream.own_ca import CA_KEY_NAME, own_certificates
from pkgcache.engine.upstream.trust import root_certificates, root_files
from pkgcache.proxy.new_ca import CA_NAME, make_ca


class OwnCertificates:
    """What agents have to trust, read anew each time: the CA that mitmproxy's `TlsConfig` signs with, and what its folder adds."""

    def __init__(self, confdir: str, config: TlsConfig) -> None:
        self._folder = Path(os.path.expanduser(confdir))  # noqa: PTH111  as mitmproxy does
        self._config = config

    def ca(self) -> bytes:
        """Return the CA's certificates as PEM: its own first, then those that issued it; and those of the next or the old CA."""
        store = self._config.certstore
        in_use = [store.default_ca, *store.default_chain_certs]
        return b"".join(own_certificates(self._folder, [each.to_pem() for each in in_use]))

    def bundle(self) -> bytes:
        """Return the CA with all roots, since tunnelled hosts show their real certificates.

        uv's `SSL_CERT_FILE` replaces all roots, so our CA alone would not do.
        """
        return self.ca() + root_certificates()


def name_new_ca(options: Options, config: TlsConfig, started: float | None) -> None:
    """Give a new CA this project's name: an agent's errors then say whose CA it lacks.

    Where `confdir` is its default, mitmproxy makes a CA after it has loaded scripts, so it is made here. Where `confdir` is set, mitmproxy
    has made one before, which is made again here: it is younger than this process (`started`, None if that is not known), by its own date
    and by its file's: a copy of an older one has a new file, and one that was renamed is old. Any other CA stays, since agents trust it.
    """
    folder = Path(os.path.expanduser(options.confdir))  # noqa: PTH111
    path = folder / CA_KEY_NAME
    with contextlib.suppress(OSError, ValueError):  # mitmproxy reads the CA next, and tells of its trouble
        make_ca(options)
        ca = x509.load_pem_x509_certificate(path.read_bytes())
        # mitmproxy writes local time, as if it were UTC; in whole seconds.
        local = ca.not_valid_before_utc.replace(tzinfo=None)
        made = (local - certs.CERT_VALIDITY_OFFSET).timestamp()
        is_new = started is not None and min(made + 1, path.stat().st_mtime) >= started
        if not is_new or {attribute.value for attribute in ca.subject} != {CONF_BASENAME}:
            return
        certs.CertStore.create_store(folder, CONF_BASENAME, options.key_size, CA_NAME, CA_NAME)
        config.configure({"confdir"})


def process_started() -> float | None:
    """Return when this process began, in seconds since the epoch; None where the system does not tell as Linux does (proc(5))."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


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
