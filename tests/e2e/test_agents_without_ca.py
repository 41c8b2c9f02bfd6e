"""An agent that does not trust the CA: what the proxy's log says of it, and where mitmproxy's own onboarding page leads."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support import names
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.wire import fetch


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("untrusted")) as proxy:
        yield proxy
        assert not proxy.complaints, proxy.output


def refuse_certificate(proxy: Proxy, host: str, source: str) -> None:
    """Begin TLS with a package host, and end it as pip does without the CA: by the alert `unknown ca`."""
    with socket.create_connection(("127.0.0.1", proxy.port), 30, (source, 0)) as sock:
        sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        with suppress(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            raise AssertionError("it was trusted")


def test_the_log_says_it_once_an_agent(proxy: Proxy) -> None:
    """And not once a try: pip makes five, for each of the hosts."""
    for _ in range(3):
        refuse_certificate(proxy, names.INDEX_HOST, "127.0.0.2")
    refuse_certificate(proxy, names.FILES_HOST, "127.0.0.2")
    refuse_certificate(proxy, names.INDEX_HOST, "127.0.0.3")
    eventually(lambda: "127.0.0.3 does not trust" in proxy.output)
    told = [line for line in proxy.output.splitlines() if "does not trust" in line]
    assert [line.partition(" does not trust")[0].split()[-1] for line in told] == ["127.0.0.2", "127.0.0.3"]
    assert f'eval "$(curl -fsS {proxy.url}/env.sh || echo false)"' in told[0]
    assert f"(or see {proxy.url}/)" in told[0]
    assert "handshake failed" not in proxy.output


@pytest.mark.parametrize("path", ["/", "/cert/pem", "/anything?x"])
def test_mitm_it_leads_to_the_start_page(proxy: Proxy, path: str) -> None:
    answer = fetch(proxy.port, f"http://mitm.it{path}", via="absolute")
    assert (answer.status, answer.headers["Location"]) == (302, f"{proxy.url}/")
    assert b"/env.sh" in proxy.get("/").body
