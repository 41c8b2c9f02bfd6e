"""Messages on the wire by RFC 9110 and 9112: each row with its section. One proxy, a connection for each row.

A HEAD answered with a body was response splitting behind a front end that keeps connections (test_front_ends).
"""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support import names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel

PATIENCE: Final = 10
HOST: Final = "Host: any.test\r\n"


@dataclass(frozen=True, slots=True)
class Scene:
    proxy: Proxy
    upstream: Upstream
    release: ReleaseFile


@pytest.fixture(scope="module")
def scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    release = make_wheel("stored", payload_size=300_000)
    with Upstream(ca) as upstream:
        upstream.add(release)
        indexes = [f"pypi={upstream.index_url}", "dead=http://127.0.0.1:9/simple/"]
        options = {"pypi_cache_index": indexes, "pypi_cache_deny": "denied"}
        options["termlog_verbosity"] = "debug"  # with the connections
        with Proxy(tmp_path_factory.mktemp("wire"), options=options, upstream_ca=ca.bundle) as proxy:
            for path in ("/pypi/simple/stored/", f"/pypi/{release.quoted_path}"):
                assert proxy.get(path).status == 200
            yield Scene(proxy, upstream, release)
            assert not proxy.complaints, proxy.output


def talk(proxy: Proxy, request: str | bytes, *, half_close: bool = False) -> bytes:
    """All that the proxy sends on one connection, which it is to close."""
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as sock:
        sock.sendall(request if isinstance(request, bytes) else request.encode("latin-1"))
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                received += piece
        return received


def head_of(received: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and the rest of the first answer."""
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), rest


ERRORS: Final = {
    "400 two hosts": (400, "/healthz", f"{HOST}{HOST}"),  # RFC 9112 §3.2
    "400 a bad length": (400, "/healthz", f"{HOST}Content-Length: x\r\n"),
    "400 both framings": (400, "/healthz", f"{HOST}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    "400 a bad name": (400, "/healthz", f"{HOST}A b: c\r\n"),
    "403": (403, "/pypi/simple/denied/", HOST),
    "404 no such page": (404, "/nope", HOST),
    "404 a file name with line ends": (404, "/pypi/files/a%0d%0aX-Evil:%20yes-1.0.tar.gz", HOST),
    "404 of upstream": (404, "/pypi/simple/missing/", HOST),
    "406": (406, "/pypi/simple/stored/", f"{HOST}Accept: image/png\r\n"),
    "414": (414, f"/{'a' * 3000}", HOST),
    "414 of the connection": (414, f"/{'a' * 9000}", HOST),
    "431": (431, "/healthz", f"{HOST}A: {'a' * 9000}\r\n"),
    "no upstream": (502, "/dead/simple/any/", HOST),
    "504": (504, "/pypi/simple/never-seen/", f"{HOST}Cache-Control: only-if-cached\r\n"),
    "505": (505, "VERSION", HOST),
    "503 of mitmproxy": (503, "http://127.0.0.1:9/", "Host: 127.0.0.1:9\r\n"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_to_head_has_no_body(name: str, scene: Scene) -> None:
    """RFC 9110 §9.3.2 and RFC 9112 §6.3: nothing comes after the head, whoever has made the answer.

    A Date is there (RFC 9110 §6.6.1), and `close` is said back (RFC 9112 §9.6).
    """
    status, target, fields = ERRORS[name]
    version = "2.0" if target == "VERSION" else "1.1"
    target = "/healthz" if target == "VERSION" else target
    answers = {
        method: talk(scene.proxy, f"{method} {target} HTTP/{version}\r\n{fields}Connection: close\r\n\r\n")
        for method in ("HEAD", "GET")
    }
    for method, received in answers.items():
        found, headers, body = head_of(received)
        if name == "no upstream" and found in {503, 504}:  # once it is known to be dead
            found = status
        assert (found, headers["Connection"], headers["Date"][-4:]) == (status, "close", " GMT"), method
        assert "\r" not in body.decode()
        assert b"X-Evil: yes" not in body
        assert len(body) == (0 if method == "HEAD" else int(headers.get("Content-Length") or headers["content-length"]))
    assert head_of(answers["GET"])[2], "people are told why"


@pytest.mark.parametrize(
    "first", ["/nope", "/pypi/simple/denied/", "/pypi/simple/missing/", "/pypi/simple/stored/", "FILE"]
)
def test_the_request_after_a_head(first: str, scene: Scene) -> None:
    """On the same connection: what comes next is the next answer (aiohttp's failed 200 of 200 times)."""
    first = f"/pypi/{scene.release.quoted_path}" if first == "FILE" else first
    last = f"GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
    received = talk(scene.proxy, f"HEAD {first} HTTP/1.1\r\n{HOST}\r\n{last}")
    _, _, rest = head_of(received)
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert b'"version":' in rest


CLOSES: Final = {
    "close": ("1.1", "close", "close"),  # RFC 9112 §9.6
    "Close": ("1.1", "Close", "close"),  # RFC 9110 §7.6.1: options have no case
    "CLOSE": ("1.1", "CLOSE", "close"),
    "a list": ("1.1", "keep-alive,Close", "close"),
    "a list with blanks": ("1.1", " x-mine ,\tclose ", "close"),
    "1.0": ("1.0", "", "close"),  # RFC 9112 §9.3
    "1.0 close": ("1.0", "close", "close"),
    "1.0 keep-alive": ("1.0", "Keep-Alive", "keep-alive"),
    "1.1": ("1.1", "", None),
    "1.1 keep-alive": ("1.1", "Keep-Alive", None),
    "another option": ("1.1", "closed", None),
    "1.2": ("1.2", "", None),  # RFC 9110 §2.5: as the latest of 1.x that is known
    "1.9 close": ("1.9", "Close", "close"),
}


@pytest.mark.parametrize("target", ["/healthz", "/nope", "/pypi/simple/stored/", "FILE"])
@pytest.mark.parametrize("name", CLOSES)
def test_what_becomes_of_the_connection(name: str, target: str, scene: Scene) -> None:
    """Said and done: a second request is answered exactly where the connection stays."""
    version, value, said = CLOSES[name]
    target = f"/pypi/{scene.release.quoted_path}" if target == "FILE" else target
    option = f"Connection: {value}\r\n" if value else ""
    request = f"HEAD {target} HTTP/{version}\r\n{HOST}{option}\r\n"
    received = talk(scene.proxy, f"{request}GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")
    assert head_of(received)[1].get("Connection") == said
    assert received.count(b"HTTP/1.1 ") == (1 if said == "close" else 2)


def test_close_in_two_lines(scene: Scene) -> None:
    """RFC 9110 §5.3: repeated lines are one list."""
    fields = f"{HOST}Connection: x-mine\r\nConnection: Close\r\n"
    assert head_of(talk(scene.proxy, f"GET /healthz HTTP/1.1\r\n{fields}\r\n"))[1]["Connection"] == "close"


LINES: Final[dict[str, tuple[str | bytes, int]]] = {
    "no Host": ("GET /healthz HTTP/1.1\r\n\r\n", 400),  # RFC 9112 §3.2
    "no Host in 1.0": ("GET /healthz HTTP/1.0\r\n\r\n", 200),
    "two Hosts": (f"GET /healthz HTTP/1.1\r\n{HOST}host: b.test\r\n\r\n", 400),
    "an empty Host": ("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a Host with a blank": ("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a path": ("GET /healthz HTTP/1.1\r\nHost: a.test/x\r\n\r\n", 400),
    "a Host with a user": ("GET /healthz HTTP/1.1\r\nHost: me@a.test\r\n\r\n", 400),
    "a Host with a bad port": ("GET /healthz HTTP/1.1\r\nHost: a.test:http\r\n\r\n", 400),
    "a bad Host in absolute form": ("GET http://PROXY/healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "no Host in absolute form": ("GET http://PROXY/healthz HTTP/1.1\r\n\r\n", 400),
    "another Host in absolute form": (f"GET http://PROXY/healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 200),
    "a URL without a path": (
        f"GET http://PROXY?x=1 HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n",
        200,
    ),  # RFC 9110 §4.2.3
    "a URL without path and query": (f"GET http://PROXY HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 200),
    "a scheme in capitals": (f"GET HTTP://PROXY/healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 200),
    "an empty line first": (f"\r\nGET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 200),  # RFC 9112 §2.2
    "empty lines first": (f"\r\n\n\r\nGET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 200),
    "bare line feeds": (f"GET /healthz HTTP/1.1\n{HOST}Connection: close\n\n", 200),
    "a blank before the method": (f" GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 400),  # RFC 9112 §3
    "a tab before the method": (f"\tGET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 400),
    "a blank before a CONNECT": (f" CONNECT a.test:443 HTTP/1.1\r\n{HOST}\r\n", 400),
    "an empty line and a blank": (f"\r\n GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 400),
    "a line of blanks": (f"  \r\nGET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 400),
    "GET *": (f"GET * HTTP/1.1\r\n{HOST}\r\n", 400),  # RFC 9112 §3.2.4
    "HEAD *": (f"HEAD * HTTP/1.1\r\n{HOST}\r\n", 400),
    "OPTIONS *": (f"OPTIONS * HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n", 405),
    "a byte in the path": (b"GET /\xe9 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),  # RFC 3986 §2
    "UTF-8 in the path": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "a byte in the method": (b"G\xc9T / HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "a byte in the method of a CONNECT": (b"CONNECT\xff a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "no version": (f"GET /healthz\r\n{HOST}\r\n", 400),
    "four words": (f"GET / x HTTP/1.1\r\n{HOST}\r\n", 400),
    "no path": (f"GET healthz HTTP/1.1\r\n{HOST}\r\n", 400),
    "a method that is no token": (f"G(T / HTTP/1.1\r\n{HOST}\r\n", 400),
    "a method in small letters": (f"get /healthz HTTP/1.1\r\n{HOST}\r\n", 400),  # RFC 9110 §9.1
    "an old version": (f"GET /healthz HTTP/0.9\r\n{HOST}\r\n", 505),
    "a later version": (f"GET /healthz HTTP/1.9\r\n{HOST}Connection: close\r\n\r\n", 200),  # RFC 9110 §6.2
    "blanks before the colon": (f"GET /healthz HTTP/1.1\r\n{HOST}A : b\r\n\r\n", 400),  # RFC 9112 §5.1
    "a folded field": (f"GET /healthz HTTP/1.1\r\n{HOST}A: b\r\n c\r\n\r\n", 400),  # RFC 9112 §5.2
    "a blank before the first field": (f"GET /healthz HTTP/1.1\r\n A: b\r\n{HOST}\r\n", 400),  # RFC 9112 §2.2
    "no colon": (f"GET /healthz HTTP/1.1\r\n{HOST}A\r\n\r\n", 400),
    "a carriage return in a value": (f"GET /healthz HTTP/1.1\r\n{HOST}A: b\rc\r\n\r\n", 400),  # RFC 9110 §5.5
    "a carriage return before a value": (f"GET /healthz HTTP/1.1\r\n{HOST}A:\r b\r\n\r\n", 400),
    "a NUL in a value": (f"GET /healthz HTTP/1.1\r\n{HOST}A: b\0c\r\n\r\n", 400),
    "chunked in 1.0": (f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),  # RFC 9112 §6.1
    "another coding": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),  # RFC 9112 §6.3
    "a signed length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: +1\r\n\r\na", 400),  # RFC 9110 §8.6
    "POST": (
        f"POST /healthz HTTP/1.1\r\n{HOST}Content-Length: 1\r\nConnection: close\r\n\r\na",
        405,
    ),  # RFC 9110 §15.5.6
    "trailers": (  # RFC 9112 §7.1.2
        f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
        405,
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_head(name: str, scene: Scene) -> None:
    """The status, and the connection's end: a head that makes no sense is answered and not gone on with."""
    request, status = LINES[name]
    if isinstance(request, str):
        request = request.replace("PROXY", f"127.0.0.1:{scene.proxy.port}").encode("latin-1")
    received = talk(scene.proxy, request)
    found, headers, _ = head_of(received)
    assert (found, headers["Connection"], headers["Date"][-4:]) == (status, "close", " GMT"), received
    assert received.count(b"HTTP/1.1 ") == 1
    if status == 405:
        assert headers["Allow"] == "GET, HEAD"


def test_an_old_client_and_a_body_without_a_length(scene: Scene) -> None:
    """RFC 9112 §6.1: HTTP/1.0 knows no transfer coding, so the end of the connection is the end of the file."""
    release = make_wheel("old-client")
    scene.upstream.add(release)
    scene.upstream.script(Behaviour(r"/old_client", framing="chunked"))
    received = talk(scene.proxy, f"GET /pypi/{release.quoted_path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    scene.upstream.unscript()
    status, headers, body = head_of(received)
    assert (status, headers["Connection"]) == (200, "close")
    assert not {"Transfer-Encoding", "Content-Length"} & headers.keys()
    assert body == release.data


# A client that has closed its sending side


@pytest.mark.parametrize(
    "target", ["/healthz", "/nope", "/pypi/simple/denied/", "/pypi/simple/stored/", "FILE", "/bundle.pem"]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_half_close_is_answered(target: str, count: int, scene: Scene) -> None:
    """RFC 9112 §9.6 has it that a server goes on sending; here where no upstream is needed. Also requests sent ahead."""
    target = f"/pypi/{scene.release.quoted_path}" if target == "FILE" else target
    received = talk(scene.proxy, f"GET {target} HTTP/1.1\r\n{HOST}\r\n" * count, half_close=True)
    assert received.count(b"HTTP/1.1 ") == count
    status, headers, body = head_of(received)
    assert status in {200, 403, 404}
    assert len(body) >= int(headers["Content-Length"])
    if count == 1:
        assert len(body) == int(headers["Content-Length"])


def test_a_half_close_after_the_upstream_was_asked(scene: Scene) -> None:
    """It counts as left, as nginx has it (499): nothing tells it from a client that has gone, for which no upstream is asked."""
    scene.upstream.add(make_wheel("half-closed"))
    for path in ("/pypi/simple/half-closed/", "/pypi/simple/half-closed/"):
        scene.upstream.script(Behaviour("/half-closed/", stall_after=0, stall_for=30))
        assert talk(scene.proxy, f"GET {path} HTTP/1.1\r\n{HOST}\r\n", half_close=True) == b""
    scene.upstream.unscript()
    lines = eventually(
        lambda: [line for line in scene.proxy.access_log() if "half-closed" in line["url"]],
        lambda lines: len(lines) == 2,
    )
    assert [(line["status"], line["bytes"], line["cut"]) for line in lines] == [(499, 0, "the client left")] * 2


def test_a_half_close_before_the_end_of_a_head(scene: Scene) -> None:
    """RFC 9112 §8: an incomplete request is none."""
    assert talk(scene.proxy, f"GET /healthz HTTP/1.1\r\n{HOST}", half_close=True) == b""


def test_a_half_close_of_a_tunnel_to_a_package_host(scene: Scene) -> None:
    """It crashed mitmproxy's layer, and left the client waiting."""
    received = talk(scene.proxy, f"CONNECT {names.INDEX_HOST}:443 HTTP/1.1\r\n{HOST}\r\n", half_close=True)
    assert received.startswith(b"HTTP/1.1 200 ")


def test_nothing_is_left_of_half_closed_clients(scene: Scene) -> None:
    """Their connections are closed by the proxy, whatever became of their requests."""
    deadline = time.monotonic() + PATIENCE
    while (left := scene.proxy.output.count("client connect") - scene.proxy.output.count("client disconnect")) > 0:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
