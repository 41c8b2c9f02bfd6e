"""A balancer that says by a PROXY header whose connection it passes on: the proxy then knows that address alone.

On loopback every address of 127.0.0.0/8 is there: 127.0.0.2 is the balancer, and 127.0.0.1 an agent beside it.
"""

import json
import re
import socket
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.names import INDEX_HOST, page_url
from tests.support.proxy import Proxy
from tests.support.two_proxies import head, read_answer
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, client_context

PATIENCE: Final = 30
BALANCER: Final = "127.0.0.2"
ASK: Final = b"GET /pypi/simple/small/ HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n"
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"


def line(source: str) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {'2001:db8::9' if ':' in source else '192.0.2.9'} 50000 8080\r\n".encode()


def block(source: str, tlvs: bytes = b"") -> bytes:
    rest = socket.inet_aton(source) + socket.inet_aton("192.0.2.9") + (50000).to_bytes(2) + (8080).to_bytes(2) + tlvs
    return SIGNATURE + b"\x21\x11" + len(rest).to_bytes(2) + rest


@pytest.fixture(scope="module")
def proxy(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Upstream(ca) as upstream:
        upstream.add(make_wheel("small"))
        options = {
            "pypi_cache_index": f"pypi={upstream.index_url}",
            "pypi_cache_proxy_protocol": BALANCER,
            "pypi_cache_known_heads": "32m",  # they are counted
        }
        with Proxy(tmp_path_factory.mktemp("balanced"), options=options, upstream_ca=ca.bundle) as running:
            yield running


def connected(proxy: Proxy, source: str = BALANCER) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE, source_address=(source, 0))


def answer(sock: socket.socket, *sent: bytes) -> bytes:
    """All that comes until the proxy closes."""
    for piece in sent:
        sock.sendall(piece)
    received = b""
    while more := sock.recv(65536):
        received += more
    return received


def clients(proxy: Proxy) -> list[str]:
    """The addresses in the access log, which has a line before its answer ends."""
    return [json.loads(text)["client"] for text in proxy.access_log_path.read_text().splitlines()]


def lines_with(proxy: Proxy, word: str) -> list[str]:
    return [text for text in proxy.output.splitlines() if word in text]


@pytest.mark.parametrize(
    ("pieces", "client"),
    [
        ((line("192.0.2.7") + ASK,), "192.0.2.7"),
        ((line("2001:db8::7") + ASK,), "2001:db8::7"),
        ((line("::ffff:192.0.2.8") + ASK,), "192.0.2.8"),
        ((b"PROXY UNKNOWN\r\n" + ASK,), BALANCER),
        ((block("192.0.2.10") + ASK,), "192.0.2.10"),
        ((block("192.0.2.11", b"\x04\0\x03abc\x20\0\x05\0\0\0\0\0") + ASK,), "192.0.2.11"),
        ((SIGNATURE + b"\x20\0\0\0" + ASK,), BALANCER),
        ((block("192.0.2.12")[:9], block("192.0.2.12")[9:], ASK), "192.0.2.12"),
        (tuple(bytes([one]) for one in line("192.0.2.13") + ASK), "192.0.2.13"),
    ],
    ids=["v1", "v1 IPv6", "v1 mapped", "v1 UNKNOWN", "v2", "v2 with TLVs", "v2 LOCAL", "in pieces", "byte by byte"],
)
def test_the_clients_address(proxy: Proxy, pieces: tuple[bytes, ...], client: str) -> None:
    with connected(proxy) as sock:
        assert answer(sock, *pieces).startswith(b"HTTP/1.1 200")
    eventually(lambda: clients(proxy), lambda found: found[-1:] == [client])


def test_a_tunnel_and_what_is_known(proxy: Proxy) -> None:
    """A header before CONNECT and TLS, and requests that are answered without a layer: each has its own client's address."""
    sources = [f"192.0.2.{number}" for number in range(20, 24)]

    def ask_all() -> bool:
        before = known_heads(proxy)
        for source in sources:
            with connected(proxy) as plain:
                plain.sendall(
                    line(source) + f"CONNECT {INDEX_HOST}:443 HTTP/1.1\r\nHost: {INDEX_HOST}\r\n\r\n".encode()
                )
                assert plain.recv(65536).startswith(b"HTTP/1.1 200")
                with client_context(str(proxy.ca)).wrap_socket(plain, server_hostname=INDEX_HOST) as sock:
                    for _ in range(2):
                        sock.sendall(head("/simple/small/"))
                        assert read_answer(sock, to_head=False).startswith(b"HTTP/1.1 200")
        return known_heads(proxy) >= before + len(sources)

    eventually(ask_all)
    each = [source for source in sources for _ in range(2)]
    eventually(lambda: clients(proxy), lambda found: found[-len(each) :] == each)


def known_heads(proxy: Proxy) -> int:
    """How many requests were answered by their head alone."""
    found = re.search(rb"(?m)^pypi_cache_known_heads_total (\S+)", proxy.get("/metrics").body)
    assert found
    return int(float(found[1]))


def test_block_global_goes_by_the_clients_address(proxy: Proxy) -> None:
    """A public client is refused though the balancer's address is a private one; a private one's, and the balancer's own, are not."""
    with connected(proxy) as sock:
        assert answer(sock, line("9.9.9.9") + ASK) == b""
    assert len(eventually(lambda: lines_with(proxy, "9.9.9.9 killed by block_global"))) == 1
    for source in ("10.1.2.3", "127.0.0.1", "fd00::7"):
        with connected(proxy) as sock:
            assert answer(sock, line(source) + ASK).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent", [line("192.0.2.7"), b"PROXY UNKNOWN\r\n", block("192.0.2.7"), SIGNATURE + b"\x20\0\0\0"]
)
@pytest.mark.parametrize("then", [ASK, b""], ids=["and asks", "and waits"])
def test_refused_from_all_others(proxy: Proxy, sent: bytes, then: bytes) -> None:
    """One line in the log, and no answer, whether a request follows or not. Nobody may choose the address by which he is known."""
    before = len(lines_with(proxy, "sent a PROXY header; only"))
    with connected(proxy, "127.0.0.1") as sock:
        assert answer(sock, sent + then) == b""
    eventually(lambda: lines_with(proxy, "sent a PROXY header; only"), lambda found: len(found) == before + 1)
    assert "192.0.2.7" not in lines_with(proxy, "sent a PROXY header; only")[-1]


def test_refused_within_a_tunnel_and_twice(proxy: Proxy) -> None:
    """A second header is an agent's own invention, as is one of an agent that has a tunnel."""
    with connected(proxy) as sock:
        assert answer(sock, line("192.0.2.7") + line("192.0.2.8") + ASK) == b""
    with Wire(proxy.port, page_url("small"), ca=proxy.ca) as wire:
        assert answer(wire.sock, line("192.0.2.7") + ASK) == b""


@pytest.mark.parametrize(
    "sent",
    [
        ASK,
        b"\x16\x03\x01\x02\0\x01\0",
        b"\r\n" + ASK,
        line("192.0.2.777"),
        SIGNATURE + b"\x21\x11\xff\xff",
        b"PROXY UNKNOWN".ljust(200),
    ],
    ids=["a request", "TLS", "a blank line", "a malformed one", "one of 64 kB", "one without an end"],
)
def test_required_from_a_balancer(proxy: Proxy, sent: bytes) -> None:
    """One line in the log that says what was wrong, and the connection is closed at once."""
    before = len(lines_with(proxy, f"{BALANCER}:"))
    with connected(proxy) as sock:
        assert answer(sock, sent) == b""
    eventually(lambda: lines_with(proxy, f"{BALANCER}:"), lambda found: len(found) == before + 1)


def test_a_check_that_only_connects_is_no_line(proxy: Proxy) -> None:
    before = len(lines_with(proxy, f"{BALANCER}:"))
    connected(proxy).close()
    with connected(proxy) as sock:
        assert answer(sock, ASK) == b""
    assert len(eventually(lambda: lines_with(proxy, f"{BALANCER}:"), lambda found: len(found) > before)) == before + 1
