"""Hosts that are no package hosts: raw tunnels, where they may go, and the company's proxy in between.

A tunnel is what a `git clone` gets beside its `pip install`: the other end's own certificate, bytes both ways as they come, and a
true answer to the CONNECT. It must not be a way into the proxy's own machine.
"""

import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import CURL, PIP_PROXY, curl, installed
from tests.support.factories import MakeProxy, small_wheels
from tests.support.names import INDEX_HOST, INDEX_URL, file_url, page_url
from tests.support.peers import Handler, ParentProxy, Peer, echo, greets, resolving, web
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch

type MakePeer = Callable[..., Peer]


@pytest.fixture
def make_peer() -> Iterator[MakePeer]:
    """`make_peer(handler, context=None)`: a server that ends with the test."""
    peers: list[Peer] = []

    def make(handler: Handler, *, context: ssl.SSLContext | None = None) -> Peer:
        peers.append(Peer(handler, context=context))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def other_ca(tmp_path: Path) -> Authority:
    """The CA of a host that has nothing to do with packages."""
    folder = tmp_path / "other-ca"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def allowing(*peers: Peer, **more: object) -> dict[str, object]:
    """The options under which tunnels may reach these servers on this machine."""
    return {"pypi_cache_local_hosts": [peer.authority for peer in peers], **more}


def tunnel(proxy: Proxy, peer: Peer) -> Wire:
    """A tunnel with nothing in it yet."""
    wire = Wire(proxy.port, f"http://{peer.authority}/")
    assert wire.refusal is None, wire.refusal
    return wire


def read_exactly(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (piece := sock.recv(min(65536, size - len(received)))):
        received += piece
    return bytes(received)


def read_to_end(sock: socket.socket) -> bytes:
    received = bytearray()
    while piece := sock.recv(65536):
        received += piece
    return bytes(received)


# What a tunnel is


def test_the_other_hosts_own_certificate_is_seen(
    make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer, other_ca: Authority, home: Path
) -> None:
    """Nothing of a tunnel is decrypted: the certificate is the one that the server has, and not one of the proxy's CA."""
    context = other_ca.server_context("localhost")
    peer = make_peer(web(), context=context)
    proxy = make_proxy(upstream, options=allowing(peer))
    url = f"https://{peer.authority}/any/path"
    answer = fetch(proxy.port, url, ca=other_ca.bundle)
    assert (answer.status, answer.body) == (200, b"hello from elsewhere\n")
    assert answer.headers["Via"] is None
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch(proxy.port, url, ca=proxy.ca)
    if CURL is not None:
        seen = curl(home, "--proxy", proxy.url, "--cacert", other_ca.bundle, url).ok()
        assert seen.stdout == "hello from elsewhere\n"


def test_bytes_both_ways(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """No byte is lost, added or looked at: two megabytes that are no protocol at all come back as they went."""
    peer = make_peer(echo)
    proxy = make_proxy(upstream, options=allowing(peer))
    sent = hashlib.shake_256(b"tunnel").digest(2_000_000)
    with tunnel(proxy, peer) as wire:
        for start in range(0, len(sent), 100_000):
            wire.sock.sendall(sent[start : start + 100_000])
            assert read_exactly(wire.sock, 100_000) == sent[start : start + 100_000]


@pytest.mark.parametrize("first", [b"\x16\x03\x01 no client hello", b"GET / HTTP/1.1\r\nno http", b"\x00", b"\r\n"])
def test_what_looks_like_a_protocol_is_still_only_bytes(
    make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer, first: bytes
) -> None:
    peer = make_peer(echo)
    proxy = make_proxy(upstream, options=allowing(peer))
    with tunnel(proxy, peer) as wire:
        wire.sock.sendall(first)
        assert read_exactly(wire.sock, len(first)) == first


def test_a_server_that_speaks_first(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """SSH, SMTP and MySQL greet their clients: a proxy that waits for the client's first byte hangs both for ever."""
    peer = make_peer(greets(b"SSH-2.0-tests\r\n"))
    proxy = make_proxy(upstream, options=allowing(peer))
    with tunnel(proxy, peer) as wire:
        wire.sock.settimeout(5)
        assert read_exactly(wire.sock, 15) == b"SSH-2.0-tests\r\n"
        wire.sock.sendall(b"and back")
        assert read_exactly(wire.sock, 8) == b"and back"


def test_a_server_that_closes_first(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """The server's last bytes arrive, and then its end does."""
    farewell = b"bye" * 50_000
    peer = make_peer(lambda client: client.sendall(farewell))
    proxy = make_proxy(upstream, options=allowing(peer))
    with tunnel(proxy, peer) as wire:
        wire.sock.settimeout(5)
        assert read_to_end(wire.sock) == farewell


def test_a_client_that_closes_its_half(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """`git-upload-pack` over a raw socket and `ssh host <file`: the client has said all, and the server answers after that."""

    def counts(client: socket.socket) -> None:
        client.sendall(f"{len(read_to_end(client))} bytes".encode())

    peer = make_peer(counts)
    proxy = make_proxy(upstream, options=allowing(peer))
    with tunnel(proxy, peer) as wire:
        wire.sock.settimeout(5)
        wire.sock.sendall(b"x" * 100_000)
        wire.sock.shutdown(socket.SHUT_WR)
        assert read_to_end(wire.sock) == b"100000 bytes"


def test_a_client_that_leaves_ends_the_servers_side(
    make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer
) -> None:
    ended: list[bytes] = []
    peer = make_peer(lambda client: ended.append(read_to_end(client)))
    proxy = make_proxy(upstream, options=allowing(peer))
    with tunnel(proxy, peer) as wire:
        wire.sock.sendall(b"half a sentence")
    upstream.wait_until(lambda: ended == [b"half a sentence"], timeout=5)


# Where a tunnel may not go


def own_addresses() -> list[str]:
    """The addresses of this machine's interfaces that packets to the outside would leave from; none where there is no outside."""
    found = []
    for family, outside in ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))  # of UDP: no packet is sent
            found.append(str(probe.getsockname()[0]))
    return found


def shown(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


LOCAL = {
    "loopback by number": "127.0.0.1:{port}",
    "another loopback": "127.1.2.3:{port}",
    "loopback, short": "127.1:{port}",
    "loopback as one decimal number": "2130706433:{port}",
    "loopback, hexadecimal": "0x7f000001:{port}",
    "loopback, hexadecimal and short": "0x7f.1:{port}",
    "loopback, octal": "0177.0.0.1:{port}",
    "loopback, octal and as one number": "017700000001:{port}",
    "loopback, in three parts": "127.0.1:{port}",
    "loopback by name": "localhost:{port}",
    "with a final dot": "localhost.:{port}",
    "in capitals": "LOCALHOST:{port}",
    "a name that resolves to loopback": "sneaky.example:{port}",
    "IPv6 loopback": "[::1]:{port}",
    "IPv4 inside IPv6": "[::ffff:127.0.0.1]:{port}",
    "IPv4 inside IPv6, in hexadecimal": "[::ffff:7f00:1]:{port}",
    "IPv4-compatible IPv6": "[::127.0.0.1]:{port}",
    "NAT64": "[64:ff9b::7f00:1]:{port}",
    "a name that resolves to NAT64": "nat64.example:{port}",
    "a name that resolves to NAT64 for local use": "local-nat64.example:{port}",
    "a name that resolves to 6to4": "sixtofour.example:{port}",
    "a name that resolves to IPv4 inside IPv6": "mapped.example:{port}",
    "unspecified": "0.0.0.0:{port}",
    "unspecified, short": "0:{port}",
    "this network": "0.1.2.3:{port}",
    "IPv6 unspecified": "[::]:{port}",
    "link-local, a cloud's metadata service": "169.254.169.254:80",
    "a name that resolves to link-local": "metadata.example:80",
    "IPv6 link-local": "[fe80::1]:80",
    **{f"this machine's own {address}": f"{shown(address)}:{{port}}" for address in own_addresses()},
}
"""No registry, no mirror: each is this machine, or what only this machine can reach."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[tuple[Proxy, Peer, Upstream]]:
    """A proxy without `pypi_cache_local_hosts`, and a server on its machine that nobody may reach through it."""
    folder = tmp_path_factory.mktemp("guarded")
    names = {
        "sneaky.example": "127.0.0.1",
        "metadata.example": "169.254.169.254",
        "nat64.example": "64:ff9b::7f00:1",
        "local-nat64.example": "64:ff9b:1:7f00:0:100::",
        "sixtofour.example": "2002:7f00:1::",
        "mapped.example": "::ffff:127.0.0.1",
        "own.example": " ".join(own_addresses()) or "127.0.0.1",
    }
    with (
        Peer(web(b"secret")) as peer,
        Upstream(ca) as upstream,
        Proxy(
            folder / "proxy",
            options={"pypi_cache_index": [f"pypi={upstream.index_url}"]},
            upstream_ca=ca.bundle,
            env=resolving(folder / "names", names),
        ) as proxy,
    ):
        yield proxy, peer, upstream
        assert not proxy.complaints, proxy.output
        assert peer.accepted == 0, "something was let through to a server on the proxy's own machine"


@pytest.mark.parametrize("target", LOCAL.values(), ids=LOCAL)
def test_a_tunnel_to_this_machine_is_refused(guarded: tuple[Proxy, Peer, Upstream], target: str) -> None:
    """403, and a line that names the option which would allow it; the server never sees a connection."""
    proxy, peer, _ = guarded
    authority = target.format(port=peer.port)
    refusal = Wire(proxy.port, f"http://{authority}/").refusal
    assert refusal is not None, f"a tunnel to {authority} was opened"
    if authority.startswith("[") and refusal.status == 400:
        assert b"Bad Request" in refusal.body  # mitmproxy 12 takes no IPv6 literal in a CONNECT: refused all the same
    else:
        assert refusal.status == 403, refusal
        assert b"pypi_cache_local_hosts" in refusal.body
    assert peer.accepted == 0


@pytest.mark.parametrize("target", LOCAL.values(), ids=LOCAL)
def test_a_plain_request_to_this_machine_is_refused(guarded: tuple[Proxy, Peer, Upstream], target: str) -> None:
    """An ordinary flow must not be a way in where a tunnel is none."""
    proxy, peer, _ = guarded
    answer = fetch(proxy.port, f"http://{target.format(port=peer.port)}/secret", via="absolute")
    assert answer.status in {403, 502}, answer
    assert b"secret" not in answer.body.replace(b"/secret", b"")
    assert peer.accepted == 0


def test_a_fetch_to_this_machine_is_refused(guarded: tuple[Proxy, Peer, Upstream]) -> None:
    """An upstream that redirects into the proxy's own machine or network, in every spelling: no page, no file, no connection."""
    proxy, peer, upstream = guarded
    targets = [
        *LOCAL.values(),
        "10.255.255.254:80",
        "[fd00::ffff:1]:80",
        "[64:ff9b::10.255.255.254]:80",
        "10.16777214:80",
    ]
    for number, target in enumerate(targets):
        release = make_wheel(f"led-astray-{number}")
        upstream.add(release)
        where = f"http://{target.format(port=peer.port)}/secret"
        upstream.script(Behaviour(rf"/packages/.*led_astray_{number}-", redirect=where))
        upstream.script(Behaviour(rf"/simple/led-astray-{number}/", redirect=where))
        for url in (page_url(release.project), file_url(release)):
            answer = fetch(proxy.port, url, ca=proxy.ca)
            assert answer.status == 502, (target, answer)
    upstream.unscript()
    assert peer.accepted == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST.", "sneaky.example", "nat64.example", "own.example", "[::ffff:127.0.0.1]"],
)
def test_a_tunnel_to_the_proxy_itself_is_refused(guarded: tuple[Proxy, Peer, Upstream], host: str) -> None:
    """Whoever reached the proxy through itself would look like a client on its own machine."""
    proxy, _, _ = guarded
    refusal = Wire(proxy.port, f"http://{host}:{proxy.port}/").refusal
    assert refusal is not None
    assert refusal.status == 403 or (host.startswith("[") and refusal.status == 400)


def test_not_even_where_local_hosts_names_the_proxy(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream, start=False)
    proxy.options["pypi_cache_local_hosts"] = ["localhost"]
    proxy.start()
    refusal = Wire(proxy.port, f"http://localhost:{proxy.port}/").refusal
    assert refusal is not None
    assert (refusal.status, b"itself" in refusal.body) == (403, True)


def test_the_port_counts(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """`localhost:1234` allows that port and no other."""
    allowed, other = make_peer(web()), make_peer(web())
    proxy = make_proxy(upstream, options=allowing(allowed))
    assert fetch(proxy.port, f"http://{allowed.authority}/").status == 200
    refused = fetch(proxy.port, f"http://{other.authority}/")
    assert (refused.refused_connect, refused.status, other.accepted) == (True, 403, 0)


# Dead hosts and denied ones


def test_a_dead_host_is_a_502(make_proxy: MakeProxy, upstream: Upstream, closed_port: int) -> None:
    """Not a 200 and then nothing: the client must learn that the host is dead, as it would without a proxy."""
    proxy = make_proxy(upstream, options={"pypi_cache_local_hosts": [f"localhost:{closed_port}"]})
    refusal = Wire(proxy.port, f"https://localhost:{closed_port}/").refusal
    assert refusal is not None
    assert refusal.status == 502
    assert f"localhost:{closed_port}" in refusal.body.decode()


def test_a_name_that_nobody_knows_is_a_502(make_proxy: MakeProxy, upstream: Upstream) -> None:
    proxy = make_proxy(upstream)
    refusal = Wire(proxy.port, "https://no-such-host.invalid/").refusal
    assert refusal is not None
    assert refusal.status == 502
    assert b"no-such-host.invalid" in refusal.body
    eventually(lambda: proxy.output, lambda output: "Cannot connect to no-such-host.invalid:443: " in output)


def test_other_hosts_denied(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """`pypi_cache_other_hosts=deny`: packages and nothing else, whatever `pypi_cache_local_hosts` says."""
    peer = make_peer(web())
    proxy = make_proxy(upstream, options=allowing(peer, pypi_cache_other_hosts="deny"))
    refused = fetch(proxy.port, f"https://{peer.authority}/")
    assert (refused.refused_connect, refused.status) == (True, 403)
    assert b"pypi_cache_other_hosts" in refused.body
    assert fetch(proxy.port, page_url("alpha"), ca=proxy.ca).status == 200
    assert peer.accepted == 0


def test_other_hosts_denied_over_plain_http_too(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer) -> None:
    """A denied host is denied: whoever writes `http://` does not get past it."""
    peer = make_peer(web())
    proxy = make_proxy(upstream, options=allowing(peer, pypi_cache_other_hosts="deny"))
    answer = fetch(proxy.port, f"http://{peer.authority}/", via="absolute")
    assert (answer.status, peer.accepted) == (403, 0)


def test_other_hosts_intercepted(make_proxy: MakeProxy, upstream: Upstream, make_peer: MakePeer, ca: Authority) -> None:
    """`intercept` is mitmproxy's own way: its CA towards the client, and towards the host what `SSL_CERT_FILE` trusts."""
    peer = make_peer(web(), context=ca.server_context("localhost"))
    proxy = make_proxy(upstream, options=allowing(peer, pypi_cache_other_hosts="intercept"))
    answer = fetch(proxy.port, f"https://{peer.authority}/", ca=proxy.ca)
    assert (answer.status, answer.body) == (200, b"hello from elsewhere\n")


def test_a_package_host_answers_with_its_upstream_down(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """The store may have all that is asked for: CONNECT goes nowhere."""
    proxy = make_proxy(upstream)
    alpha = small_wheels()[0]
    assert fetch(proxy.port, file_url(alpha), ca=proxy.ca).sha256 == alpha.sha256
    upstream.down()
    with Wire(proxy.port, INDEX_URL, ca=proxy.ca) as wire:
        assert wire.refusal is None
        assert isinstance(wire.sock, ssl.SSLSocket)
        certificate = wire.sock.getpeercert()
        assert certificate
        assert ("DNS", INDEX_HOST) in certificate["subjectAltName"]
    assert fetch(proxy.port, file_url(alpha), ca=proxy.ca).sha256 == alpha.sha256


@pytest.mark.parametrize("spelling", [str.upper, lambda host: host + ".", lambda host: host.title() + "."])
def test_a_package_host_by_any_spelling(guarded: tuple[Proxy, Peer, Upstream], spelling: Callable[[str], str]) -> None:
    """Host names have no case, and a final dot changes nothing: these are opened, and not tunnelled past the cache."""
    proxy, _, _ = guarded
    host = spelling(INDEX_HOST)
    with Wire(proxy.port, f"http://{host}:443/") as wire:
        assert wire.refusal is None
        context = ssl.create_default_context(cafile=proxy.ca)
        with context.wrap_socket(wire.sock, server_hostname=INDEX_HOST) as secured:
            secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: wrong.example\r\n\r\n")
            assert secured.recv(12) == b"HTTP/1.1 421"


def test_another_port_of_a_package_host_is_another_host(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Only what an index is at is opened: host and port."""
    proxy = make_proxy(upstream, options={"pypi_cache_other_hosts": "deny"})
    assert fetch(proxy.port, f"https://{INDEX_HOST}:8443/").status == 403


# A parent proxy


@pytest.fixture
def parent() -> Iterator[ParentProxy]:
    """A company's proxy. It alone knows where `elsewhere.example` is."""
    with Peer(web()) as behind, ParentProxy(names={"elsewhere.example": behind.port}) as proxy:
        yield proxy


def uses(proxy: Proxy, parent: ParentProxy, upstream: Upstream) -> None:
    """Assert that fills, pages, tunnels and ordinary flows all go by the parent."""
    parent.clear()
    beta = small_wheels()[3]
    assert fetch(proxy.port, page_url("beta"), ca=proxy.ca).status == 200
    assert fetch(proxy.port, file_url(beta), ca=proxy.ca).sha256 == beta.sha256
    assert set(parent.targets) == {f"localhost:{upstream.port}"}
    tunnelled = fetch(proxy.port, "http://elsewhere.example:80/")
    assert tunnelled.body == b"hello from elsewhere\n"
    assert parent.targets[-1] == "elsewhere.example:80"
    plain = fetch(proxy.port, "http://elsewhere.example/path", via="absolute")
    assert plain.body == b"hello from elsewhere\n"
    assert "elsewhere.example" in parent.targets[-1]
    assert all(proxy.url not in target for target in parent.targets)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environments_parent(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy, name: str) -> None:
    """The proxy's own `HTTPS_PROXY` is where a company lets it out: for fills and for tunnels."""
    proxy = make_proxy(upstream, env={name: f"http://127.0.0.1:{parent.port}"})
    uses(proxy, parent, upstream)


def test_a_parent_by_its_name(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy, tmp_path: Path) -> None:
    """A company's proxy is in the company's network: its name leads to a private address, which no other fetch may have."""
    env = resolving(tmp_path / "names", {"parent.example": "127.0.0.1"})
    uses(make_proxy(upstream, env={"HTTPS_PROXY": f"http://parent.example:{parent.port}", **env}), parent, upstream)


def test_the_mode_upstream(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy) -> None:
    """mitmproxy's own way to say the same, with its option for the password."""
    proxy = make_proxy(
        upstream, args=["--mode", f"upstream:http://127.0.0.1:{parent.port}", "--set", "upstream_auth=who:secret"]
    )
    uses(proxy, parent, upstream)
    assert all(b"proxy-authorization: basic" in head.lower() for head in parent.heads if head.startswith(b"CONNECT"))


def test_a_parent_with_a_password(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy) -> None:
    """The environment's credentials reach the parent, and nobody's log."""
    proxy = make_proxy(upstream, env={"HTTPS_PROXY": f"http://who:sesame@127.0.0.1:{parent.port}"})
    parent.clear()
    assert fetch(proxy.port, page_url("beta"), ca=proxy.ca).status == 200
    assert b"proxy-authorization: basic" in parent.heads[0].lower()
    assert fetch(proxy.port, "http://elsewhere.example:80/").status == 200
    assert b"proxy-authorization: basic" in parent.heads[-1].lower(), "a tunnel's CONNECT went without the credentials"
    assert "sesame" not in proxy.output


def test_the_first_moments(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy) -> None:
    """mitmproxy listens a little before the addon runs: what comes in between must not go out as if there were no addon.

    `wait_until_up` asks for /healthz from the first moment on; it used to reach the parent (or the proxy itself) as an ordinary flow.
    """
    proxy = make_proxy(upstream, env={"HTTPS_PROXY": f"http://127.0.0.1:{parent.port}"})
    for _ in range(2):
        proxy.restart()
    assert parent.targets == []


def test_no_proxy_is_honoured(make_proxy: MakeProxy, upstream: Upstream, parent: ParentProxy) -> None:
    proxy = make_proxy(upstream, env={"HTTPS_PROXY": f"http://127.0.0.1:{parent.port}", "NO_PROXY": "localhost"})
    parent.clear()
    assert fetch(proxy.port, page_url("beta"), ca=proxy.ca).status == 200
    assert (parent.targets, upstream.count()) == ([], 1)


def test_what_the_parent_refuses_ends(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """The client does not hang on a tunnel that the parent will not make: an error, or the end of the connection."""
    with ParentProxy(refuses=frozenset({"elsewhere.example:443"})) as parent:
        proxy = make_proxy(upstream, env={"HTTPS_PROXY": f"http://127.0.0.1:{parent.port}"})
        parent.clear()
        try:
            status = fetch(proxy.port, "https://elsewhere.example/", timeout=5).status
        except TimeoutError:
            pytest.fail("the client waits for a tunnel that will never be there")
        except OSError:
            status = 0  # the end of the connection
        assert status in {0, 403, 502}
        assert parent.targets == ["elsewhere.example:443"]


def test_a_dead_parent_is_named(make_proxy: MakeProxy, upstream: Upstream, closed_port: int) -> None:
    proxy = make_proxy(upstream, env={"HTTPS_PROXY": f"http://127.0.0.1:{closed_port}"})
    answer = fetch(proxy.port, page_url("beta"), ca=proxy.ca)
    assert answer.status == 503
    assert str(closed_port) in answer.body.decode()


@pytest.mark.parametrize("spelling", ["http://127.0.0.1:{port}", "http://localhost:{port}/", "127.0.0.1:{port}"])
def test_a_parent_that_is_the_proxy_itself_is_ignored(
    make_proxy: MakeProxy, upstream: Upstream, home: Path, tmp_path: Path, spelling: str
) -> None:
    """Somebody started the proxy in an agent's shell, where `HTTPS_PROXY` names the proxy: no loop, one warning, and it works."""
    proxy = make_proxy(upstream, start=False)
    proxy.env["HTTPS_PROXY"] = spelling.format(port=proxy.port)
    proxy.start()
    warnings = [line for line in proxy.output.splitlines() if "HTTPS_PROXY" in line and "ignored" in line]
    assert len(warnings) == 1, proxy.output
    target = tmp_path / "site"
    PIP_PROXY.install(proxy, home, ["beta"], target).ok()
    assert installed(target) == {"alpha": "2.0", "beta": "1.0"}
