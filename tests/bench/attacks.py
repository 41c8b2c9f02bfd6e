"""What hostile clients do to a proxy, each beside the same load well formed. Bounded in count and time, and on loopback only.

A kind is a function of the target, of whether it is to be hostile, and of when to end; it counts what came of it, mostly by status.
"""

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.support.names import INDEX_HOST
from tests.support.wire import Wire, fetch

PATIENCE: Final = 5.0
CLIENTS: Final = 4
"""Threads of an attack that sends all the time."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a proxy is, and what can be had there."""

    port: int
    ca: str
    page: str
    """A page of 28 kB, stored."""
    wheel: str
    """A wheel of 60 MB, stored."""
    cold: str
    """Beginning of URLs of pages that the proxy has not seen: a number is put behind."""
    slow: str
    """Beginning of URLs of pages that their upstream does not answer."""
    evil: str
    """Project names that the operator denies begin so."""
    pages: str
    """Beginning of page URLs, of an index whose projects are `harmful`."""
    public: str
    """A file of an index whose host can be dialled, open to all."""
    upload: str
    files: str
    """Beginning of URLs of files without length (`endless/`) and with one (`sized/`)."""
    store: str
    rows: list[str]
    """Pages of projects whose rows may be changed in the store."""
    archives: list[str]
    """Files for `import`: one that is good, and one that is not."""
    # Of the following the first one means no harm.
    harmful: list[str]
    """Projects."""
    lists: list[str]
    wheels: list[str]
    locks: list[str]


type Attack = Callable[[Target, bool, float], Counter[str]]
KINDS: dict[str, Attack] = {}


def kind[F: Attack](attack: F) -> F:
    """Enter a function into KINDS, by its name with blanks."""
    KINDS[attack.__name__.replace("_", " ")] = attack
    return attack


def each(one: Callable[[Target, bool, random.Random], str], clients: int = CLIENTS) -> Attack:
    """An attack by so many threads that each do `one` again and again."""

    def run(target: Target, ill: bool, ends: float) -> Counter[str]:
        seen: Counter[str] = Counter()

        def work(number: int) -> None:
            source = random.Random(number)
            while time.monotonic() < ends:
                try:
                    outcome = one(target, ill, source)
                except TimeoutError:
                    outcome = "no answer in time"
                except OSError:
                    outcome = "cut"
                seen[outcome] += 1

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()) + 2 * PATIENCE)
        return seen

    run.__name__ = one.__name__
    return run


# Plain bytes


@contextlib.contextmanager
def dialled(target: Target) -> Iterator[socket.socket]:
    """A connection to the proxy."""
    with socket.create_connection(("127.0.0.1", target.port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def connected(target: Target, sock: socket.socket) -> None:
    """Open a CONNECT to a package host."""
    sock.sendall(f"CONNECT {INDEX_HOST}:443 HTTP/1.1\r\nHost: {INDEX_HOST}\r\n\r\n".encode())
    sock.recv(1000)


def sent(sock: socket.socket, data: bytes, times: int = 1) -> None:
    """Send as much as is taken."""
    with contextlib.suppress(OSError):
        for _ in range(times):
            sock.sendall(data)


def status(sock: socket.socket) -> str:
    """The status of the answer."""
    received = sock.recv(4096)
    return received[9:12].decode() if received.startswith(b"HTTP/1.") else "cut"


def request(target: Target, path: str = "/healthz", *lines: str, method: str = "GET") -> bytes:
    """A request to the proxy's own address."""
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{target.port}", *lines]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode()


def own_page(target: Target) -> str:
    """The stored page at the proxy's own address."""
    return f"/pypi/simple/{target.page.rstrip('/').rpartition('/')[2]}/"


# Heads


@kind
@each
def long_heads(target: Target, ill: bool, _: random.Random) -> str:
    """10 MB of header lines; or a request."""
    with dialled(target) as sock:
        if ill:
            sent(sock, request(target)[:-2] + b"a: b\r\n" * 10_000, 160)
        else:
            sent(sock, request(target))
        return status(sock)


@kind
@each
def long_lines(target: Target, ill: bool, source: random.Random) -> str:
    """A target or a header of 10 MB; or a request."""
    with dialled(target) as sock:
        if ill:
            sent(sock, source.choice([b"GET /", request(target)[:-2] + b"Accept: "]))
            sent(sock, b"a" * 100_000, 100)
        else:
            sent(sock, request(target))
        return status(sock)


@kind
@each
def heads_at_the_limit(target: Target, ill: bool, source: random.Random) -> str:
    """The worst that is let through: 250 fields, or lines of 8 kB of what parsers like least; or a short head."""
    with dialled(target) as sock:
        fields: list[str] = []
        if ill:
            filling = source.choice([",", ";q=", " ", "=", '"', "\\", "a,", "*/*;q=0.1,", 'max-age="', "é"])
            name = source.choice(
                ["Accept", "Cache-Control", "If-None-Match", "Range", "Connection", "X", "Accept-Encoding", "TE"]
            )
            fields = source.choice([["a: b"] * 250, [f"{name}: {filling * (7000 // len(filling))}"] * 7])
        sent(sock, request(target, own_page(target), *fields))
        return status(sock)


@kind
def unfinished_heads(target: Target, ill: bool, ends: float) -> Counter[str]:
    """200 heads of 60 kB that go on with a byte now and then; or 200 connections that ask now and then."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(target)) for _ in range(200)]
        for sock in socks:
            sent(
                sock,
                request(target)[:-2] + b"A: " + b"a" * 7000 + (b"\r\nA: " + b"a" * 7000) * 7
                if ill
                else request(target),
            )
        while time.monotonic() < ends:
            for sock in socks:
                sent(sock, b"a" if ill else request(target))
                if not ill:
                    sock.recv(4096)
            time.sleep(0.5)
        return Counter({"held": len(socks)})


# Handshakes


@kind
@each
def endless_client_hellos(target: Target, ill: bool, source: random.Random) -> str:
    """A ClientHello of 8 MB, in long or short records; or a handshake and a request."""
    if not ill:
        return str(fetch(target.port, target.page, ca=target.ca).status)
    with dialled(target) as sock:
        connected(target, sock)
        if source.random() < 0.5:
            sent(sock, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"h" * 16380)
            sent(sock, b"\x16\x03\x01\x40\x00" + b"h" * 16384, 500)
        else:
            sent(sock, b"\x16\x03\x01\x00\x05\x01\xff\xff\xffh" + b"\x16\x03\x01\x00\x01h" * 10_000, 100)
        return status(sock)


@kind
@each
def broken_handshakes(target: Target, ill: bool, source: random.Random) -> str:
    """Random bytes where TLS should begin; or a handshake and a request."""
    if not ill:
        return str(fetch(target.port, target.page, ca=target.ca).status)
    with dialled(target) as sock:
        connected(target, sock)
        sent(
            sock,
            source.choice([b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
            + source.randbytes(600),
        )
        return status(sock)


# What is sent ahead


@kind
@each
def bytes_sent_ahead(target: Target, ill: bool, source: random.Random) -> str:
    """100 MB behind a request that is not answered yet; or the request alone."""
    with dialled(target) as sock:
        sent(sock, request(target, f"/pypi/simple/{target.slow}{source.random()}/"))
        sock.settimeout(0.5)
        sent(sock, b"a" * 100_000, 1000 if ill else 0)
        return status(sock)


@kind
@each
def requests_sent_ahead(target: Target, ill: bool, _: random.Random) -> str:
    """500 hits in one packet; or one after the other."""
    page = request(target, own_page(target))
    with dialled(target) as sock:
        for _ in range(1 if ill else 50):
            sent(sock, page * (500 if ill else 1))
            received, wanted = 0, 500 if ill else 1
            while received < wanted * 4000 and (piece := sock.recv(1 << 20)):
                received += len(piece)
        return "200"


@kind
def answers_not_read(target: Target, ill: bool, ends: float) -> Counter[str]:
    """30 clients that send 1,000 requests each and read nothing; or read."""
    page = request(target, own_page(target))
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(target)) for _ in range(30)]
        for sock in socks:
            sock.settimeout(0.05)
            sent(sock, page * (1000 if ill else 1))
        while time.monotonic() < ends:
            for sock in socks:
                if ill:
                    continue
                with contextlib.suppress(TimeoutError):
                    sock.recv(1 << 20)
                sent(sock, page)
            time.sleep(0.1)
        return Counter({"held": len(socks)})


# Bodies


@kind
@each
def chunked_bodies(target: Target, ill: bool, source: random.Random) -> str:
    """Chunks of one byte, long extensions, endless sizes, many trailers; or a body of 64 kB."""
    begin = request(target, "/healthz", "Transfer-Encoding: chunked", method="POST")
    bad = [b"1\r\na\r\n" * 100_000, b"1;" + b"e" * 10**6, b"1" * 10**6, b"0\r\n" + b"A: b\r\n" * 10**5, b"1; \n \r\n"]
    with dialled(target) as sock:
        sent(sock, begin + (source.choice(bad) if ill else b"10000\r\n" + b"a" * 65536 + b"\r\n") + b"0\r\n\r\n")
        return status(sock)


@kind
def slow_bodies(target: Target, ill: bool, ends: float) -> Counter[str]:
    """200 requests whose bodies come a byte at a time; or whole."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(target)) for _ in range(200)]
        head = request(target, "/healthz", "Content-Length: 100", method="POST")
        for sock in socks:
            sent(sock, head if ill else head + b"a" * 100)
        while time.monotonic() < ends:
            for sock in socks:
                sent(sock, b"a" if ill else head + b"a" * 100)
            time.sleep(0.5)
        return Counter({"held": len(socks)})


# Connections


@kind
def idle_connections(target: Target, ill: bool, ends: float) -> Counter[str]:
    """1,000 connections that say nothing; or a tenth, which ask."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(target)) for _ in range(1000 if ill else 100)]
        for sock in socks:
            sent(sock, b"" if ill else request(target))
        time.sleep(max(0.0, ends - time.monotonic()))
        return Counter({"held": len(socks)})


@kind
@each
def connections_opened_and_closed(target: Target, ill: bool, _: random.Random) -> str:
    """Dial and reset; or dial, ask and close; at most 200 a second."""
    time.sleep(0.02)
    with dialled(target) as sock:
        if ill:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            return "reset"
        sent(sock, request(target))
        return status(sock)


@kind
def readers_that_stand_still(target: Target, ill: bool, ends: float) -> Counter[str]:
    """70 clients that ask for 60 MB and read 4 kB; or four that read all."""
    seen: Counter[str] = Counter()
    if not ill:

        def whole(target: Target, _: bool, __: random.Random) -> str:
            return str(fetch(target.port, target.wheel, ca=target.ca, keep=False).status)

        return each(whole)(target, ill, ends)
    with contextlib.ExitStack() as stack:
        for _ in range(70):
            wire = stack.enter_context(
                Wire(target.port, target.wheel, ca=target.ca, receive_buffer=4096, timeout=PATIENCE)
            )
            wire.send(target.wheel)
            seen[str(wire.receive(read_limit=4096, keep=False).status)] += 1
        time.sleep(max(0.0, ends - time.monotonic()))
    return seen


@kind
@each
def downloads_abandoned(target: Target, ill: bool, _: random.Random) -> str:
    """A wheel of 60 MB that is left after 4 kB; or a range of so many bytes."""
    span = None if ill else {"Range": "bytes=0-4095"}
    return str(fetch(target.port, target.wheel, ca=target.ca, headers=span, read_limit=4096, keep=False).status)


# What the operator forbids


SPELLINGS: Final = (
    "/simple/{}/",
    "/simple//{}/",
    "/simple/./{}/",
    "/simple/x/../{}/",
    "/%73imple/{}/",
    "/simple/{}/index.html",
    "/simple/%65{}/",
    "/SIMPLE/{}/",
)


@kind
@each
def denied_names(target: Target, ill: bool, source: random.Random) -> str:
    """A denied project in many spellings, with cookies, credentials and other methods; or one that is allowed."""
    if not ill:
        return str(fetch(target.port, target.page, ca=target.ca).status)
    path = source.choice(SPELLINGS).format(target.evil)
    headers = source.choice([{}, {"Cookie": "a=b"}, {"Authorization": "Basic YTpi"}, {"Accept": "*/*"}])
    answer = fetch(
        target.port,
        f"https://{INDEX_HOST}{path}",
        ca=target.ca,
        headers=headers,
        method=source.choice(["GET", "HEAD", "POST"]),
    )
    return str(answer.status)


@kind
@each
def the_machine_itself(target: Target, ill: bool, source: random.Random) -> str:
    """Tunnels and requests to the machine's own addresses in many forms; or a CONNECT to a package host."""
    own = [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "127.1",
        socket.gethostname(),
    ]
    host = f"{source.choice(own)}:{target.port}" if ill else f"{INDEX_HOST}:443"
    with dialled(target) as sock:
        if ill and source.random() < 0.5:
            sent(sock, f"GET http://{host}1/ HTTP/1.1\r\nHost: {host}1\r\n\r\n".encode())
        else:
            sent(sock, f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return status(sock)


@kind
@each
def credentials_for_a_public_file(target: Target, ill: bool, source: random.Random) -> str:
    """A file that is open to all, with ever other credentials; or without."""
    headers = {"Authorization": f"Basic {source.random()}"} if ill else {}
    return str(fetch(target.port, target.public, ca=target.ca, headers=headers, keep=False).status)


@kind
@each
def unknown_names(target: Target, ill: bool, source: random.Random) -> str:
    """Ever new names, most of them very long, at an upstream that has none of them; or ever new short ones."""
    name = f"{source.getrandbits(64)}" + "x" * (source.choice([0, 200, 1500, 7000]) if ill else 0)
    return str(fetch(target.port, f"{target.cold}{name}/", ca=target.ca).status)
