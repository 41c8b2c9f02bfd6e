"""One gate for every request to a package host: no method, spelling, header or framing gets past the operator's rules.

Each request names the scripted upstream's own host, so that whatever the proxy passes on arrives there and is counted. That server is
lenient: it decodes `%2f`, and takes dot segments and doubled slashes out, as many do.
"""

import base64
import itertools
import json
import signal
import socket
import ssl
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from pkgcache.rules.routing.urls import parse_authority
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.names import INDEX_URL, file_url, page_url
from tests.support.proxy import ADDON, FAST_WAY, Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Via, Wire, fetch

EVIL, GOOD = make_wheel("evil"), make_wheel("good")
ACME = make_wheel("acme-tools", "99.0")

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND")
HEADERS: Final = (
    {},
    {"Cookie": "session=1"},
    {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()},
    {"Cookie": "session=1", "Range": "bytes=0-9"},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
)

PAGES: Final = (
    "/corp/simple/evil/",
    "/corp/simple/evil",
    "/corp/simple/EVIL/",
    "/corp/simple/evil/index.html",
    "/corp/simple//evil/",
    "//corp/simple/evil/",
    "/corp//simple///evil///",
    "//localhost/corp/simple/evil/",
    "/%2fany.example:80/corp/simple/evil/",
    "/\\any.example/corp/simple/evil/",
    "/corp/simple/./evil/",
    "/corp/simple/good/../evil/",
    "/corp/simple/good/%2e%2e/evil/",
    "/corp/simple/good/..%2fevil/",
    "/corp/%73imple/evil/",
    "/corp/simple/%65vil/",
    "/corp/simple/%2565vil/",
    "/corp%2fsimple%2fevil/",
    "/corp%2Fsimple/evil/",
    "/corp/simple%2fevil/",
    "/corp%252fsimple%252fevil/",
    "/other/../corp/simple/evil/",
    "/other/..%2fcorp/simple/evil/",
    "/other/..;/corp/simple/evil/",
    "/corp;x=1/simple/evil/",
    "/corp/simple;x/evil/",
    "/corp/simple/evil;x/",
    "/CORP/Simple/evil/",
    "/corp\\simple\\evil/",
    "/corp/%5csimple%5Cevil/",
    "/corp/simple/evil/?x=1",
    "/corp/simple/evil/#x",
    "/corp/simple/evil%00/",
    "/corp/simple/evil%20/",
    "/corp/simple/ evil/".replace(" ", "%20"),
)
"""Spellings of a denied project's page, and paths that a lenient server takes for one."""

_FILE: Final = f"/corp/{EVIL.quoted_path}"
_FOLDER, _, _NAME = _FILE.rpartition("/")
FILES: Final = (
    _FILE,
    f"{_FILE}.metadata",
    f"{_FOLDER}//{_NAME}",
    f"{_FOLDER}/./{_NAME}",
    f"{_FOLDER}/{_NAME}/",
    f"{_FOLDER}/{_NAME}/index.html",
    f"{_FOLDER}/{_NAME};x=1",
    f"{_FOLDER}/{_NAME.replace('e', '%65')}",
    f"{_FOLDER}/{_NAME.replace('e', '%2565')}",
    f"{_FOLDER}%2f{_NAME}",
    f"/corp/x/..%2f{EVIL.quoted_path}",
    f"{_FOLDER}/{_NAME}%2f",
    f"{_FOLDER}/{_NAME}%3fx",
    f"{_FOLDER}/{_NAME}?x=good-1.0-py3-none-any.whl",
    f"{_FOLDER}/{_NAME.upper()}",
    f"/elsewhere/{_NAME}",
    f"/elsewhere/{_NAME}/download",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Index `corp` at the upstream; `evil*` is denied, and `acme-*` belongs to another index."""

    proxy: Proxy
    upstream: Upstream

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> Fetched:
        """One request in a tunnel, its path as spelt."""
        with Wire(self.proxy.port, self.upstream.origin, ca=self.proxy.ca) as wire:
            return wire.request(path, method=method, headers=headers, body=body)

    def not_refused(self, path: str, refusals: Collection[int]) -> list[tuple[str, dict[str, str], int]]:
        """Ask by each method with each set of headers. Returns those that got another status, or that reached the server."""
        passed = []
        with Wire(self.proxy.port, self.upstream.origin, ca=self.proxy.ca) as wire:
            for method, headers in itertools.product(METHODS, HEADERS):
                answer = wire.request(path, method=method, headers=headers)
                if answer.status not in refusals or self.upstream.count():
                    passed.append((method, headers, answer.status))
                    self.upstream.clear()
        return passed


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(ca, prefix="/corp"))
        private = stack.enter_context(Upstream(ca, prefix="/own"))
        upstream.add(EVIL, GOOD, ACME)
        options = {
            "pypi_cache_index": [f"pypi={private.index_url}", f"corp={upstream.index_url}", f"own={private.index_url}"],
            "pypi_cache_deny": "evil*",
            "pypi_cache_private": "acme-*=own",
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("gate"), options=options, upstream_ca=ca.bundle))
        yield Scene(proxy, upstream)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    shared.upstream.clear()
    yield shared
    shared.upstream.unscript()


REFUSALS: Final = frozenset({400, 403, 404})


@pytest.mark.parametrize("path", [*PAGES, *FILES])
def test_a_denied_project_by_any_request(path: str, scene: Scene) -> None:
    """Each method, with each set of headers: refused, and nothing reaches the server."""
    assert scene.not_refused(path, REFUSALS) == []


@pytest.mark.parametrize("path", ["/corp/simple/acme-tools/", f"/corp/{ACME.quoted_path}"])
def test_a_private_name_by_any_request(path: str, scene: Scene) -> None:
    assert scene.not_refused(path, {404}) == []


@pytest.mark.parametrize(("path", "size"), [("/corp/simple/good/", 0), (f"/corp/{GOOD.quoted_path}", GOOD.size)])
def test_an_admitted_request_with_cookies(path: str, size: int, scene: Scene) -> None:
    """It reaches the origin with its cookies, each time anew."""
    for count in (1, 2):
        answer = scene.ask(path, headers={"Cookie": "session=1"})
        assert answer.status == 200
        assert scene.upstream.count() == count
        assert not size or answer.size == size
    assert {each.headers["cookie"] for each in scene.upstream.requests} == {"session=1"}


PASSED: Final = {
    "twine": (
        "POST",
        "/corp/legacy/",
        {"Content-Type": "multipart/form-data; boundary=x"},
        b"--x\r\n:action=file_upload\r\n--x--",
    ),
    "an upload at the index's URL": (
        "POST",
        "/corp/simple/",
        {"Content-Type": "multipart/form-data; boundary=x"},
        b"--x--",
    ),
    "a devpi login": ("POST", "/+login", {"Accept": "application/json"}, b'{"user": "me"}'),
    "devpi's API": ("GET", "/root/dev/+api", {}, b""),
    "git": ("GET", "/group/repository.git/info/refs?service=git-upload-pack", {"Git-Protocol": "version=2"}, b""),
    "a push": ("POST", "/group/repository.git/git-receive-pack", {}, b"0000"),
    "spelt oddly": ("GET", "/a//b/./%2541/%2fx", {}, b""),
}
"""What → method, path, headers and body of a request that is the origin's business."""


@pytest.mark.parametrize(("method", "path", "headers", "body"), PASSED.values(), ids=PASSED)
def test_the_origins_own_business(method: str, path: str, headers: dict[str, str], body: bytes, scene: Scene) -> None:
    scene.ask(path, method, headers, body)
    (seen,) = scene.upstream.requests
    assert (seen.method, seen.path, seen.body) == (method, path, body)


FRAMINGS: Final = {
    "an empty line first": (b"\r\n", b"GET /corp/simple/evil/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    "a method in two pieces": (b"GE", b"T /corp/simple/evil/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    "a line end before the blank": (b"GET\n", b"/corp/simple/evil/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    "no letters": (b"123 /corp/simple/evil/ HTTP/1.1\r\n", b"Host: {host}\r\n\r\n"),
    "SSH": (b"SSH-2.0-x\r\n", b"GET /corp/simple/evil/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
}
"""What mitmproxy by itself takes for no HTTP, and carries to the origin unread."""


@pytest.mark.parametrize("pieces", FRAMINGS.values(), ids=FRAMINGS)
def test_what_does_not_look_like_http(pieces: tuple[bytes, bytes], scene: Scene) -> None:
    """Without ALPN, since with it mitmproxy believes what was negotiated."""
    context = ssl.create_default_context(cafile=scene.proxy.ca)
    host = scene.upstream.origin.partition("://")[2]
    accepted = scene.upstream.accepted
    with socket.create_connection(("127.0.0.1", scene.proxy.port), timeout=10) as raw:
        raw.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b" 200 " in raw.recv(4096)
        with context.wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(pieces[0])
            time.sleep(0.2)
            sock.sendall(pieces[1].replace(b"{host}", host.encode()))
            answer = b""
            with suppress(TimeoutError, OSError):
                sock.settimeout(2)
                while piece := sock.recv(65536):
                    answer += piece
    assert b" 200 " not in answer.partition(b"\r\n")[0]
    assert (scene.upstream.count(), scene.upstream.accepted) == (0, accepted)


SPELLINGS: Final = (
    str,
    lambda prefix: prefix.replace("%2f", "%2F"),
    lambda prefix: prefix.replace("%40", "@"),
    lambda prefix: f"/{prefix}/./x/..",
)


@pytest.mark.parametrize("prefix", ["/pkgs/feed%40Local/pypi", "/api/group%2fproject/pypi", "/a%20b/c%2Bd/%c3%a9"])
def test_an_index_whose_url_is_quoted(prefix: str, make_upstream: MakeUpstream, make_proxy: MakeProxy) -> None:
    """Azure's and GitLab's: pages are cached, the rules hold, and the server is asked as the operator spelt it, with his login."""
    upstream = make_upstream(GOOD, EVIL, prefix=unquote(prefix))
    scheme, _, rest = upstream.origin.partition("://")
    index = f"{scheme}://me:secret@{rest}{prefix}/simple/"
    proxy = make_proxy(options={"pypi_cache_index": [f"corp={index}"], "pypi_cache_deny": "evil"})
    with Wire(proxy.port, upstream.origin, ca=proxy.ca) as wire:
        for spell in SPELLINGS:
            assert wire.request(f"{spell(prefix)}/simple/good/").status == 200
            assert wire.request(f"{spell(prefix)}/simple/evil/").status == 403
            assert wire.request(f"{spell(prefix)}/simple/evil/", headers={"Cookie": "a=b"}).status == 403
    (seen,) = upstream.requests
    assert seen.path == f"{prefix}/simple/good/"
    assert seen.headers["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


CERTAIN: Final = frozenset(
    {
        "/corp/simple/evil/",
        "/corp/simple/evil",
        "/corp/simple/EVIL/",
        "/corp/simple//evil/",
        "//corp/simple/evil/",
        "/corp/simple/./evil/",
        "/corp/simple/good/../evil/",
        "/corp/simple/good/%2e%2e/evil/",
        "/corp/%73imple/evil/",
        "/corp/simple/%65vil/",
        "/corp/simple/evil/?x=1",
        "/corp/simple/evil/#x",
        *FILES[:4],
        f"{_FOLDER}/{_NAME.replace('e', '%65')}",
    }
)
"""The spellings above that are certainly the denied project's."""


def test_offline_nothing_is_passed_on(make_upstream: MakeUpstream, make_proxy: MakeProxy) -> None:
    """504, but what the operator denies is denied: 403 is the reason that stays when the proxy is online again."""
    upstream = make_upstream(GOOD, EVIL, prefix="/corp")
    index = {"pypi_cache_index": [f"corp={upstream.index_url}"]}
    proxy = make_proxy(options=index | {"pypi_cache_offline": True, "pypi_cache_deny": "evil*"})
    with Wire(proxy.port, upstream.origin, ca=proxy.ca) as wire:
        for path in (*PAGES, *FILES):
            asked = zip(("GET", "HEAD", "POST"), HEADERS, strict=False)
            statuses = {wire.request(path, method=method, headers=headers).status for method, headers in asked}
            assert statuses == {403} if path in CERTAIN else statuses <= REFUSALS, path
        assert wire.request("/corp/simple/evil/", method="POST", body=b"a=b").status == 403
        for method, path, headers in (
            ("POST", "/corp/legacy/", {}),
            ("GET", "/corp/simple/good/", {"Cookie": "a=b"}),
            ("POST", "/corp/simple/", {}),
            ("GET", "/+api", {}),
        ):
            assert wire.request(path, method=method, headers=headers).status == 504
    provenance = f"integrity/evil/{EVIL.version}/{EVIL.filename}/provenance"
    for url, ways in (
        (page_url("evil"), ("connect", "absolute")),
        (page_url("evil").replace("https:", "http:"), ("connect", "absolute")),
        (file_url(EVIL, ".metadata"), ("connect",)),
        (INDEX_URL.replace("simple/", "pypi/evil/json"), ("connect",)),
        (INDEX_URL.replace("simple/", provenance), ("connect",)),
        ("/corp/simple/evil/", ("own",)),
    ):
        for via, method in itertools.product(ways, ("GET", "HEAD")):
            answer = fetch(proxy.port, url, ca=proxy.ca, via=via, method=method, headers={"Cookie": "a=b"})
            assert answer.status == 403, (url, via, method)
    good = INDEX_URL.replace("simple/", provenance.replace("evil", "good"))
    assert fetch(proxy.port, good, ca=proxy.ca).status == 504
    assert upstream.accepted == 0


BROKEN: Final = {
    "choosing a layer": ("pkgcache.proxy.layers", "with_fast_path"),
    "admitting": ("pkgcache.proxy.intake", "way_of"),
    "judging": ("pkgcache.engine.gatekeeper", "Gatekeeper.refusal"),
    "connecting": ("pkgcache.proxy.tunnels", "Tunnels.checked"),
    "choosing the parent": ("pkgcache.proxy.tunnels", "Tunnels.parent_of"),
}
"""What fails → the function that does, while a file names it."""

BREAKING: Final = """
import importlib, pathlib
from functools import wraps
SWITCH = pathlib.Path({switch!r})
def breakable(module, name):
    *path, last = name.split(".")
    owner = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part)
    intact = getattr(owner, last)
    @wraps(intact)
    def function(*args, **kwargs):
        if SWITCH.read_text() == name:
            raise RuntimeError("broken on purpose: " + name)
        return intact(*args, **kwargs)
    setattr(owner, last, function)
for module, name in {names!r}:
    breakable(module, name)
"""
"""A script beside the addon that makes each of these functions fail while the file `switch` names it."""


def test_a_failure_of_ours_lets_nothing_through(
    tmp_path: Path, make_upstream: MakeUpstream, make_proxy: MakeProxy
) -> None:
    """mitmproxy logs an exception in a hook and goes on as if the addon were not there."""
    switch, script = tmp_path / "switch", tmp_path / "breaking.py"
    switch.write_text("")
    script.write_text(BREAKING.format(switch=str(switch), names=[*BROKEN.values()]))
    upstream = make_upstream(GOOD, prefix="/corp")
    options = {"pypi_cache_index": [f"corp={upstream.index_url}"]}
    proxy = make_proxy(options=options, args=["-s", str(script)], complaints_allowed=True)

    def ask() -> int:
        """Return the answer's status; 0 for a connection that was closed."""
        with suppress(OSError, HTTPException):
            url = f"{upstream.origin}/corp/simple/good/"
            return fetch(proxy.port, url, ca=proxy.ca, headers={"Cookie": "a=b"}, timeout=10).status
        return 0

    for what, (_, name) in BROKEN.items():
        before = upstream.accepted
        switch.write_text(name)
        assert ask() in {0, 500, 502}, what
        assert upstream.accepted == before, what
        assert f"broken on purpose: {name}" in proxy.output
        switch.write_text("")
        assert ask() == 200, f"after {what}"


SLOW_END: Final = """
import asyncio, pathlib
async def done():
    pathlib.Path({begun!r}).touch()
    while not pathlib.Path({enough!r}).exists():
        await asyncio.sleep(0.01)
"""
"""A script that holds the proxy between its signal and its end."""


@pytest.mark.parametrize("first", [True, False], ids=["a script before ours", "a script after ours"])
def test_while_stopping(*, first: bool, tmp_path: Path, make_upstream: MakeUpstream, make_proxy: MakeProxy) -> None:
    """From the signal on nothing new passes, on no connection, old or new."""
    begun, enough, script = tmp_path / "begun", tmp_path / "enough", tmp_path / "slow.py"
    script.write_text(SLOW_END.format(begun=str(begun), enough=str(enough)))
    upstream, other = make_upstream(GOOD, prefix="/corp"), make_upstream(GOOD, tls=False)
    options = {"pypi_cache_index": [f"corp={upstream.index_url}"], "pypi_cache_local_hosts": f"localhost:{other.port}"}
    scripts = {"script": script, "args": ["-s", str(ADDON)]} if first else {"args": ["-s", str(script)]}
    proxy = make_proxy(options=options, **scripts)
    plain = f"http://localhost:{other.port}/x"
    with ExitStack() as stack:
        stack.callback(enough.touch)
        opened = stack.enter_context(Wire(proxy.port, upstream.origin, ca=proxy.ca))
        absolute = stack.enter_context(Wire(proxy.port, plain, via="absolute"))
        assert opened.request("/corp/simple/good/").status == 200
        assert absolute.request(plain).status == 404
        before = upstream.count(), other.count(), other.accepted
        proxy.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        eventually(begun.exists)
        for wire, path in ((opened, "/corp/legacy/"), (absolute, plain)):
            answer = wire.request(path)
            assert (answer.status, answer.headers["Connection"], answer.headers["Retry-After"]) == (503, "close", "1")
        for via, url in (("absolute", plain), ("connect", plain), ("connect", upstream.origin), ("own", "/healthz")):
            with pytest.raises((OSError, HTTPException)):
                fetch(proxy.port, url, via=via, timeout=3)  # type: ignore[arg-type]
        enough.touch()
        assert proxy.wait_for_exit() == 0
    assert (upstream.count(), other.count(), other.accepted) == before


CHANGING: Final = """
import asyncio, pathlib
from mitmproxy import ctx
async def running():
    async def watch():
        while not pathlib.Path({switch!r}).exists():
            await asyncio.sleep(0.01)
        ctx.options.update(pypi_cache_deny=["good"])
        pathlib.Path({done!r}).touch()
    global task
    task = asyncio.create_task(watch())
"""
"""A script that changes an option at run time."""


@pytest.mark.parametrize("fast_way", [FAST_WAY, "always"], ids=["as it is", "always"])
def test_while_options_change(
    tmp_path: Path, make_upstream: MakeUpstream, make_proxy: MakeProxy, fast_way: str
) -> None:
    """A connection from before the change is told to come back, whichever way its requests went; a new one has the new rules."""
    switch, done, script = tmp_path / "switch", tmp_path / "done", tmp_path / "changing.py"
    script.write_text(CHANGING.format(switch=str(switch), done=str(done)))
    upstream = make_upstream(GOOD, prefix="/corp")
    options = {"pypi_cache_index": [f"corp={upstream.index_url}"]}
    proxy = make_proxy(options=options, args=["-s", str(script)], fast_way=fast_way)
    with ExitStack() as stack:
        paths = ("/corp/simple/good/", "/corp/legacy/", "/corp/simple/good/")
        wires = [stack.enter_context(Wire(proxy.port, upstream.origin, ca=proxy.ca)) for _ in paths]
        assert [wire.request("/corp/simple/good/").status for wire in wires] == [200] * len(paths)
        before = upstream.count()
        switch.touch()
        eventually(done.exists)
        for wire, path, headers in zip(wires, paths, ({}, {}, {"Cookie": "a=b"}), strict=True):
            answer = wire.request(path, headers=headers)
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert fetch(proxy.port, f"{upstream.origin}/corp/simple/good/", ca=proxy.ca).status == 403
    assert upstream.count() == before
    by_source = json.loads(proxy.get("/stats").body)["requests"]["by_source"]
    assert by_source["store"] + by_source["upstream"] + by_source["shared"] == len(paths), "counters go on"


def test_a_download_outlives_a_change_of_options(
    tmp_path: Path, make_upstream: MakeUpstream, make_proxy: MakeProxy
) -> None:
    """One that a client reads, and that the upstream is still sending: it was cut. Who asks with the new options joins in or is refused."""
    switch, done, script = tmp_path / "switch", tmp_path / "done", tmp_path / "changing.py"
    script.write_text(CHANGING.format(switch=str(switch), done=str(done)))
    slow = make_wheel("slow", payload_size=2_000_000)
    upstream = make_upstream(GOOD, slow)
    upstream.script(Behaviour("slow.*whl", pace=600_000))
    proxy = make_proxy(upstream, args=["-s", str(script)])
    with Wire(proxy.port, file_url(slow), ca=proxy.ca) as wire, ThreadPoolExecutor() as pool:
        first = pool.submit(wire.request, file_url(slow))
        upstream.wait_until(lambda: upstream.bytes_sent(path_contains="slow") >= 500_000)
        switch.touch()
        eventually(done.exists)
        second = pool.submit(fetch, proxy.port, file_url(slow), ca=proxy.ca)
        assert fetch(proxy.port, file_url(GOOD), ca=proxy.ca).status == 403, "the new options count at once"
        assert first.result().sha256 == second.result().sha256 == slow.sha256
    assert upstream.count(path_contains="slow") == 1
    assert fetch(proxy.port, file_url(slow), ca=proxy.ca).sha256 == slow.sha256


def test_plain_http_is_no_way_around(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """To port 80 of hosts that an https index owns: the same routing and rules, by absolute form and within a CONNECT."""
    upstream.add(EVIL, GOOD)
    proxy = make_proxy(upstream, options={"pypi_cache_deny": "evil*"})
    ways: tuple[Via, ...] = ("absolute", "connect")
    for url, status in (
        (page_url(GOOD.project), 200),
        (file_url(GOOD), 200),
        (page_url(EVIL.project), 403),
        (file_url(EVIL), 403),
        (file_url(EVIL, ".metadata"), 403),
        (f"{INDEX_URL}/{EVIL.project}", 403),
        (f"{INDEX_URL}{EVIL.project}/index.html", 404),
        (f"{INDEX_URL}x/..%2f{EVIL.project}/", 404),
    ):
        plain = url.replace("https://", "http://")
        for headers in ({}, {"Cookie": "a=b"}) if status != 200 else ({},):
            for via in ways:
                answer = fetch(proxy.port, plain, headers=headers, via=via)
                assert answer.status == status, (plain, headers, via, answer.status)
    assert not upstream.count(path_contains="evil")


HOST_SPELLINGS: Final[tuple[tuple[Via, str], ...]] = (
    # A name: letters of any case, a final dot, the default port in words (RFC 3986 §3.2.2, §6.2.3)
    ("connect", "https://index.test"),
    ("connect", "https://INDEX.Test"),
    ("connect", "https://index.test."),
    ("connect", "https://Index.TEST.:443"),
    ("connect", "http://INDEX.test."),
    ("absolute", "http://INDEX.test."),
    ("absolute", "http://index.TEST:80"),
    ("absolute", "https://index.test"),
    ("absolute", "https://INDEX.test.:443"),
    # An international name, which mitmproxy decodes (RFC 5890 §2.3.2.1)
    ("connect", "https://xn--bcher-kva.test"),
    ("connect", "https://XN--Bcher-KVA.test."),
    ("connect", "http://XN--BCHER-KVA.TEST"),
    ("absolute", "http://xn--bcher-kva.test"),
    ("absolute", "https://XN--BCHER-KVA.test.:443"),
    # IPv4, and what the resolver takes for it
    ("connect", "https://10.0.0.5"),
    ("connect", "http://10.5"),
    ("connect", "http://0xa000005"),
    ("absolute", "http://167772165"),
    ("absolute", "http://10.0.0.5."),
    # IPv6 (RFC 5952)
    ("absolute", "http://[2001:db8::1]"),
    ("absolute", "http://[2001:DB8:0:0::1]"),
    ("absolute", "http://[2001:db8::0001]:80"),
    ("absolute", "https://[2001:0DB8::1]:443"),
)


def test_one_host_in_many_spellings(make_proxy: MakeProxy, upstream: Upstream) -> None:
    """Each reaches the one index, its stored page and the rules. None of them is tunnelled, or looked up by its name."""
    upstream.add(EVIL, GOOD)
    hosts = ("index.test", "xn--bcher-kva.test", "10.0.0.5", "[2001:db8::1]")
    indexes = [f"i{n}=https://{host}/simple/ {upstream.index_url}" for n, host in enumerate(hosts)]
    proxy = make_proxy(options={"pypi_cache_index": indexes, "pypi_cache_deny": "evil*"})
    for via, origin in HOST_SPELLINGS:
        name = parse_authority(origin.partition("://")[2], 443)[0]
        for path, headers, status in (
            ("/simple/good/", {}, 200),
            ("/simple/evil/", {}, 403),
            ("/simple/evil/", {"Cookie": "a=b"}, 403),
        ):
            with Wire(proxy.port, origin, ca=proxy.ca, via=via, server_name=name) as wire:
                answer = wire.request(origin + path, headers=headers)
            assert answer.status == status, (via, origin, path, answer)
    assert upstream.count(path_contains="good") == len(hosts)
    assert not upstream.count(path_contains="evil")
