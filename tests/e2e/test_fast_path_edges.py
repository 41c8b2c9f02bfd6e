"""The fast path's edges: odd requests, odd connections, and clients that leave at the wrong time.

The fast path comes before mitmproxy's own checks and beside its flows, so each of these once was, or could be, a hang, a crash ("mitmproxy
has crashed") or a request that was answered from the wrong host.
"""

import base64
import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream, small_wheels
from tests.support.names import FILES_HOST, INDEX_HOST, INDEX_URL, file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Wire, fetch

PAGE_PATH: Final = "/" + page_url("alpha").partition("://")[2].partition("/")[2]


@dataclass(frozen=True, slots=True)
class Scene:
    """One proxy with one upstream, for all requests that change nothing."""

    proxy: Proxy
    upstream: Upstream

    def wire(self, url: str = INDEX_URL) -> Wire:
        """A connection by CONNECT and TLS."""
        return Wire(self.proxy.port, url, ca=self.proxy.ca)

    def goes_on(self) -> None:
        """Assert that a next client is served."""
        assert fetch(self.proxy.port, page_url("alpha"), ca=self.proxy.ca).status == 200


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    with (
        Upstream(ca) as upstream,
        Proxy(
            tmp_path_factory.mktemp("edges"),
            options={"pypi_cache_index": [f"pypi={upstream.index_url}"]},
            upstream_ca=ca.bundle,
        ) as proxy,
    ):
        upstream.add(*small_wheels())
        yield Scene(proxy, upstream)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    """The shared scene; after each test the proxy still serves."""
    yield shared
    shared.upstream.unscript()
    shared.goes_on()


def say(sock: socket.socket, *lines: str, body: bytes = b"") -> None:
    """Send a head as written, each line ended, and then a body."""
    sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body)


def hear(sock: socket.socket, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
    """Read one answer."""
    response = http.client.HTTPResponse(sock, method=method)
    response.begin()
    try:
        return response.status, response.headers, response.read()
    finally:
        response.close()


# Malformed and misplaced requests

MALFORMED: Final = {
    "a header's name ends in a blank": ("Host: {host}", "Content-Length : 0"),
    "a header's name has a blank in it": ("Host: {host}", "X Y: z"),
    "a length that is no number": ("Host: {host}", "Content-Length: many"),
    "two lengths that differ": ("Host: {host}", "Content-Length: 1", "Content-Length: 2"),
    "a length and a transfer coding": ("Host: {host}", "Content-Length: 5", "Transfer-Encoding: chunked"),
    "a transfer coding that does not exist": ("Host: {host}", "Transfer-Encoding: cunked"),
    "a header without a colon": ("Host: {host}", "nonsense"),
}
"""What a request may be smuggled in by: nobody behind us must see it otherwise than we do."""


@pytest.mark.parametrize("lines", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("where", ["package host", "own address"])
def test_a_malformed_request_is_a_400(scene: Scene, lines: tuple[str, ...], where: str) -> None:
    before = scene.upstream.count()
    wire = scene.wire() if where == "package host" else Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own")
    path = PAGE_PATH if where == "package host" else "/pypi/simple/alpha/"
    with wire:
        say(wire.sock, f"GET {path} HTTP/1.1", *(line.format(host=wire.authority) for line in lines))
        assert hear(wire.sock)[0] == 400
    assert scene.upstream.count() == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("url", [page_url("alpha"), file_url(small_wheels()[0])], ids=["page", "file"])
def test_a_body_makes_no_sense_here(scene: Scene, method: str, url: str) -> None:
    """A GET with a body is a way to smuggle, and means nothing (RFC 9110 §9.3.1)."""
    before = scene.upstream.count()
    with scene.wire(url) as wire:
        answer = wire.request(url, method=method, body=b"x=1")
    assert answer.status == 400
    assert scene.upstream.count() == before


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_own_address_answers_get_and_head(scene: Scene, method: str) -> None:
    answer = fetch(
        scene.proxy.port, f"{scene.proxy.url}/pypi/simple/alpha/", via="own", method=method, body=b"x" * 10_000
    )
    assert answer.status == 405


@pytest.mark.parametrize("said", [FILES_HOST, "evil.example", f"{INDEX_HOST}:444", f"x.{INDEX_HOST}", "not a host"])
def test_a_host_that_is_not_the_tunnels_target(scene: Scene, said: str) -> None:
    """RFC 9110 §7.4, §15.5.20: the CONNECT's target is the key; by another Host one client could poison another's cache."""
    before = scene.upstream.count()
    with scene.wire() as wire:
        answer = wire.request(page_url("beta"), headers={"Host": said})
    assert answer.status in ({400, 421} if " " in said else {421}), answer.body
    assert scene.upstream.count() == before


@pytest.mark.parametrize("said", [INDEX_HOST.upper(), f"{INDEX_HOST}:443", f"{INDEX_HOST}."])
def test_a_host_that_means_the_same(scene: Scene, said: str) -> None:
    with scene.wire() as wire:
        assert wire.request(page_url("alpha"), headers={"Host": said}).status == 200


def test_a_target_in_absolute_form_inside_the_tunnel(scene: Scene) -> None:
    """RFC 9112 §3.2.2: a server takes it; here it must name the tunnel's own host, or it is somebody else's."""
    with scene.wire() as wire:
        say(wire.sock, f"GET {page_url('alpha')} HTTP/1.1", f"Host: {INDEX_HOST}")
        status, _, body = hear(wire.sock)
        assert (status == 200 and b"alpha" in body) or status in {400, 421}
    with scene.wire() as wire:
        say(wire.sock, "GET https://evil.example/simple/alpha/ HTTP/1.1", "Host: evil.example")
        assert hear(wire.sock)[0] in {400, 421}


# Several requests on one connection


def test_two_requests_on_one_connection(scene: Scene) -> None:
    """Page and file, cold and warm, answered and refused: the connection stays."""
    alpha = small_wheels()[0]
    with scene.wire(file_url(alpha)) as wire:
        assert [wire.request(file_url(alpha)).sha256 for _ in range(3)] == [alpha.sha256] * 3
        assert wire.request(file_url(alpha), method="HEAD").headers["Content-Length"] == str(alpha.size)
        assert wire.request(file_url(alpha), headers={"Range": "bytes=0-9"}).status == 206
        assert wire.request(file_url(alpha), headers={"Range": f"bytes={alpha.size}-"}).status == 416
        etag = wire.request(file_url(alpha)).headers["ETag"]
        assert etag
        assert wire.request(file_url(alpha), headers={"If-None-Match": etag}).status == 304
        assert wire.request(file_url(alpha)).sha256 == alpha.sha256


def test_a_hundred_requests_on_one_connection(scene: Scene) -> None:
    with scene.wire() as wire:
        assert {wire.request(page_url("alpha")).status for _ in range(100)} == {200}


def test_pipelined_requests(scene: Scene) -> None:
    """RFC 9112 §9.3.2: answers come in the order of the requests, though the first is cold and the second a hit."""
    scene.goes_on()
    scene.upstream.script(Behaviour("gamma", delay=0.5))
    with scene.wire() as wire:
        for project in ("gamma-ray", "alpha", "gamma-ray", "alpha"):
            wire.send(page_url(project))
        bodies = [hear(wire.sock) for _ in range(4)]
    assert [status for status, _, _ in bodies] == [200] * 4
    assert [b"Gamma" in body or b"gamma" in body for _, _, body in bodies] == [True, False, True, False]


def test_many_connections_at_once(scene: Scene) -> None:
    results: list[int] = []

    def one() -> None:
        with scene.wire() as wire:
            results.extend(wire.request(page_url("alpha")).status for _ in range(5))

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [200] * 100


# Old clients, careful clients


def test_an_http_1_0_client(scene: Scene) -> None:
    """No Host, no keep-alive, no chunks: the answer ends with its length or the connection."""
    with Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own") as wire:
        say(wire.sock, "GET /pypi/simple/alpha/ HTTP/1.0")
        status, headers, body = hear(wire.sock)
        assert (status, headers["Transfer-Encoding"]) == (200, None)
        assert b"alpha-1.0" in body
        assert wire.sock.recv(1) == b"", "the connection was kept open"


def test_an_http_1_0_client_of_a_file_without_a_length(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """RFC 9112 §6.1: no transfer coding for HTTP/1.0, so the body ends with the connection."""
    release = make_wheel("lengthless", payload_size=200_000)
    upstream = make_upstream(release)
    upstream.script(Behaviour("lengthless", framing="chunked"))
    proxy = make_proxy(upstream)
    with Wire(proxy.port, file_url(release), ca=proxy.ca) as wire:
        say(wire.sock, f"GET /{release.path} HTTP/1.0", f"Host: {FILES_HOST}")
        status, headers, body = hear(wire.sock)
    assert (status, headers["Transfer-Encoding"]) == (200, None)
    assert body == release.content


def test_a_file_without_a_length(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """The upstream says no length: clients get chunks, and later ones the length that it turned out to have."""
    release = make_wheel("chunky", payload_size=200_000)
    upstream = make_upstream(release)
    upstream.script(Behaviour("chunky", framing="chunked"))
    proxy = make_proxy(upstream)
    first = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (first.status, first.complete, first.sha256) == (200, True, release.sha256)
    upstream.down()
    proxy.restart()
    warm = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (warm.sha256, warm.headers["Content-Length"]) == (release.sha256, str(release.size))


def test_expect_100_continue(scene: Scene) -> None:
    """RFC 9110 §10.1.1: a client that says so waits; on a GET without a body it must be answered all the same."""
    with scene.wire() as wire:
        say(wire.sock, f"GET {PAGE_PATH} HTTP/1.1", f"Host: {INDEX_HOST}", "Expect: 100-continue")
        wire.sock.settimeout(5)
        status, _, body = hear(wire.sock)
        assert status == 200
        assert b"alpha" in body


def test_expect_100_continue_with_a_body(scene: Scene) -> None:
    """An upload that waits for the 100 is told to go on, or refused: it does not hang."""
    with scene.wire() as wire:
        say(
            wire.sock,
            "POST /legacy/ HTTP/1.1",
            f"Host: {INDEX_HOST}",
            "Content-Length: 5",
            "Expect: 100-continue",
        )
        wire.sock.settimeout(5)
        first = wire.sock.recv(12)
        assert first.startswith(b"HTTP/1.1 "), first


# What is not cacheable goes to the origin that the client named


def origin(make_upstream: MakeUpstream, *releases: ReleaseFile) -> Upstream:
    """An index of its own, `torch`, whose URL is its server's: what the client names and where it is are the same."""
    return make_upstream(*releases, prefix="/whl")


def test_a_post_is_an_ordinary_flow(make_proxy: MakeProxy, make_upstream: MakeUpstream, upstream: Upstream) -> None:
    """`twine upload`, XML-RPC search: neither cached nor refused, and the body arrives."""
    server = origin(make_upstream)
    proxy = make_proxy(upstream, options={"pypi_cache_index": [f"torch={server.index_url}"]})
    for _ in range(2):
        answer = fetch(
            proxy.port, f"{server.origin}/upload?a=%2F", ca=proxy.ca, method="POST", body=b"payload " * 10_000
        )
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")  # the scripted server's own refusal
    (first, second) = server.seen(method="POST")
    assert (first.path, first.body) == ("/upload?a=%2F", b"payload " * 10_000)
    assert second.body == first.body
    assert upstream.count() == 0, "a mirror has seen an upload"


def test_another_path_of_an_index_host(make_proxy: MakeProxy, make_upstream: MakeUpstream, upstream: Upstream) -> None:
    """What is neither a page nor a file is the origin's, each time anew, and its `Set-Cookie` goes to that client alone."""
    server = origin(make_upstream)
    server.serve("/account/", b"who are you", "text/plain", Set_Cookie="id=1")
    proxy = make_proxy(upstream, options={"pypi_cache_index": [f"torch={server.index_url}"]})
    for count in (1, 2):
        answer = fetch(proxy.port, f"{server.origin}/account/", ca=proxy.ca)
        assert (answer.status, answer.body, answer.headers["Set-Cookie"]) == (200, b"who are you", "id=1")
        assert server.count() == count
    assert upstream.count() == 0


@pytest.mark.parametrize(
    "header", [("Authorization", "Basic " + base64.b64encode(b"me:secret").decode()), ("Cookie", "session=secret")]
)
def test_a_request_with_credentials_is_nobody_elses(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, upstream: Upstream, header: tuple[str, str]
) -> None:
    """It goes to the origin that the client named and to no mirror, and what came back is for nobody else.

    With `Authorization` it is kept in a space of that credential's own; with cookies it is not kept at all.
    """
    name, value = header
    release = make_wheel("private", payload_size=1000)
    server, mirror = origin(make_upstream, release), make_upstream(release)
    proxy = make_proxy(upstream, options={"pypi_cache_index": [f"torch={server.index_url} {mirror.index_url}"]})
    urls = [server.page_url("private"), server.file_url(release)]
    for url in urls:
        for _ in range(2):
            assert fetch(proxy.port, url, ca=proxy.ca, headers={name: value}).status == 200
    assert len(server.requests) == (2 if name == "Authorization" else 4), [each.path for each in server.requests]
    assert all(each.headers[name.lower()] == value for each in server.requests)
    assert (mirror.count(), upstream.count()) == (0, 0)
    server.clear()
    server.script(Behaviour("", status=401))
    mirror.script(Behaviour("", status=401))
    other = {name: value.replace("Basic ", "Basic Zm9v")} if name == "Authorization" else {}
    for url in urls:
        assert fetch(proxy.port, url, ca=proxy.ca, headers=other).status != 200, "given to another credential"
        anonymous = fetch(proxy.port, url, ca=proxy.ca)
        assert anonymous.status != 200, "what a client got by its credentials was given to another"
        assert b"secret" not in anonymous.body
    assert all(value not in (each.headers.get("authorization"), each.headers.get("cookie")) for each in server.requests)
    kept = b"".join(path.read_bytes() for path in proxy.store.rglob("*") if path.is_file())
    for secret in (b"me:secret", base64.b64encode(b"me:secret"), b"session=secret"):
        assert secret not in kept, "a credential stands in the store"


def test_a_401_passes_untouched(make_proxy: MakeProxy, make_upstream: MakeUpstream, upstream: Upstream) -> None:
    """uv asks first without credentials; the 401 tells it to use them, and is not remembered."""
    release = make_wheel("private")
    server = origin(make_upstream, release)
    value = "Basic " + base64.b64encode(b"me:secret").decode()
    server.script(Behaviour("", authorization=value))
    proxy = make_proxy(upstream, options={"pypi_cache_index": [f"torch={server.index_url}"]})
    url = server.page_url("private")
    refused = fetch(proxy.port, url, ca=proxy.ca)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="tests"')
    assert fetch(proxy.port, url, ca=proxy.ca, headers={"Authorization": value}).status == 200
    assert fetch(proxy.port, url, ca=proxy.ca).status == 401


# Clients that leave


def big(scene_upstream: Upstream, name: str, size: int = 3_000_000) -> ReleaseFile:
    release = make_wheel(name, payload_size=size)
    scene_upstream.add(release)
    return release


def quiet(proxy: Proxy) -> None:
    """Assert that nothing in the output tells of a fault of code."""
    assert not proxy.complaints, proxy.output


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("kept", [False, True], ids=["cold", "hit"])
def test_a_client_that_leaves_in_mid_body(scene: Scene, kept: bool, reset: bool) -> None:
    """A client that leaves reached mitmproxy's stock handler as an error for a server that is not there: "mitmproxy has crashed"."""
    release = big(scene.upstream, f"leaving-{kept}-{reset}".lower())
    if kept:
        assert fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca).sha256 == release.sha256
    else:
        scene.upstream.script(Behaviour("leaving", pace=2_000_000))
    wire = Wire(scene.proxy.port, file_url(release), ca=scene.proxy.ca, receive_buffer=4096)
    wire.send(file_url(release))
    assert wire.sock.recv(12) == b"HTTP/1.1 200"
    if reset:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()
    again = fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca)
    assert (again.complete, again.sha256) == (True, release.sha256)
    assert scene.upstream.count(path_contains=release.filename) == 1, "the fill did not survive its client"
    quiet(scene.proxy)


def test_a_client_that_leaves_before_the_answer(scene: Scene) -> None:
    gate = threading.Event()
    scene.upstream.script(Behaviour("beta/", gate=gate))
    with scene.wire() as wire:
        wire.send(page_url("beta"))
        scene.upstream.wait_for(1, path_contains="simple/beta")
    scene.goes_on()
    gate.set()
    assert fetch(scene.proxy.port, page_url("beta"), ca=scene.proxy.ca).status == 200
    quiet(scene.proxy)


@pytest.mark.parametrize(
    "sent", [b"", b"GE", b"GET /simple/alpha/ HTTP/1.1\r\nHost: "], ids=["nothing", "G E", "half a head"]
)
@pytest.mark.parametrize("inside", ["connect", "own"])
def test_a_client_that_leaves_before_it_has_asked(scene: Scene, sent: bytes, inside: str) -> None:
    wire = scene.wire() if inside == "connect" else Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own")
    with wire:
        if sent:
            wire.sock.sendall(sent)
    scene.goes_on()
    quiet(scene.proxy)


def test_a_client_that_leaves_a_post_half_sent(scene: Scene) -> None:
    with Wire(scene.proxy.port, f"{scene.proxy.url}/", via="own") as wire:
        say(wire.sock, "POST / HTTP/1.1", "Host: localhost", "Content-Length: 1000000", body=b"x" * 1000)
    scene.goes_on()
    quiet(scene.proxy)


def test_fifty_clients_that_leave(scene: Scene) -> None:
    """None of them holds anything: no fill, no exchange, no open file is left."""
    release = big(scene.upstream, "fifty", 1_000_000)
    assert fetch(scene.proxy.port, file_url(release), ca=scene.proxy.ca).sha256 == release.sha256
    before = open_files(scene.proxy)
    for _ in range(50):
        wire = Wire(scene.proxy.port, file_url(release), ca=scene.proxy.ca, receive_buffer=4096)
        wire.send(file_url(release))
        wire.sock.recv(1)
        wire.close()
    eventually(lambda: open_files(scene.proxy), lambda count: count <= before + 3)
    quiet(scene.proxy)


def open_files(proxy: Proxy) -> int:
    """How many descriptors the process has."""
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))


@pytest.mark.parametrize("kept", [False, True], ids=["cold", "hit"])
def test_slow_clients_keep_memory_flat(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path_factory: pytest.TempPathFactory, kept: bool
) -> None:
    """Sixteen clients that read nothing of a 60 MB file: what waits for them stays on disk (chunk × clients, not file × clients)."""
    release = make_wheel("slow", payload_size=60_000_000, folder=tmp_path_factory.mktemp("slow"))
    proxy = make_proxy(make_upstream(release))
    if kept:
        assert fetch(proxy.port, file_url(release), ca=proxy.ca, keep=False).sha256 == release.sha256
    else:
        assert fetch(proxy.port, page_url("slow"), ca=proxy.ca).status == 200
    idle = proxy.rss()
    wires = [Wire(proxy.port, file_url(release), ca=proxy.ca, receive_buffer=16_384) for _ in range(16)]
    try:
        for wire in wires:
            wire.send(file_url(release))
        assert {wire.sock.recv(12) for wire in wires} == {b"HTTP/1.1 200"}
        most = 0
        for _ in range(20):
            time.sleep(0.1)
            most = max(most, proxy.rss())
        assert most - idle < 60_000_000, f"{(most - idle) // 1_000_000} MB more than idle"
        quick = fetch(proxy.port, file_url(release), ca=proxy.ca, keep=False, timeout=20)
        assert quick.sha256 == release.sha256, "slow clients hold up a quick one"
    finally:
        for wire in wires:
            wire.close()
    quiet(proxy)


# Loops


def test_a_loop_ends(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """RFC 9110 §7.6.3: an upstream that leads back here is found by Via, and the client is told with 508 (RFC 5842)."""
    proxy = make_proxy(start=False)
    proxy.options["pypi_cache_index"] = [f"pypi={proxy.url}/pypi/simple/"]
    proxy.start()
    answer = fetch(proxy.port, page_url("alpha"), ca=proxy.ca, timeout=10)
    assert answer.status in {502, 508}
    assert b"508" in answer.body or answer.status == 508
    lines = [line for line in proxy.access_log(at_least=2) if "/simple/alpha" in line["url"]]
    assert 508 in [line["status"] for line in lines]
    assert len(lines) <= 4, "it went round several times"


def test_via_of_another_proxy_is_no_loop(scene: Scene) -> None:
    via = fetch(scene.proxy.port, page_url("alpha"), ca=scene.proxy.ca).headers["Via"]
    assert via
    with scene.wire() as wire:
        assert (
            wire.request(page_url("alpha"), headers={"Via": "1.1 elsewhere, 1.1 pypi-cache-000000000000"}).status == 200
        )
        assert wire.request(page_url("alpha"), headers={"Via": f"1.1 elsewhere, {via}"}).status == 508


def test_upstreams_are_told_who_asks(scene: Scene) -> None:
    """`Via` upstream, by which a loop is found; and never the client's own `Via`, cookies or address."""
    scene.upstream.clear()
    with scene.wire() as wire:
        headers = {"Via": "1.1 elsewhere", "X-Forwarded-For": "10.1.1.1", "Referer": "https://build.example/secret"}
        assert wire.request(page_url("gamma-ray"), headers={**headers, "Cache-Control": "no-cache"}).status == 200
    (seen,) = scene.upstream.requests
    assert re.fullmatch(r"1\.1 pypi-cache-[0-9a-f]+", seen.headers["via"])
    assert not {"x-forwarded-for", "referer", "cookie"} & set(seen.headers)
