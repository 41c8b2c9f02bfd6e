"""A request whose head is known gets what it would get the ordinary way, and whatever is not the same takes that way.

Two proxies before one upstream: one remembers heads, the other has no memory for them. What each test sends, it sends to both.
"""

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.authority import Authority
from tests.support.factories import small_wheels
from tests.support.names import FILES_HOST, INDEX_HOST, file_url, page_url
from tests.support.two_proxies import CHANGING, PLAIN, Scene, head, read_answer, two_proxies
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with two_proxies(tmp_path_factory.mktemp("heads"), ca) as scene:
        yield scene
        assert not scene.knows.complaints, scene.knows.output


def apart(agent: str, *kinds: dict[str, str]) -> list[bytes]:
    """One page is asked for with other header lines, another page with those of each kind; then the first with those of each kind.

    `agent` makes the header lines such as no other test sends.
    """
    known = [head(User_Agent="first")] + [head("/simple/beta/", User_Agent=agent, **fields) for fields in kinds]
    return [*known * 3, *[head(User_Agent=agent, **fields) for fields in kinds]]


SEQUENCES: Final[dict[str, list[bytes]]] = {
    "the same thing again and again": [PLAIN] * 5,
    "two pages in turn": [PLAIN, head("/simple/beta/")] * 4,
    "another encoding": [PLAIN, head(Accept_Encoding="gzip"), PLAIN, head(Accept_Encoding="gzip")] * 2,
    "another representation": [PLAIN, head(Accept="text/html"), PLAIN, head(Accept="text/html")] * 2,
    "lines and header lines that were known apart": apart("r1", {"Accept": "text/html"}, {}),
    "the same of encodings": apart(
        "r2", {"Accept_Encoding": "gzip"}, {}, {"Accept_Encoding": "gzip", "Accept": "text/html"}
    ),
    "the same of conditions": apart(
        "r3", {"If_None_Match": "*"}, {}, {"If_None_Match": '"no"'}, {"Cache_Control": "max-stale"}
    ),
    "the same of connections": apart("r4", {"Connection": "keep-alive"}, {}),
    "in lower case": [PLAIN, PLAIN, PLAIN.replace(b"Accept", b"accept")],
    "a HEAD between": [PLAIN, PLAIN, head(method="HEAD"), PLAIN],
    "a condition that never holds": [head(If_None_Match='"no"')] * 3,
    "a condition on any": [PLAIN, head(If_None_Match="*"), head(If_None_Match="*"), PLAIN],
    "a wish as to freshness": [PLAIN, head(Cache_Control="max-stale"), head(Cache_Control="max-stale"), PLAIN],
    "keep-alive": [head(Connection="keep-alive")] * 3,
    "a spelling that leads elsewhere": [PLAIN, head("/simple/Alpha/"), head("/simple/alpha"), head("/simple//alpha/")]
    * 2,
    "a project that is not there": [head("/simple/gamma/")] * 3,
    "refused in between": [PLAIN, PLAIN, head(host="other.test"), PLAIN],
    "credentials of this kind": [PLAIN, PLAIN, head(Authorization="Basic YTpi"), PLAIN],
    "the last one closes": [PLAIN, PLAIN, head(Connection="close")],
    "the first one closes": [head(Connection="close")],
    "in another spelling": [PLAIN, head(Connection="Close")],
    "HTTP/1.0": [PLAIN, PLAIN, head(version="1.0")],
    "HTTP/1.0 that stays": [head(version="1.0", Connection="keep-alive")] * 3,
    "an empty line before": [PLAIN, PLAIN, b"\r\n" + PLAIN, PLAIN],
    "no method at all": [PLAIN, PLAIN, b" " + PLAIN],
}


@pytest.mark.parametrize("packets", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(scene: Scene, packets: list[bytes]) -> None:
    """Each twice: some heads are known only then."""
    for _ in range(2):
        assert all(scene.both(*packets))  # no answer is empty


def test_a_line_and_header_lines_that_were_known_apart(scene: Scene) -> None:
    """They are answered by the head alone."""
    packets = apart("r5", {"Accept_Language": "en"}, {"Accept_Language": "de"})
    scene.both(*packets[:-2])
    before = scene.known
    scene.both(*packets[-2:])
    assert scene.known - before >= 2 + 1, "and the one that wakes the proxy"


def test_the_second_request_is_answered_by_its_head(scene: Scene) -> None:
    """What the first one has fetched is read from the store into memory for it."""
    scene.upstream.add(delta := make_wheel("delta"))
    path = f"/{file_url(delta).split('/', 3)[3]}.metadata"
    packets = {INDEX_HOST: head("/simple/delta/"), FILES_HOST: head(path, host=FILES_HOST)}
    first = {host: scene.answers(scene.knows, packet, host=host) for host, packet in packets.items()}
    scene.knows.at_rest()
    before = scene.known
    for host, packet in packets.items():
        assert scene.answers(scene.knows, packet, host=host)[0].endswith(first[host][0].partition(b"\r\n\r\n")[2])
    assert scene.known - before == 2


@pytest.mark.parametrize("option", ["close", "Close", "CLOSE"])
def test_the_connection_is_closed_after_the_last_answer(scene: Scene, option: str) -> None:
    last = head(Connection=option)
    for _ in range(3):
        with Wire(scene.knows.port, page_url("alpha"), ca=scene.knows.ca) as wire:
            wire.sock.sendall(last)
            assert b"Connection: close\r\n" in read_answer(wire.sock, to_head=False)
            assert wire.sock.recv(1) == b""


@pytest.mark.parametrize("field", ["", "Range: bytes=1-3\r\n", "If-None-Match: *\r\n", "Range: bytes=9999999-\r\n"])
def test_small_files(scene: Scene, field: str) -> None:
    url = file_url(small_wheels()[0])
    packet = f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: {FILES_HOST}\r\n{field}\r\n".encode()
    scene.both(*[packet] * 4, host=FILES_HOST)


def test_a_head_in_two_packets(scene: Scene) -> None:
    first = scene.both(PLAIN, PLAIN)[0]
    with Wire(scene.knows.port, page_url("alpha"), ca=scene.knows.ca) as wire:
        for at in (1, 30, len(PLAIN) - 1):
            wire.sock.sendall(PLAIN[:at])
            wire.sock.sendall(PLAIN[at:])
            assert CHANGING.sub(b"", read_answer(wire.sock, to_head=False)) == first


def test_two_heads_in_one_packet(scene: Scene) -> None:
    """In order, each whole."""
    first = scene.both(PLAIN, PLAIN)[0]
    with Wire(scene.knows.port, page_url("alpha"), ca=scene.knows.ca) as wire:
        wire.sock.sendall(PLAIN * 3)
        data = b""
        while len(CHANGING.sub(b"", data)) < 3 * len(first):
            piece = wire.sock.recv(65536)
            assert piece
            data += piece
        assert CHANGING.sub(b"", data) == first * 3


def test_what_is_told_of_it(scene: Scene) -> None:
    """`Cache-Status`, `Age`, the access log and the metrics, as for any other hit."""
    url = page_url("alpha")
    with Wire(scene.knows.port, url, ca=scene.knows.ca) as wire:
        found = [wire.request(url, headers={"User-Agent": "watched"}) for _ in range(4)]
    for answer in found:
        assert answer.headers["Cache-Status"].startswith("pypi-cache; hit; ttl=")
        assert int(answer.headers["Age"]) >= 0
        assert answer.headers["Via"].startswith("1.1 pypi-cache-")
        assert answer.headers["Date"]
    lines = eventually(
        lambda: [line for line in scene.knows.access_log() if line["agent"] == "watched"], lambda lines: len(lines) == 4
    )
    assert [(line["status"], line["bytes"]) for line in lines] == [(200, answer.size) for answer in found]
    assert all(line["cache"].startswith("pypi-cache; hit") and line["client"] == "127.0.0.1" for line in lines)


def test_its_age_grows_and_it_is_fetched_again(scene: Scene) -> None:
    url = page_url("beta")
    with Wire(scene.knows.port, url, ca=scene.knows.ca) as wire:
        ages = [int(wire.request(url).headers["Age"]) for _ in range(3)]
        scene.knows.lapse(90)
        assert int(wire.request(url).headers["Age"]) >= ages[-1] + 90
        scene.knows.lapse(86_400)
        assert re.search("fwd=|stale", wire.request(url).headers["Cache-Status"])


def test_the_certificate(scene: Scene) -> None:
    """An elliptic-curve key, signed by mitmproxy's CA, for the name that was asked for; a session can be resumed."""
    context = ssl.create_default_context(cafile=str(scene.knows.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session: ssl.SSLSession | None = None
    resumed = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", scene.knows.port)) as plain:
            plain.sendall(f"CONNECT {INDEX_HOST}:443 HTTP/1.1\r\nHost: {INDEX_HOST}:443\r\n\r\n".encode())
            assert plain.recv(4096) == b"HTTP/1.1 200 Connection established\r\n\r\n"
            with context.wrap_socket(plain, server_hostname=INDEX_HOST, session=session) as tls:
                session = tls.session
                resumed.append(tls.session_reused)
                certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert resumed == [False, True]
