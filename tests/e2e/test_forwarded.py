"""Ordinary flows as RFC 9110 §7.6 wants them of a proxy: each row with its section. One proxy, and an origin that answers as told.

Requests go to a host that is no package host, and through `pypi_cache_other_hosts=intercept` to one within a CONNECT.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.peers import ParentProxy, Peer
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream

PATIENCE: Final = 10
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
USER: Final = "Basic dTpw"  # u:p


@dataclass
class Origin:
    """Answers each request with `answer`, and keeps what it was sent."""

    answer: bytes = OK
    received: list[bytes] = field(default_factory=list)
    closes: bool = False

    def __call__(self, client: socket.socket) -> None:
        """Read a request, with a body of a known length or chunked, then answer; the rest goes back as it comes after a 101."""
        buffer = b""
        while True:
            while not _is_whole(buffer):
                piece = client.recv(65536)
                if not piece:
                    return
                buffer += piece
            self.received.append(buffer)
            buffer = b""
            client.sendall(self.answer)
            if self.answer.startswith(b"HTTP/1.1 101"):
                while piece := client.recv(65536):
                    client.sendall(piece)
                return
            if self.closes:
                return


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        return len(body) >= int(length[1])
    return b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Scene:
    proxy: Proxy
    origin: Origin
    host: str

    def talk(self, request: str, *, answer: bytes = OK, closes: bool = False) -> bytes:
        """What comes back on a connection of its own, which the client asks to be closed. ORIGIN stands for the origin's host and port."""
        self.origin.answer, self.origin.closes = answer, closes
        self.origin.received.clear()
        with socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE) as sock:
            sock.sendall(request.replace("ORIGIN", self.host).encode("latin-1"))
            return read_all(sock)

    @property
    def seen(self) -> list[str]:
        """The lines of the one head that the origin was sent."""
        assert len(self.origin.received) == 1, self.origin.received
        return self.origin.received[0].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


def read_all(sock: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            received += piece
    return received


@pytest.fixture(scope="module")
def scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    origin = Origin()
    with Upstream(ca) as upstream, Peer(origin) as peer:
        options = {
            "pypi_cache_index": f"pypi={upstream.index_url}",
            "pypi_cache_local_hosts": [peer.authority],
            "pypi_cache_other_hosts": "intercept",
        }
        with Proxy(tmp_path_factory.mktemp("forwarded"), options=options, upstream_ca=ca.bundle) as proxy:
            yield Scene(proxy, origin, peer.authority)
            assert not proxy.complaints, proxy.output


REQUESTS: Final = {
    # what is added to the request: what the origin sees, what it does not see
    "nothing": ("", ["Host: ORIGIN"], ["Connection", "Proxy-"]),
    "close": ("Connection: close\r\n", [], ["Connection"]),  # RFC 9110 §7.6.1
    "keep-alive": ("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", [], ["Connection", "Keep-Alive"]),
    "a field that Connection names": ("Connection: x-mine\r\nX-Mine: 1\r\nX-Other: 2\r\n", ["X-Other: 2"], ["X-Mine"]),
    "in two lines and capitals": (
        "Connection: X-ONE\r\nconnection: X-Two\r\nx-one: 1\r\nX-TWO: 2\r\n",
        [],
        ["x-one", "x-two"],
    ),
    "TE": ("TE: trailers\r\nConnection: TE\r\n", [], ["TE"]),  # §10.1.4
    "Trailer": ("Trailer: X-Sum\r\n", [], ["Trailer"]),  # §6.5.1
    "Proxy-Connection": ("Proxy-Connection: keep-alive\r\n", [], ["Proxy-Connection"]),  # RFC 9112 appendix C.2.2
    "the login": (f"Proxy-Authorization: {USER}\r\n", [], ["Proxy-Authorization"]),  # §11.7.2
    "the origin's login": (
        "Authorization: Basic eDp5\r\nCookie: a=b\r\n",
        ["Authorization: Basic eDp5", "Cookie: a=b"],
        [],
    ),
    "an upgrade that nobody names": ("Upgrade: foo\r\n", [], ["Upgrade"]),  # §7.8
    "Via": ("Via: 1.0 fred\r\n", ["Via: 1.0 fred, 1.1 pypi-cache-"], []),  # §7.6.3
    "no Via": ("", ["Via: 1.1 pypi-cache-"], []),
    "unknown fields": ("X-A: 1\r\nX-A: 2\r\n", ["X-A: 1", "X-A: 2"], []),  # §5.3
    "Max-Forwards of GET": ("Max-Forwards: 0\r\n", ["Max-Forwards: 0"], []),  # §7.6.2
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request(name: str, scene: Scene) -> None:
    fields, there, gone = REQUESTS[name]
    answer = scene.talk(f"GET http://ORIGIN/x?y=1 HTTP/1.1\r\nHost: ORIGIN\r\n{fields}Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert scene.seen[0] == "GET /x?y=1 HTTP/1.1"
    for line in there:
        wanted = line.replace("ORIGIN", scene.host)
        assert any(seen.startswith(wanted) for seen in scene.seen), scene.seen
    for field_name in gone:
        assert not any(seen.lower().startswith(field_name.lower()) for seen in scene.seen), scene.seen


@pytest.mark.parametrize(
    ("line", "host", "seen"),
    [
        (
            "GET http://ORIGIN/a",
            "other.test",
            "GET /a HTTP/1.1",
        ),  # RFC 9112 §3.2.2: the target's host, whatever Host says
        ("GET http://ORIGIN?a", "ORIGIN", "GET /?a HTTP/1.1"),  # RFC 9110 §4.2.3
        ("GET HTTP://ORIGIN", "ORIGIN", "GET / HTTP/1.1"),
        ("OPTIONS http://ORIGIN", "ORIGIN", "OPTIONS * HTTP/1.1"),  # RFC 9112 §3.2.4
        ("OPTIONS http://ORIGIN/", "ORIGIN", "OPTIONS / HTTP/1.1"),
    ],
)
def test_a_target(line: str, host: str, seen: str, scene: Scene) -> None:
    scene.talk(f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert scene.seen[0] == seen
    assert [field for field in scene.seen if field.lower().startswith("host:")] == [f"Host: {scene.host}"]


def test_an_old_client(scene: Scene) -> None:
    """RFC 9110 §2.5: a proxy says its own version; §6.2 and RFC 9112 §6.1: a chunked answer is taken apart for HTTP/1.0."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    received = scene.talk("GET http://ORIGIN/ HTTP/1.0\r\n\r\n", answer=chunked)
    assert scene.seen[0] == "GET / HTTP/1.1"
    assert f"Host: {scene.host}" in scene.seen
    assert any(line.startswith("Via: 1.0 pypi-cache-") for line in scene.seen)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"ok"


@pytest.mark.parametrize(
    ("method", "count", "passed_on"),
    [("OPTIONS", "0", None), ("TRACE", "0", None), ("OPTIONS", "1", "0"), ("TRACE", "7", "6"), ("OPTIONS", "x", "x")],
)
def test_max_forwards(method: str, count: str, passed_on: str | None, scene: Scene) -> None:
    """RFC 9110 §7.6.2: at 0 the proxy answers itself, else with one less. A TRACE shows no credentials (§9.3.8)."""
    secret = "Authorization: Basic eDp5\r\nCookie: a=secret\r\n"
    received = scene.talk(
        f"{method} http://ORIGIN/x HTTP/1.1\r\nHost: ORIGIN\r\n{secret}Max-Forwards: {count}\r\nConnection: close\r\n\r\n"
    )
    assert received.startswith(b"HTTP/1.1 200 ")
    if passed_on is not None:
        assert f"Max-Forwards: {passed_on}" in scene.seen
        return
    assert not scene.origin.received
    if method == "TRACE":
        assert b"Content-Type: message/http" in received
        assert b"TRACE /x HTTP/1.1" in received
        assert b"eDp5" not in received
        assert b"secret" not in received


def test_a_loop(scene: Scene) -> None:
    """RFC 9110 §7.6.3: `Via` is there to avoid request loops."""
    scene.talk("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n")
    via = next(line for line in scene.seen if line.startswith("Via: "))
    received = scene.talk(f"GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n{via}\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 508 ")
    assert not scene.origin.received


RESPONSES: Final = {
    # the origin's fields: what the client sees, what it does not see
    "hop-by-hop": (
        "Connection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nX: 1\r\n",
        ["X: 1"],
        ["X-Mine", "Keep-Alive"],
    ),
    "Via": ("Via: 1.0 fred\r\n", ["Via: 1.0 fred, 1.1 pypi-cache-"], []),
    "no Via": ("", ["Via: 1.1 pypi-cache-"], []),
    "an offer to upgrade": ("Upgrade: h2,h2c\r\nConnection: Upgrade\r\n", [], ["Upgrade"]),  # RFC 9110 §7.8
    "Proxy-Authentication-Info": ("Proxy-Authentication-Info: a\r\n", [], ["Proxy-Authentication-Info"]),
    "a Date": ("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ["Date: Sun, 06 Nov 1994 08:49:37 GMT"], []),
    "no Date": ("", ["Date: "], []),  # §6.6.1
    "cookies": ("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n", ["Set-Cookie: a=1", "Set-Cookie: b=2"], []),  # §5.3
    "a folded field": ("X: a\r\n b\r\n", ["X: a b"], []),  # RFC 9112 §5.2
    "a carriage return in a value": ("X: a\rY: b\r\n", ["X: a Y: b"], []),  # RFC 9110 §5.5
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response(name: str, scene: Scene) -> None:
    fields, there, gone = RESPONSES[name]
    answer = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok".encode()
    received = scene.talk("GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: Close\r\n\r\n", answer=answer)
    head, _, body = received.partition(b"\r\n\r\n")
    assert body == b"ok"
    lines = head.decode().split("\r\n")
    assert "Connection: close" in lines, "the client's close is obeyed and said back (RFC 9112 §9.6)"
    for wanted in there:
        assert any(line.startswith(wanted) for line in lines), lines
    for field_name in gone:
        assert not any(line.lower().startswith(field_name.lower()) for line in lines), lines


BODIES: Final = {
    # method, the origin's answer, what it is to the client after its head
    "a length": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "chunked": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"2\r\nok\r\n0\r\n\r\n",
    ),
    "trailers": (  # RFC 9112 §7.1.2: they may be dropped
        "GET",
        b"HTTP/1.1 200 OK\r\nTrailer: A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
        b"2\r\nok\r\n0\r\n\r\n",
    ),
    "to the end": ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", b"ok"),  # RFC 9112 §6.3, rule 8
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\n\r\nok", b"ok"),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b""),  # rule 1
    "HEAD, chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    "HEAD with a body": ("HEAD", b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", b""),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "204 with a length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", b""),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    "304, chunked": ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    "an interim answer": (  # RFC 9110 §15.2
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        None,
    ),
    "interim answers": ("GET", b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK, None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body(name: str, scene: Scene) -> None:
    method, answer, expected = BODIES[name]
    received = scene.talk(
        f"{method} http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n",
        answer=answer,
        closes=b"200 OK\r\n\r\nok" in answer,
    )
    if expected is None:
        interim, final = answer.split(b"\r\n\r\n")[:-2], received.split(b"\r\n\r\n")
        assert [part.partition(b"\r\n")[0] for part in final] == [
            *(part.partition(b"\r\n")[0] for part in interim),
            b"HTTP/1.1 200 OK",
            b"ok",
        ]
        return
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    assert b"Connection: close" in head
    assert body == expected
    if b" 204 " in head:
        assert b"Content-Length" not in head


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTrailer: A\r\n", "5\r\nhello\r\n0\r\nA: b\r\n\r\n"),  # RFC 9112 §7.1.2
        ("Transfer-Encoding: Chunked\r\n", "5;x=y\r\nhello\r\n0\r\n\r\n"),  # §7: names of codings have no case; §7.1.1
        ("Transfer-Encoding: gzip, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),  # §6.1: framing alone is ours
    ],
)
def test_an_upload(fields: str, body: str, scene: Scene) -> None:
    """A body arrives whole, framed as it was; the next request on the connection is answered too."""
    request = f"POST http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n{fields}\r\n{body}"
    last = "GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\nConnection: close\r\n\r\n"
    received = scene.talk(request + last)
    assert received.count(b"HTTP/1.1 200 ") == 2
    first = scene.origin.received[0]
    assert b"hello" in first
    assert b"A: b" not in first
    assert (b"chunked" in first.lower()) is ("chunked" in fields.lower())


@pytest.mark.parametrize("protocol", ["foo/1", "websocket"])
def test_another_protocol(protocol: str, scene: Scene) -> None:
    """RFC 9110 §7.8: an offer that the origin takes, and then bytes both ways."""
    scene.origin.answer = (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\r\n".encode()
    )
    scene.origin.received.clear()
    with socket.create_connection(("127.0.0.1", scene.proxy.port), PATIENCE) as sock:
        fields = f"Upgrade: {protocol}\r\nConnection: keep-alive, Upgrade\r\nX-A: 1\r\n"
        sock.sendall(f"GET http://{scene.host}/ HTTP/1.1\r\nHost: {scene.host}\r\n{fields}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: " + protocol.encode() in head.lower()
        assert b"connection: upgrade" in head.lower()
        sock.sendall(b"ping")
        assert sock.recv(4, socket.MSG_WAITALL) == b"ping"
    assert f"Upgrade: {protocol}" in scene.seen
    assert "Connection: upgrade" in scene.seen


def test_an_origin_that_closes_in_capitals(scene: Scene) -> None:
    """RFC 9110 §7.6.1: its connection is not used again; the client's is."""
    answer = OK.replace(b"Content", b"Connection: Close\r\nContent")
    one = "GET http://ORIGIN/ HTTP/1.1\r\nHost: ORIGIN\r\n"
    received = scene.talk(f"{one}\r\n{one}Connection: close\r\n\r\n", answer=answer, closes=True)
    assert received.count(b"HTTP/1.1 200 ") == 2


def test_a_half_close(scene: Scene) -> None:
    """An origin is needed for the answer, so the client counts as left; nothing is left hanging, and nothing crashes."""
    scene.origin.answer = OK
    with socket.create_connection(("127.0.0.1", scene.proxy.port), PATIENCE) as sock:
        sock.sendall(f"GET http://{scene.host}/ HTTP/1.1\r\nHost: {scene.host}\r\n\r\n".encode())
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock)[:13] in {b"", b"HTTP/1.1 200 "}  # an answer that was quicker is right, too


@pytest.mark.parametrize("sent", ["with the CONNECT", "after the answer"])
def test_a_half_close_of_an_intercepted_connect(sent: str, scene: Scene) -> None:
    """mitmproxy told the layer within the CONNECT of an error that it does not know, and the client waited for ever."""
    with socket.create_connection(("127.0.0.1", scene.proxy.port), PATIENCE) as sock:
        sock.sendall(f"CONNECT {scene.host} HTTP/1.1\r\nHost: {scene.host}\r\n\r\n".encode())
        if sent == "with the CONNECT":
            sock.shutdown(socket.SHUT_WR)
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := sock.recv(1)):
            head += byte
        assert head.startswith(b"HTTP/1.1 200 ")
        if sent == "after the answer":
            sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""


@pytest.mark.parametrize("early", [True, False])
def test_a_half_close_of_a_tunnel(early: bool, ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the client has sent arrives, then its end, and the answer comes back: a `git upload-pack`, `nc -N`."""

    def reads_to_the_end(client: socket.socket) -> None:
        received = b""
        while piece := client.recv(65536):
            received += piece
        client.sendall(b"got " + received)

    with Upstream(ca) as upstream, Peer(reads_to_the_end) as peer:
        options = {"pypi_cache_index": f"pypi={upstream.index_url}", "pypi_cache_local_hosts": [peer.authority]}
        with (
            Proxy(tmp_path_factory.mktemp("tunnel"), options=options, upstream_ca=ca.bundle) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as sock,
        ):
            sock.sendall(f"CONNECT {peer.authority} HTTP/1.1\r\nHost: {peer.authority}\r\n\r\n".encode())
            if early:
                sock.sendall(b"hello")
                sock.shutdown(socket.SHUT_WR)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            if not early:
                sock.sendall(b"hello")
                sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"got hello"
        assert not proxy.complaints, proxy.output


@pytest.mark.parametrize("login", [True, False])
def test_logins_of_the_two_proxies(login: bool, ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    """RFC 9110 §11.7.2: the client's goes no further than to this proxy; what is signed for our own parent goes to it."""
    origin = Origin()
    with Upstream(ca) as upstream, Peer(origin) as peer, ParentProxy(names={"far.example": peer.port}) as parent:
        options = {"pypi_cache_index": f"pypi={upstream.index_url}", "proxyauth": "u:p"}
        env = {"HTTPS_PROXY": f"http://me:mine@127.0.0.1:{parent.port}", "NO_PROXY": "localhost"}
        with (
            Proxy(tmp_path_factory.mktemp("logins"), options=options, upstream_ca=ca.bundle, env=env) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as sock,
        ):
            fields = f"Proxy-Authorization: {USER}\r\n" if login else ""
            sock.sendall(
                f"GET http://far.example/ HTTP/1.1\r\nHost: far.example\r\n{fields}Connection: close\r\n\r\n".encode()
            )
            received = read_all(sock)
        assert not proxy.complaints, proxy.output
    assert received.startswith(b"HTTP/1.1 200 " if login else b"HTTP/1.1 407 ")
    assert USER.encode() not in b"".join([*parent.heads, *origin.received])
    assert b"Proxy-Authorization" not in b"".join(origin.received)
    assert login is any(b"Proxy-Authorization: Basic bWU6bWluZQ==" in head for head in parent.heads)
