"""TLS towards clients for package hosts: one context a host, whose certificate has an elliptic-curve key.

mitmproxy signs a handshake with its CA's own RSA key, which takes a processor ten times as long, and sets up each connection anew;
one context a host also lets clients resume a session.
"""

from __future__ import annotations

import time
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy import certs, tls
from mitmproxy.addons.tlsconfig import AppData, TlsConfig, _default_ciphers, alpn_select_callback
from mitmproxy.net import tls as net_tls
from mitmproxy.options import Options
from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers import ClientTLSLayer
from mitmproxy.proxy.layers.tls import TLSLayer
from OpenSSL import SSL

from pkgcache.engine.store.lru import ByteLru

MOST_HOSTS: Final = 256
KEEP_SECONDS: Final = 30 * 86400.0
"""After so long a host gets a new certificate. mitmproxy's are valid for more than half a year."""

CIPHERTEXT: Final = 512 * 1024
"""Bytes of ciphertext handed on at a time: above a chunk of 256 KiB, so that each chunk is one write. mitmproxy's 64 KiB need five."""

PARTIAL_WRITE: Final = 1
"""OpenSSL's SSL_MODE_ENABLE_PARTIAL_WRITE, which pyOpenSSL sets and has no name for."""

ALERTS: Final = ("unknown ca", "bad certificate", "certificate unknown")
"""What clients answer where they do not trust a certificate's issuer (RFC 8446 §6.2); the same three are in mitmproxy's layer."""


class FastPathTlsLayer(ClientTLSLayer):
    """mitmproxy's TLS towards clients, with larger pieces of ciphertext, and an end where the handshake has failed."""

    def receive_data(self, data: bytes) -> layer.CommandGenerator[None]:
        """Drop what comes after a ClientHello that cannot be read: there is no TLS to decrypt it, and mitmproxy would crash."""
        if self.tls is not None:
            yield from super().receive_data(data)

    def send_data(self, data: bytes) -> layer.CommandGenerator[None]:
        """Drop what comes after the end of TLS: mitmproxy would crash where TLS within TLS ends in an alert."""
        try:
            self.tls.sendall(data)
        except SSL.Error:
            return
        yield from self.tls_interact()

    def on_handshake_error(self, err: str) -> layer.CommandGenerator[None]:
        """Leave it to `AgentsWithoutCa` to tell of a client that lacks our CA: mitmproxy does at each of its tries."""
        if not lacks_ca(err):
            yield from super().on_handshake_error(err)
            return
        yield from TLSLayer.on_handshake_error(self, err)
        self.event_to_child = self.errored  # type: ignore[method-assign]

    def tls_interact(self) -> layer.CommandGenerator[None]:
        """Send what OpenSSL has encrypted, in pieces of CIPHERTEXT bytes and not of 64 KiB."""
        while True:
            try:
                data = self.tls.bio_read(CIPHERTEXT)
            except SSL.WantReadError:
                return
            yield commands.SendData(self.conn, data)


def lacks_ca(err: str) -> bool:
    """Whether a handshake has failed because the client does not trust the CA.

    >>> lacks_ca("tlsv1 alert unknown ca"), lacks_ca("connection closed")
    (True, False)
    """
    return any(alert in err for alert in ALERTS)


class FailedHandshake:
    """A connection whose handshake has failed, for the layer to tell of it: OpenSSL says only once what is wrong."""

    def __init__(self, connection: SSL.Connection, error: SSL.Error) -> None:
        self._connection = connection
        self._error = error

    def do_handshake(self) -> None:
        """Fail as before."""
        raise self._error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class HostTls:
    """The TLS contexts of package hosts. `clear` when options have changed."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: ByteLru[tuple[str | None, str], tuple[SSL.Context, float]] = ByteLru(MOST_HOSTS)
        self.clear = self._contexts.clear

    def connection(self, data: tls.TlsData, config: TlsConfig, options: Options) -> SSL.Connection:
        """Make the server's end of a TLS connection, as mitmproxy's TlsConfig does."""
        assert data.context.server.address is not None
        key = data.context.client.sni, data.context.server.address[0]
        context, made = self._contexts.get(key) or (None, 0.0)
        if context is None or not 0 <= time.monotonic() - made < KEEP_SECONDS:
            context = self._make(data, config, options)
            self._contexts.put(key, (context, time.monotonic()), 1)
        connection = SSL.Connection(context)
        connection.set_app_data(AppData(client_alpn=None, server_alpn=None, http2=False))
        connection.set_accept_state()
        return connection

    def _make(self, data: tls.TlsData, config: TlsConfig, options: Options) -> SSL.Context:
        store, entry = config.certstore, config.get_cert(data.context)
        chain = entry.chain_certs if entry.chain_file is None and len(entry.chain_certs) > 1 else ()
        minimum = net_tls.Version[options.tls_version_client_min]
        own_ciphers = options.ciphers_client
        context: SSL.Context = net_tls.create_client_proxy_context.__wrapped__(
            method=net_tls.Method.TLS_SERVER_METHOD,
            min_version=minimum,
            max_version=net_tls.Version[options.tls_version_client_max],
            cipher_list=tuple(own_ciphers.split(":")) if own_ciphers else _default_ciphers(minimum),
            ecdh_curve=net_tls.get_curve(options.tls_ecdh_curve_client),
            chain_file=entry.chain_file,
            request_client_cert=options.request_client_cert,
            alpn_select_callback=alpn_select_callback,
            extra_chain_certs=tuple(chain),
            dhparams=store.dhparams,
        )
        cert, key = entry.cert, entry.privatekey
        # Another key is that of the operator's own certificate, and their own ciphers may want RSA.
        if key is store.default_privatekey and not own_ciphers:
            ca = cast("x509.Certificate", _WithKey(store.default_ca.to_cryptography(), self._key.public_key()))
            cert, key = certs.dummy_cert(store.default_privatekey, ca, cert.cn, cert.altnames), self._key
        context.use_certificate(cert.to_cryptography())
        context.use_privatekey(key)
        context.set_session_id(b"pypi-cache")
        encrypt_whole_chunks(context)
        return context


def encrypt_whole_chunks(context: SSL.Context) -> None:
    """Let one call of OpenSSL encrypt all that it is given, and not a record of 16 kB: a chunk took sixteen."""
    if hasattr(context, "clear_mode"):  # from pyOpenSSL 25.2 on
        context.clear_mode(PARTIAL_WRITE)


class _WithKey:
    """A CA's certificate as `dummy_cert` looks at it, but for the public key: that is the one to be certified."""

    def __init__(self, ca: x509.Certificate, key: ec.EllipticCurvePublicKey) -> None:
        self.subject = ca.subject
        self.extensions = ca.extensions
        own = x509.SubjectKeyIdentifier
        # Without one `dummy_cert` would take the identifier of the key that is certified.
        if all(extension.oid != own.oid for extension in ca.extensions):
            identifier = x509.Extension(own.oid, critical=False, value=own.from_public_key(ca.public_key()))
            self.extensions = x509.Extensions([*ca.extensions, identifier])
        self._key = key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key
