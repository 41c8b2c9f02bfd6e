"""What a client may send before it is answered: each phase of a connection just below and just above its limit, whole and in pieces."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from pkgcache.proxy.connection_limits import (
    LINGER_SECONDS,
    MAX_CHUNK_LINE,
    MAX_FIELDS,
    MAX_HEAD,
    MAX_HELD,
    MAX_LINE,
    MAX_TRAILERS,
)
from pkgcache.rules.http.request_limits import MAX_FIELD, MAX_PATH
from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy
from tests.support.proxy import ADDON, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire, client_context

PATIENCE: Final = 15
START: Final = b"GET /healthz HTTP/1.1\r\n"
HOST: Final = b"Host: any.test\r\n"
WIDE: Final = b"Cookie: " + b"w" * 4086 + b"\r\n"  # 4096 bytes


@pytest.fixture(scope="module")
def proxy(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Upstream(ca) as upstream:
        upstream.add(make_wheel("small"))
        options = {"pypi_cache_index": f"pypi={upstream.index_url}"}
        with Proxy(tmp_path_factory.mktemp("limits"), options=options, upstream_ca=ca.bundle) as running:
            yield running
            assert not running.complaints, running.output


def request_line(size: int) -> bytes:
    """A request whose first line has so many bytes without its line end."""
    return b"GET /healthz?".ljust(size - 9, b"q") + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def field_line(size: int) -> bytes:
    """A request with one header line of so many bytes without its line end."""
    return START + HOST + b"Accept: ".ljust(size, b"a") + b"\r\n\r\n"


def cookie_line(size: int) -> bytes:
    """As `field_line`, with a field that is allowed to be long."""
    return START + HOST + b"Cookie: ".ljust(size, b"a") + b"\r\n\r\n"


def head(size: int) -> bytes:
    """A request whose head has so many bytes, in lines that are allowed."""
    text = START + HOST
    text += WIDE * ((size - len(text) - 10) // len(WIDE))
    return text + b"X: ".ljust(size - len(text) - 4, b"x") + b"\r\n\r\n"


def fields(count: int) -> bytes:
    """A request with so many header lines."""
    return START + HOST + b"a: b\r\n" * (count - 1) + b"\r\n"


HEADS: Final = {
    "request line below": (request_line(MAX_LINE - 1), 200),
    "request line above": (request_line(MAX_LINE + 3), 414),
    "a long target in absolute form": (b"GET http://any.test/" + b"a" * MAX_LINE + b" HTTP/1.1\r\n\r\n", 414),
    "a long method": (b"G" * (MAX_LINE + 3), 414),
    "header line below": (cookie_line(MAX_LINE - 1), 200),
    "header line above": (field_line(MAX_LINE + 3), 431),
    "a continued header line": (START + b"A: a\r\n" + b" ".ljust(MAX_LINE + 3, b"a"), 431),
    "head below": (head(MAX_HEAD - 2), 200),
    "head above": (head(MAX_HEAD + 3), 431),
    "fields below": (fields(MAX_FIELDS), 200),
    "fields above": (fields(MAX_FIELDS + 1), 431),
    "fields above, with bare line feeds": (START + b"a: b\n" * (MAX_FIELDS + 1), 431),
    "empty lines first": (b"\r\n\n\r\n" * 500 + START + HOST + b"\r\n", 200),
    "empty lines and a long line": (b"\r\n" * 500 + request_line(MAX_LINE + 3), 414),
    "a long head without an end": (START + WIDE * (MAX_HEAD // len(WIDE) + 1), 431),
    "a long line without an end": (START + b"a" * (MAX_LINE + 3), 431),
    "a line of one blank is not the end": (START + b" \n" + b"W: " + b"w" * (MAX_LINE + 3), 431),
    "long lines with bare line feeds": (START + WIDE.replace(b"\r", b"w") * (MAX_HEAD // len(WIDE) + 1), 431),
    "one field folded many times": (START + b"A: a\r\n" + b" b\r\n" * (MAX_FIELDS + 1), 431),
    "a long target of a CONNECT": (b"CONNECT " + b"a" * (MAX_LINE + 3) + b":443 HTTP/1.1\r\n\r\n", 414),
    "a long field of a CONNECT": (b"CONNECT any.test:443 HTTP/1.1\r\n" + field_line(MAX_LINE + 3)[len(START) :], 431),
    "bytes in the target": (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400),
    "UTF-8 in the target": ("GET /simple/é/ HTTP/1.1\r\n\r\n".encode(), 400),
    "a control character in the target": (b"GET /a\x00b HTTP/1.1\r\n\r\n", 400),
    "a carriage return in the target": (b"GET /a\rb HTTP/1.1\r\n\r\n", 400),
    "bytes in the method": (b"G\xc3\xa9T / HTTP/1.1\r\n\r\n", 400),
    "bytes in the version": (b"GET / HTTP/1.\xc2\xb9\r\n\r\n", 400),
    "bytes in a field": (START + HOST + b"Accept: \xff\xfe\r\nX: \xc3\xa9\r\n\r\n", 200),
    "bytes in Host": (START + b"Host: \xff\xfe\r\n\r\n", 400),
    "a long path": (b"GET /" + b"%" * MAX_PATH + f" HTTP/1.1\r\nHost: {names.INDEX_HOST}\r\n\r\n".encode(), 414),
    "a long query": (b"GET /healthz?" + b"%" * MAX_PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "without Host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "not HTTP at all": (b"\x00\x01\x02\x03 and more\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "an upgrade to HTTP/2": (
        START + HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        200,
    ),
    "an upgrade to WebSocket": (
        START + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        200,
    ),
}


PARSED: Final = {
    "a long list": (START + HOST + b"Accept: " + b"a," * (MAX_FIELD // 2 + 1) + b"\r\n\r\n", 431),
    "a list in many lines": (START + HOST + b"Cache-Control: no-cache, no-store, max-age=0\r\n" * 200 + b"\r\n", 431),
    "long cookies": (
        START + HOST + b"Cookie: " + b"a" * 8000 + b"\r\nAuthorization: " + b"b" * 8000 + b"\r\n\r\n",
        200,
    ),
}
"""What is refused only after it was parsed, and where it is for the proxy or a package host."""


def whole(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)


def in_pieces(sock: socket.socket, data: bytes) -> None:
    """In the packets of a slow link."""
    for start in range(0, len(data), 700):
        sock.sendall(data[start : start + 700])
        time.sleep(0.0005)  # TCP_NODELAY: a packet each


def byte_by_byte(sock: socket.socket, data: bytes) -> None:
    """Each byte in a packet of its own."""
    for value in data:
        sock.sendall(bytes((value,)))


def open_plain(proxy: Proxy) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def status_of(sock: socket.socket) -> int:
    """The status that comes back; 0 where the connection ends without one."""
    received = b""
    with contextlib.suppress(OSError):
        while b"\r\n" not in received and (piece := sock.recv(4096)):
            received += piece
    return int(received.split(b" ")[1]) if received else 0


def is_closed(sock: socket.socket) -> bool:
    """Whether the proxy has closed this connection, with or without an answer before."""
    sock.settimeout(PATIENCE)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def send(how: Callable[[socket.socket, bytes], None], sock: socket.socket, data: bytes) -> None:
    """Send it all, or as much as is taken."""
    with contextlib.suppress(OSError):
        how(sock, data)


@pytest.mark.parametrize("how", [whole, in_pieces, byte_by_byte])
@pytest.mark.parametrize("name", [*HEADS, *PARSED])
def test_a_head(name: str, how: Callable[[socket.socket, bytes], None], proxy: Proxy) -> None:
    data, status = (HEADS | PARSED)[name]
    with open_plain(proxy) as sock:
        send(how, sock, data)
        assert status_of(sock) == status


@pytest.mark.parametrize("how", [whole, in_pieces])
@pytest.mark.parametrize("name", [name for name, (_, status) in HEADS.items() if status in {414, 431}])
def test_a_head_in_a_tunnel(name: str, how: Callable[[socket.socket, bytes], None], proxy: Proxy) -> None:
    """TLS within a CONNECT to a package host."""
    data, status = HEADS[name]
    with Wire(proxy.port, names.page_url("small"), ca=proxy.ca, timeout=PATIENCE).sock as sock:
        send(how, sock, data)
        assert status_of(sock) == status


@pytest.mark.parametrize(
    ("name", "size", "status"),
    [
        ("User-Agent", MAX_LINE + 3, 431),
        ("X", MAX_FIELD, 200),
        ("X", MAX_FIELD + 1, 431),
        ("Accept", MAX_FIELD, 200),
        ("Accept", MAX_FIELD + 1, 431),
    ],
)
def test_a_field_in_a_tunnel(name: str, size: int, status: int, proxy: Proxy) -> None:
    url = names.page_url("small")
    with Wire(proxy.port, url, ca=proxy.ca, timeout=PATIENCE) as wire:
        assert wire.request(url, headers={name: "x" * size}).status == status


def test_the_next_request_is_measured_too(proxy: Proxy) -> None:
    with open_plain(proxy) as sock:
        send(whole, sock, START + HOST + b"\r\n")
        assert status_of(sock) == 200
        send(whole, sock, request_line(MAX_LINE + 3))
        assert last_status(sock) == 414


def last_status(sock: socket.socket) -> int:
    """The status of the last response before the proxy closes the connection; 0 if there is none."""
    received = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(4096):
            received += piece
    _, line, rest = received.rpartition(b"HTTP/1.1 ")
    return int(rest.split(b" ")[0]) if line else 0


def test_a_refused_client_may_not_go_on_for_ever(proxy: Proxy) -> None:
    with open_plain(proxy) as sock:
        send(whole, sock, b"a" * (MAX_LINE + 3))
        assert status_of(sock) == 414
        ends = time.monotonic() + LINGER_SECONDS + PATIENCE
        while not is_reset(sock):
            assert time.monotonic() < ends
            time.sleep(0.01)


def is_reset(sock: socket.socket) -> bool:
    """Whether the proxy takes no more bytes on this connection."""
    try:
        sock.sendall(b"a" * 1000)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("count", [2, 400, 1500])
def test_requests_sent_ahead_are_all_answered(count: int, proxy: Proxy) -> None:
    """Hits from memory: mitmproxy parses the next one within the end of the one before, until Python's stack is full."""
    proxy.get("/pypi/simple/small/")
    with open_plain(proxy) as sock:
        sock.sendall(b"GET /pypi/simple/small/ HTTP/1.1\r\nHost: any.test\r\n\r\n" * count)
        answers, rest = 0, b""
        while answers < count and (piece := sock.recv(1 << 16)):
            rest += piece
            answers += rest.count(b"HTTP/1.1 200 ")
            rest = rest.replace(b"HTTP/1.1 200 ", b"")[-12:]
        assert answers == count


def test_what_is_sent_ahead_stays_with_the_sender(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A client that sends on while its answer is awaited is read from no further."""
    upstream.add(make_wheel("slow"))
    proxy = make_proxy(upstream)
    gate = threading.Event()
    upstream.script(Behaviour("/simple/slow/", gate=gate))
    with open_plain(proxy) as sock:
        sock.sendall(b"GET /pypi/simple/slow/ HTTP/1.1\r\nHost: any.test\r\n\r\n")
        sock.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200_000_000:
                sent += sock.send(b"a" * 65536)
    gate.set()
    assert sent < 30_000_000  # the kernel's buffers


HELLO: Final = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"h" * 16380
RECORD: Final = b"\x16\x03\x01\x40\x00" + b"h" * 16384
CRUMB: Final = b"\x16\x03\x01\x00\x01h"

HANDSHAKES: Final = {
    "a ClientHello of 16 MB": HELLO + RECORD * (4 * MAX_HELD // len(RECORD)),
    "in records of one byte": HELLO[:9] + CRUMB * (4 * MAX_HELD // len(CRUMB)),
    "records of nothing": b"\x16\x03\x01\x00\x00" * (4 * MAX_HELD // 5),
    "no handshake in a record": b"\x16\x03\x01\x00\x04\x02\x00\x00\x00" * (4 * MAX_HELD // 9),
    "a ClientHello that says nothing, and more": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00" + RECORD * 16,
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_client_hello_without_an_end(name: str, inside: bool, proxy: Proxy) -> None:
    with open_plain(proxy) as sock:
        if inside:
            sock.sendall(f"CONNECT {names.INDEX_HOST}:443 HTTP/1.1\r\nHost: any.test\r\n\r\n".encode())
            assert status_of(sock) == 200
        sock.settimeout(1)
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(HANDSHAKES[name])
                sent += len(HANDSHAKES[name])
        assert sent < 10_000_000, "it is read on"
        assert is_closed(sock)


TO_INDEX: Final = f"CONNECT {names.INDEX_HOST}:443 HTTP/1.1\r\nHost: any.test\r\n"


@pytest.mark.parametrize("field", ["Content-Length: 100000", "Content-Length: 05", "Transfer-Encoding: chunked"])
def test_a_connect_with_a_body(field: str, proxy: Proxy) -> None:
    """It is refused before the body is read: what follows the head of a CONNECT belongs to the tunnel."""
    with open_plain(proxy) as sock:
        sock.sendall(f"{TO_INDEX}{field}\r\n\r\n".encode())
        assert status_of(sock) == 400
        with contextlib.suppress(OSError):
            for _ in range(20):
                sock.sendall(b"5\r\nhello\r\n" * 1000)
    with open_plain(proxy) as sock:
        sock.sendall(f"{TO_INDEX}Content-Length: 0\r\n\r\n".encode())
        assert status_of(sock) == 200


def test_empty_lines_without_an_end(proxy: Proxy) -> None:
    with open_plain(proxy) as sock:
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"\r\n" * MAX_HEAD)
        assert is_closed(sock)


def test_a_handshake_in_single_bytes(proxy: Proxy) -> None:
    """It takes longer, and succeeds."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(str(proxy.ca)).wrap_bio(incoming, outgoing, server_hostname=names.INDEX_HOST)
    with open_plain(proxy) as sock:
        sock.sendall(f"{TO_INDEX}\r\n".encode())
        assert status_of(sock) == 200
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                byte_by_byte(sock, outgoing.read())
                incoming.write(sock.recv(65536))
        assert tls.version() == "TLSv1.3"


CHUNKED: Final = START.replace(b"GET", b"POST") + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

BODIES: Final = {
    "trailers are dropped": (b"1\r\na\r\n0\r\nX: y\r\nZ: z\r\n\r\n", 405),
    "an extension below": (b"1;" + b"e" * (MAX_CHUNK_LINE - 2) + b"\r\na\r\n0\r\n\r\n", 405),
    "an extension above": (b"1;" + b"e" * MAX_CHUNK_LINE + b"\r\na\r\n0\r\n\r\n", 0),
    "an extension without an end": (b"1;" + b"e" * 2 * MAX_CHUNK_LINE, 0),
    "an extension within a body": (b"1\r\na\r\n1;" + b"e" * 2 * MAX_CHUNK_LINE, 0),
    "a size of many digits": (b"1" * 4 * MAX_LINE, 0),
    "trailers above": (b"0\r\n" + b"X: y\r\n" * MAX_LINE, 0),
    "a trailer without an end": (b"0\r\nX: " + b"y" * 2 * MAX_TRAILERS, 0),
    "no size": (b"x\r\n", 0),
    "an end with LF alone": (b"0\n\n" + b"a" * MAX_CHUNK_LINE, 0),
}


@pytest.mark.parametrize("how", [whole, in_pieces])
@pytest.mark.parametrize("name", BODIES)
def test_a_chunked_body(name: str, how: Callable[[socket.socket, bytes], None], proxy: Proxy) -> None:
    data, status = BODIES[name]
    with open_plain(proxy) as sock:
        send(how, sock, CHUNKED + data)
        assert status_of(sock) == status


def when_served(proxy: Proxy, path: str) -> Fetched:
    """The answer, once the proxy has room for this client."""
    return eventually(lambda: proxy.get(path), lambda answer: answer.status != 503)


def test_out_of_file_handles(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """300 idle clients and 256 handles: idle ones are closed, a normal client is served, and health tells when it begins and ends."""
    upstream.add(make_wheel("small"))
    proxy = make_proxy(upstream, start=False)
    proxy.wrapper = ["bash", "-c", 'ulimit -n 256; exec "$@"', "limited"]
    proxy.start()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(open_plain(proxy))
        assert b"of 256 open files" in when_served(proxy, "/healthz").body
        for _ in range(5):
            assert when_served(proxy, "/pypi/simple/small/").status == 200
    eventually(lambda: b"of 256 open files" not in proxy.get("/healthz").body)
    lines = [line for line in proxy.output.splitlines() if "open files" in line or "works again" in line]
    assert len(lines) == 2, lines
    assert not proxy.complaints


def test_busy_clients_are_not_closed_for_new_ones(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """With 128 clients that wait for an answer a new one gets 503; afterwards all is as before."""
    upstream.add(make_wheel("slow"))
    upstream.add(make_wheel("small"))
    proxy = make_proxy(upstream, start=False)
    proxy.wrapper = ["bash", "-c", 'ulimit -n 256; exec "$@"', "limited"]
    proxy.start()
    gate = threading.Event()
    upstream.script(Behaviour("/simple/slow/", gate=gate))
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(140):
            waiting.append(stack.enter_context(open_plain(proxy)))
            send(whole, waiting[-1], b"GET /pypi/simple/slow/ HTTP/1.1\r\nHost: any.test\r\n\r\n")
        with open_plain(proxy) as late:
            send(whole, late, START + HOST + b"\r\n")
            assert status_of(late) == 503
        gate.set()
        statuses = [status_of(sock) for sock in waiting]
    assert statuses.count(200) >= 64, statuses
    assert set(statuses) <= {200, 503, 0}
    assert when_served(proxy, "/pypi/simple/small/").status == 200
    assert not proxy.complaints


# Time


QUICK: Final = f"""
import sys
sys.path.insert(0, {str(ADDON.parent)!r})
from pkgcache.proxy import client_connections, client_reader, http1_server
http1_server.HEAD_SECONDS = http1_server.BODY_SECONDS = client_reader.HEAD_SECONDS = client_connections.TAKE_SECONDS = 1.0
from pkgcache.proxy.addon import PypiCache
addons = [PypiCache()]
"""
CONNECT: Final = b"CONNECT any.test:443 HTTP/1.1\r\n"
POST: Final = START.replace(b"GET", b"POST") + HOST + b"Content-Length: 50\r\n\r\n"

SLOW: Final = {
    "one byte": (b"G", b"", 408),
    "half a line": (START[:9], b"", 408),
    "all but the last byte": (START + HOST + b"\r", b"", 408),
    "a byte now and then": (START, b"a", 408),
    "a line now and then": (START, b"A: b\r\n", 408),
    "after empty lines": (b"\r\n\r\nGET", b"", 408),
    "after a request": (START + HOST + b"\r\n" + START, b"", 408),
    "a CONNECT": (CONNECT, b"", 408),
    "a CONNECT now and then": (CONNECT, b"a", 408),
    "no body": (POST, b"", 408),
    "half a body": (POST + b"ab", b"", 408),
    "half a chunk": (CHUNKED + b"5\r\nab", b"", 408),
    "half a chunk's size": (CHUNKED + b"5", b"", 408),
    "trailers": (CHUNKED + b"0\r\nX: y\r\n", b"", 408),
    "a ClientHello": (HELLO[:20], b"", 0),
    "a ClientHello now and then": (HELLO[:20], b"h", 0),
}
SLOW_IN_TLS: Final = ("one byte", "all but the last byte", "a byte now and then", "after a request")


def test_time(ca: Authority, upstream: Upstream, tmp_path: Path) -> None:
    """Heads, handshakes and bodies that stop or drip, all at once; with limits of one second in the place of 20 and 60."""
    script = tmp_path / "quick.py"
    script.write_text(QUICK)
    options = {"pypi_cache_index": f"pypi={upstream.index_url}"}
    with (
        Proxy(tmp_path / "proxy", options=options, upstream_ca=ca.bundle, script=script) as proxy,
        contextlib.ExitStack() as stack,
    ):
        cases = [(name, *row, stack.enter_context(open_plain(proxy))) for name, row in SLOW.items()]
        for name in SLOW_IN_TLS:
            wire = Wire(proxy.port, names.page_url("small"), ca=proxy.ca, timeout=PATIENCE)
            cases.append((f"{name}, in TLS", *SLOW[name], stack.enter_context(wire.sock)))
        inside = stack.enter_context(open_plain(proxy))
        inside.sendall(f"CONNECT {names.INDEX_HOST}:443 HTTP/1.1\r\nHost: any.test\r\n\r\n".encode())
        assert status_of(inside) == 200
        cases.append(("a ClientHello in a tunnel", *SLOW["a ClientHello"], inside))
        for _, begin, _, _, sock in cases:
            send(whole, sock, begin)
        for _ in range(15):
            for _, _, further, _, sock in cases:
                send(whole, sock, further)
            time.sleep(0.1)
        assert {name: last_status(sock) for name, _, _, _, sock in cases} == {case[0]: case[3] for case in cases}
        assert proxy.get("/healthz").status == 200
        assert not proxy.complaints
