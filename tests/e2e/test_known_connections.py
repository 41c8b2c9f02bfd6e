"""A connection whose bytes are all known is carried past mitmproxy's layers; whatever comes otherwise, the layers go on with it.

Each row is tried with a proxy that knows the CONNECT and the request, and with one that has no memory for them: the same comes of it.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from tests.support.authority import Authority
from tests.support.names import INDEX_HOST, page_url
from tests.support.proxy import Proxy
from tests.support.two_proxies import CHANGING, PLAIN, Scene, head, read_answer, two_proxies
from tests.support.waiting import eventually
from tests.support.wire import Wire

CONNECT: Final = f"CONNECT {INDEX_HOST}:443 HTTP/1.1\r\nHost: {INDEX_HOST}:443\r\n\r\n".encode()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with two_proxies(tmp_path_factory.mktemp("connections"), ca) as scene:
        scene.wake()
        for proxy in (scene.knows, scene.forgets):
            with Raw(proxy) as raw:  # its CONNECT is known from here on
                raw.shake_hands()
                assert raw.ask(PLAIN)
        yield scene
        assert not scene.knows.complaints, scene.knows.output


class Raw:
    """A client that decides itself what goes into which packet. The CONNECT has been accepted."""

    def __init__(self, proxy: Proxy, *, trusts: bool = True, server_name: str | None = INDEX_HOST) -> None:
        self.context = ssl.create_default_context(cafile=str(proxy.ca)) if trusts else ssl.create_default_context()
        if server_name != INDEX_HOST:
            self.context.check_hostname = False
        self.name = server_name
        self.sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(CONNECT)
        assert self.sock.recv(4096) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        self._from_wire, self._to_wire = ssl.MemoryBIO(), ssl.MemoryBIO()

    def begin(self) -> bytes:
        """The ClientHello."""
        self.tls = self.context.wrap_bio(self._from_wire, self._to_wire, server_hostname=self.name)
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._to_wire.read()

    def finish(self) -> bytes:
        """Read the server's flight; what the client says to that."""
        while True:
            self._from_wire.write(self.sock.recv(65536))
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if said := self._to_wire.read():  # TLS 1.2 waits for the server once more
                    self.sock.sendall(said)
            else:
                return self._to_wire.read()

    def shake_hands(self) -> None:
        self.sock.sendall(self.begin())
        self.sock.sendall(self.finish())

    def record(self, data: bytes) -> bytes:
        """The data, encrypted."""
        self.tls.write(data)
        return self._to_wire.read()

    def recv(self, size: int) -> bytes:
        """The next data; empty at the end, however it comes."""
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                received = self.sock.recv(65536)
                if not received:
                    return b""
                self._from_wire.write(received)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def answer(self) -> bytes:
        return CHANGING.sub(b"", read_answer(self, to_head=False))

    def ask(self, data: bytes) -> bytes:
        self.sock.sendall(self.record(data))
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def in_pieces(raw: Raw, data: bytes, *cuts: int) -> None:
    """Send data in several packets."""
    for start, stop in zip((0, *cuts), (*cuts, len(data)), strict=True):
        raw.sock.sendall(data[start:stop])


def settled(raw: Raw) -> list[bytes]:
    raw.shake_hands()
    return [raw.ask(PLAIN), raw.ask(PLAIN)]


def old_tls(raw: Raw) -> list[bytes]:
    raw.context.maximum_version = ssl.TLSVersion.TLSv1_2
    return settled(raw)


def with_alpn(*protocols: str) -> Callable[[Raw], list[bytes]]:
    def act(raw: Raw) -> list[bytes]:
        raw.context.set_alpn_protocols(list(protocols))
        return [*settled(raw), str(raw.tls.selected_alpn_protocol()).encode()]

    return act


def curve(name: str) -> Callable[[Raw], list[bytes]]:
    def act(raw: Raw) -> list[bytes]:
        raw.context.set_ecdh_curve(name)
        return settled(raw)

    return act


def hello_in_pieces(*cuts: int) -> Callable[[Raw], list[bytes]]:
    def act(raw: Raw) -> list[bytes]:
        in_pieces(raw, raw.begin(), *cuts)
        raw.sock.sendall(raw.finish())
        return [raw.ask(PLAIN), raw.ask(PLAIN)]

    return act


def finished_in_pieces(raw: Raw) -> list[bytes]:
    raw.sock.sendall(raw.begin())
    in_pieces(raw, raw.finish(), 1, 7, 20)
    return [raw.ask(PLAIN)]


def finished_with(*requests: bytes) -> Callable[[Raw], list[bytes]]:
    """The end of the handshake and requests in one packet."""

    def act(raw: Raw) -> list[bytes]:
        raw.sock.sendall(raw.begin())
        raw.sock.sendall(raw.finish() + b"".join(map(raw.record, requests)))
        return [*(raw.answer() for _ in requests), raw.ask(PLAIN)]

    return act


def packets(*each: tuple[bytes, ...]) -> Callable[[Raw], list[bytes]]:
    """Packets of records, after one known request. There is an answer to each head that is complete."""

    def act(raw: Raw) -> list[bytes]:
        raw.shake_hands()
        found = [raw.ask(PLAIN)]
        for records in each:
            raw.sock.sendall(b"".join(map(raw.record, records)))
            found += [raw.answer() for _ in range(b"".join(records).count(b"\r\n\r\n"))]
        return [*found, raw.ask(PLAIN)]

    return act


def half_a_record(raw: Raw) -> list[bytes]:
    raw.shake_hands()
    found = [raw.ask(PLAIN)]
    for cut in (1, 4, 5, 40):
        in_pieces(raw, raw.record(PLAIN), cut)
        found.append(raw.answer())
    return found


def last_and_more(raw: Raw) -> list[bytes]:
    """What comes after a request that is the last one is not answered."""
    raw.shake_hands()
    return [raw.ask(PLAIN), raw.ask(head(Connection="close")), raw.recv(1)]


def ends_tls(raw: Raw) -> list[bytes]:
    raw.shake_hands()
    found = [raw.ask(PLAIN)]
    with pytest.raises(ssl.SSLWantReadError):
        raw.tls.unwrap()
    raw.sock.sendall(raw._to_wire.read())
    return [*found, raw.recv(1)]


def half_closes(raw: Raw) -> list[bytes]:
    raw.shake_hands()
    found = [raw.ask(PLAIN)]
    raw.sock.sendall(raw.record(PLAIN))
    raw.sock.shutdown(socket.SHUT_WR)
    return [*found, raw.answer(), raw.recv(1)]


def plain_http(raw: Raw) -> list[bytes]:
    raw.sock.sendall(PLAIN)
    return [raw.sock.recv(12)]


def nonsense(data: bytes) -> Callable[[Raw], list[bytes]]:
    def act(raw: Raw) -> list[bytes]:
        raw.sock.sendall(data)
        return [raw.sock.recv(12)[:5]]

    return act


ACTS: Final[dict[str, Callable[[Raw], list[bytes]]]] = {
    "as every client": settled,
    "TLS 1.2": old_tls,
    "ALPN of HTTP/1.1": with_alpn("http/1.1"),
    "ALPN of HTTP/2 as well": with_alpn("h2", "http/1.1"),
    "ALPN of HTTP/2 alone": with_alpn("h2"),
    "a curve of its own": curve("secp384r1"),
    "a curve that hardly anybody has": curve("secp521r1"),
    "a ClientHello in two packets": hello_in_pieces(100),
    "a ClientHello whose record's header is cut": hello_in_pieces(3),
    "a ClientHello in many packets": hello_in_pieces(3, 5, 6, 100, 200),
    "the end of the handshake in pieces": finished_in_pieces,
    "a request with the end of the handshake": finished_with(PLAIN),
    "two requests with the end of the handshake": finished_with(PLAIN, PLAIN),
    "an unknown request with the end of the handshake": finished_with(head(X="1"), PLAIN),
    "two requests in one packet": packets((PLAIN, PLAIN)),
    "two requests in one record": packets((PLAIN + PLAIN,)),
    "an unknown request between": packets((head(X="2"),), (PLAIN,), (head("/simple/beta/", X="3"),)),
    "a request in two records": packets((PLAIN[:30], PLAIN[30:])),
    "a request in two packets": packets((PLAIN[:30],), (PLAIN[30:],)),
    "a long head": packets((head(X="x" * 1000),), (head(X="x" * 3000),)),
    "one and a half requests": packets((PLAIN + PLAIN[:20],), (PLAIN[20:],)),
    "an empty line first": packets((b"\r\n" + PLAIN,)),
    "half a record": half_a_record,
    "the last request": last_and_more,
    "an end of TLS": ends_tls,
    "a half-close": half_closes,
    "no TLS but HTTP": plain_http,
    "no TLS": nonsense(b"\x00" * 40),
    "TLS that is none": nonsense(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
    "another kind of record": nonsense(b"\x17\x03\x03\x00\x05hello"),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_same_comes_of_it(scene: Scene, act: Callable[[Raw], list[bytes]]) -> None:
    found = []
    for proxy in (scene.knows, scene.knows, scene.forgets):  # known after the first time, if ever
        with Raw(proxy) as raw:
            try:
                found.append(act(raw))
            except OSError as error:  # ssl.SSLError is one
                found.append([type(error).__name__.encode()])
    assert found[0] == found[1] == found[2]
    assert found[0] != [b"TimeoutError"]


@pytest.mark.parametrize(
    "name", [None, "other.test", INDEX_HOST.upper(), "127.0.0.1", "xn--bcher-kva.test", "a_b.test"]
)
def test_another_name_is_asked_for_in_tls(scene: Scene, name: str | None) -> None:
    """The certificate is for that name too, as mitmproxy makes it."""
    names = []
    for proxy in (scene.knows, scene.forgets):
        with Raw(proxy, server_name=name) as raw:
            raw.shake_hands()
            assert raw.ask(PLAIN) == raw.ask(PLAIN)
            certificate = raw.tls.getpeercert()
            assert certificate is not None
            names.append(certificate["subjectAltName"])
    assert names[0] == names[1]


def distrusts(raw: Raw) -> None:
    raw.sock.sendall(raw.begin())
    with pytest.raises(ssl.SSLCertVerificationError):
        raw.finish()
    raw.sock.sendall(raw._to_wire.read())


def leaves(raw: Raw) -> None:
    raw.sock.sendall(raw.begin())
    raw.sock.recv(65536)


def leaves_early(raw: Raw) -> None:
    raw.sock.sendall(raw.begin()[:50])


def breaks(data: bytes = b"") -> Callable[[Raw], None]:
    """Send what TLS cannot read after a request; nothing given: a record with one bit that is another one."""

    def act(raw: Raw) -> None:
        raw.shake_hands()
        assert raw.ask(PLAIN)
        record = bytearray(raw.record(PLAIN))
        record[20] ^= 1
        raw.sock.sendall(data or record)
        assert raw.sock.recv(5) == b"\x17\x03\x03\x00\x13"  # an alert

    return act


BROKEN: Final[dict[str, Callable[[Raw], None]]] = {
    "does not trust the CA": distrusts,
    "leaves halfway": leaves,
    "a record that cannot be decrypted": breaks(),
    "no TLS after TLS": breaks(PLAIN),
    "an alert that is not encrypted": breaks(b"\x15\x03\x03\x00\x02\x02\x30"),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN)
def test_the_log_tells_what_is_wrong_with_tls(scene: Scene, act: Callable[[Raw], None]) -> None:
    """Once, in the same words."""

    def told(proxy: Proxy) -> list[str]:
        return re.findall(r"TLS handshake failed\. .*|does not trust this proxy's CA|TLS Error: .*", proxy.output)

    lines = []
    for proxy in (scene.knows, scene.forgets):
        before = len(told(proxy))
        with Raw(proxy, trusts=act is not distrusts) as raw:
            act(raw)
        lines.append(eventually(lambda: told(proxy)[before:], bool))  # noqa: B023  it is done with in this turn
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1


def test_who_leaves_before_that_leaves_nothing_behind(scene: Scene) -> None:
    for _ in range(3):
        with Raw(scene.knows) as raw:
            leaves_early(raw)
    assert scene.both(PLAIN)


def test_a_known_request_to_the_proxy_itself(scene: Scene) -> None:
    """An index URL on the proxy, without TLS."""
    answers = []
    for proxy in (scene.knows, scene.forgets):
        with Wire(proxy.port, page_url("alpha"), via="own") as wire:
            answers.append([wire.request("/pypi/simple/alpha/").body for _ in range(3)])
            answers[-1].append(wire.request("/healthz").headers["Content-Type"].encode())
            answers[-1].append(wire.request("/pypi/simple/alpha/").body)
    assert answers[0] != []
    assert len(set(answers[0][:3])) == 1


def test_other_scripts_are_asked(tmp_path: Path, scene: Scene, ca: Authority) -> None:
    """A script that has one of mitmproxy's hooks for such a connection sees each of them."""
    script = tmp_path / "watching.py"
    script.write_text("def tls_clienthello(data):\n    print('greeted', flush=True)\n")
    options = {"pypi_cache_index": f"pypi={scene.upstream.index_url}"}
    with Proxy(tmp_path / "watched", options=options, upstream_ca=ca.bundle, args=["-s", str(script)]) as proxy:
        for _ in range(3):
            with Raw(proxy) as raw:
                raw.shake_hands()
                assert raw.ask(PLAIN)
        assert eventually(lambda: proxy.output.count("greeted\n"), lambda count: count >= 3) == 3
