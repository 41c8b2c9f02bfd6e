"""A certificate authority for tests."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A CA whose root is written to `bundle`; it issues server contexts for any names."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA(organization_name="pypi-cache tests")
        self.bundle = folder / "upstream-ca.pem"
        """A PEM file with this CA's root alone."""
        self._ca.cert_pem.write_to_path(self.bundle)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS context with a certificate for these names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's TLS context that trusts this CA alone."""
        return ssl.create_default_context(cafile=str(self.bundle))
