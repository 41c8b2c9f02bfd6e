"""Ordinary requests, whose bodies mitmproxy keeps until they are complete, stream both ways in flat memory.

It took 900 MB for a download of 400 MB, and the first byte came after the last. The bodies here are of 48 MB.
"""

import base64
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.peers import Peer, read_head
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.wire import Fetched, Wire, fetch

SIZE = 48_000_000
BLOCK = b"0123456789abcdef" * 4096
FLAT = 16_000_000
"""Bytes of memory that a transfer may take: buffers of sockets, and what Python's allocator keeps."""

LOGIN = {"Proxy-Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}


class Site(Peer):
    """A web server: GET gives `SIZE` bytes, with a length, in chunks, or until the end; any other method counts what comes."""

    def __init__(self) -> None:
        self.received = 0
        super().__init__(self._answer)

    def _answer(self, client: socket.socket) -> None:
        while head := read_head(client):
            if head.startswith(b"GET /small"):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")
            elif head.startswith(b"GET /trailers"):
                framing = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                client.sendall(framing + b"5\r\nsmall\r\n0\r\nX-Sum: 1\r\n\r\n")
            elif head.startswith(b"GET /endless-head"):
                client.sendall(b"HTTP/1.1 200 OK\r\n")
                for number in range(SIZE // 1000):
                    client.sendall(b"X-%d: %b\r\n" % (number, b"x" * 980))
            elif head.startswith(b"GET"):
                self._send(client, head.split()[1])
                return
            else:
                count = self._receive(client, head)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(count)), count))

    def _send(self, client: socket.socket, path: bytes) -> None:
        framing = {b"/length": b"Content-Length: %d\r\n" % SIZE, b"/chunked": b"Transfer-Encoding: chunked\r\n"}
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + framing.get(path, b"") + b"\r\n")
        for start in range(0, SIZE, len(BLOCK)):
            block = BLOCK[: SIZE - start]
            client.sendall(b"%x\r\n%b\r\n" % (len(block), block) if path == b"/chunked" else block)
        if path == b"/chunked":
            client.sendall(b"0\r\n\r\n")

    def _receive(self, client: socket.socket, head: bytes) -> int:
        file = client.makefile("rb")
        count = 0
        if b"chunked" in head.lower():
            while size := int(file.readline(), 16):
                count += len(file.read(size))
                file.readline()
            file.readline()
            return count
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while count < length and (piece := file.read1(min(65536, length - count))):
            count += len(piece)
            self.received = count
        return count


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as peer:
        yield peer


@pytest.fixture(scope="module")
def make_running(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Callable[..., Proxy]]:
    running: dict[str, Proxy] = {}

    def make(name: str, script: str = "") -> Proxy:
        if name not in running:
            folder = tmp_path_factory.mktemp(name)
            args: list[str] = ["--set", "proxyauth=me:secret"]
            if script:
                (folder / "theirs.py").write_text(script)
                args = ["-s", str(folder / "theirs.py")]
            running[name] = Proxy(folder / "proxy", options={"pypi_cache_local_hosts": [site.authority]}, args=args)
        return running[name]

    yield make
    for proxy in running.values():
        proxy.close()
        assert not proxy.complaints, proxy.output


def upload(proxy: Proxy, site: Site, headers: dict[str, str], *, chunked: bool, size: int = SIZE) -> Fetched:
    """POST of `size` bytes, written piece by piece."""
    url = f"http://{site.authority}/upload"
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    with Wire(proxy.port, url, via="absolute") as wire:
        wire.send(url, method="POST", headers={**headers, **framing})
        for start in range(0, size, len(BLOCK)):
            block = BLOCK[: size - start]
            wire.sock.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            wire.sock.sendall(b"0\r\n\r\n")
        return wire.receive(method="POST")


@pytest.mark.parametrize("path", ["length", "chunked", "until-the-end"])
def test_a_download(path: str, make_running: Callable[..., Proxy], site: Site) -> None:
    proxy = make_running("plain")
    fetch(proxy.port, f"http://{site.authority}/small", via="absolute", headers=LOGIN)
    before = proxy.rss()
    proxy.reset_peak()
    answer = fetch(proxy.port, f"http://{site.authority}/{path}", via="absolute", headers=LOGIN, keep=False)
    assert (answer.status, answer.size, answer.complete) == (200, SIZE, True)
    assert proxy.peak_rss() - before < FLAT


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload(make_running: Callable[..., Proxy], site: Site, *, chunked: bool) -> None:
    proxy = make_running("plain")
    upload(proxy, site, LOGIN, chunked=False, size=1000)
    before = proxy.rss()
    proxy.reset_peak()
    answer = upload(proxy, site, LOGIN, chunked=chunked)
    assert (answer.status, answer.body) == (200, str(SIZE).encode())
    assert proxy.peak_rss() - before < FLAT


def test_the_first_bytes_of_an_upload_do_not_wait_for_its_last(make_running: Callable[..., Proxy], site: Site) -> None:
    proxy, url = make_running("plain"), f"http://{site.authority}/upload"
    site.received = 0
    with Wire(proxy.port, url, via="absolute") as wire:
        wire.send(url, method="PUT", headers={**LOGIN, "Content-Length": "20"})
        wire.sock.sendall(b"0123456789")
        eventually(lambda: site.received == 10)
        wire.sock.sendall(b"0123456789")
        assert wire.receive(method="PUT").body == b"20"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_without_the_login(make_running: Callable[..., Proxy], site: Site, *, chunked: bool) -> None:
    """A 407, and no hang; and nobody fills the memory before he has logged in."""
    proxy, accepted = make_running("plain"), site.accepted
    before = proxy.rss()
    proxy.reset_peak()
    answer = upload(proxy, site, {}, chunked=chunked)
    assert answer.status == 407
    assert site.accepted == accepted
    assert proxy.peak_rss() - before < FLAT


def test_trailers_of_a_response(make_running: Callable[..., Proxy], site: Site) -> None:
    """They are dropped, and the connection goes on: mitmproxy raised NotImplementedError, and the client waited for ever."""
    proxy, url = make_running("plain"), f"http://{site.authority}/trailers"
    with Wire(proxy.port, url, via="absolute", timeout=10) as wire:
        assert [wire.request(url, headers=LOGIN).body for _ in range(3)] == [b"small"] * 3


def test_a_response_whose_head_has_no_end(make_running: Callable[..., Proxy], site: Site) -> None:
    """mitmproxy collects it without a limit."""
    proxy = make_running("plain")
    before = proxy.rss()
    proxy.reset_peak()
    answer = fetch(proxy.port, f"http://{site.authority}/endless-head", via="absolute", headers=LOGIN)
    assert (answer.status, b"more than 64 kB" in answer.body) == (502, True)
    assert proxy.peak_rss() - before < FLAT


def test_ten_of_them_on_one_connection(make_running: Callable[..., Proxy], site: Site) -> None:
    proxy, url = make_running("plain"), f"http://{site.authority}/small"
    accepted = site.accepted
    with Wire(proxy.port, url, via="absolute") as wire:
        for number in range(10):
            posts = number % 2 == 1
            answer = wire.request(
                url, method="POST" if posts else "GET", headers=LOGIN, body=b"x" * 10 if posts else b""
            )
            assert answer.body == (b"10" if posts else b"small")
    assert site.accepted == accepted + 1


def test_a_script_that_reads_bodies_has_them(make_running: Callable[..., Proxy], site: Site) -> None:
    script = """
def request(flow):
    flow.request.content = flow.request.content.upper()

def response(flow):
    flow.response.content = b"[" + flow.response.content + b"]"
"""
    proxy = make_running("scripted", script)
    assert fetch(proxy.port, f"http://{site.authority}/small", via="absolute").body == b"[small]"
    answer = fetch(proxy.port, f"http://{site.authority}/upload", via="absolute", method="POST", body=b"abc")
    assert answer.body == b"[3]"
