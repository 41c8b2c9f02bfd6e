"""Upstreams that lie about a file: no client ever completes it, nothing of it is kept, and the next request is right.

Each lie is told to four clients at once. None of them may end with a whole answer of wrong bytes; the store has nothing more than
before; the reason is counted in /metrics; and once the upstream is honest again, the same URL gives the right file, fetched afresh.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.responses.messages import CLIENT_SECONDS
from pkgcache.engine.upstream.client import READ_SECONDS, SOLE_SOURCE_SECONDS
from tests.support.answers import CAPTIVE_PAGE
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import leftovers
from tests.support.limits import script_with
from tests.support.names import file_url
from tests.support.peers import Peer, resolving, web
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, fetch, fetch_many

SIZE: Final = 300_000
"""More than is held back (64 KiB): clients have some of it before its end is known to be wrong."""

OCTETS: Final = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """What an upstream does with a file, and the reason under which /metrics counts it."""

    script: Callable[[str, int], tuple[Behaviour, ...]]
    """From a pattern for the file and its size."""
    reasons: frozenset[str]
    early: bool = False
    """Its head tells, so that no client has had a byte of it: the next mirror serves the same answer, whole."""


def lie(*reasons: str, early: bool = False, **told: object) -> Lie:
    """A lie of one behaviour; numbers from the file's end are given as a function of its size."""

    def script(match: str, size: int) -> tuple[Behaviour, ...]:
        words = {name: value(size) if callable(value) else value for name, value in told.items()}
        return (Behaviour(match, methods=("GET",), **words),)  # type: ignore[arg-type]

    return Lie(script=script, reasons=frozenset(reasons), early=early)


def after_a_cut(*reasons: str, **told: object) -> Lie:
    """Each answer breaks off in the middle, and its continuation lies: a client that comes late begins another download."""

    def script(match: str, _: int) -> tuple[Behaviour, ...]:
        return (
            Behaviour(match, ranged=False, cut_after=150_000, pace=3_000_000),  # in time, so that its bytes are read
            Behaviour(match, ranged=True, **told),  # type: ignore[arg-type]
        )

    return Lie(script=script, reasons=frozenset(reasons))


LIES: Final[dict[str, Lie]] = {
    "its first byte is wrong": lie("wrong-digest", wrong_byte_at=0),
    "a byte in the middle is wrong": lie("wrong-digest", wrong_byte_at=lambda size: size // 2),
    "its last byte is wrong": lie("wrong-digest", wrong_byte_at=lambda size: size - 1),
    "another file under its name": lie("wrong-digest", content=b"PK\x03\x04 something else" * 20_000),
    "an empty file": lie("wrong-digest", "wrong-length", body=b"", headers=OCTETS),
    "it lacks its last bytes, and the length agrees": lie("wrong-digest", "wrong-length", shorten=1000),
    "it has some bytes more, and the length agrees": lie("wrong-digest", "wrong-length", too_long=1000),
    "it ends before its length": lie("broken", "wrong-length", truncate=1000),
    "it is reset before its length": lie("broken", "unreachable", "wrong-length", truncate=100_000, reset=True),
    "its length is too small": lie("wrong-digest", "wrong-length", content_length=lambda size: size - 1000),
    "its length is too large": lie("broken", "wrong-length", content_length=lambda size: size + 1000),
    "its length is no number": lie("broken", "wrong-length", headers={"Content-Length": "many"}, early=True),
    "without a length, it lacks its last bytes": lie("wrong-digest", "wrong-length", shorten=1000, framing="close"),
    "chunked, it ends before its end": lie("broken", truncate=1000, framing="chunked"),
    "another file comes as gzip": lie("wrong-encoding", gzip=True, content=b"PK" * 1000, early=True),
    "a hotel's log-in page": lie("wrong-type", captive=True, early=True),
    "a log-in page that says it is a file": lie("wrong-digest", "wrong-length", body=CAPTIVE_PAGE, headers=OCTETS),
    "a 206 that nobody asked for": lie(
        "wrong-span", status=206, body=b"x" * 1000, headers={**OCTETS, "Content-Range": "bytes 5-1004/2000"}, early=True
    ),
    "the continuation is of another span": after_a_cut("wrong-span", shift_span=-10),
    "the continuation says its span and sends another": after_a_cut("wrong-digest", shift_body=-10),
    "the continuation is of another file": after_a_cut("wrong-length", "wrong-digest", content=b"other" * 80_000),
    "a redirect to itself": lie("redirects", redirect_loop=True, early=True),
    "a redirect to a private address": lie(
        "refused-address", redirect="https://10.11.12.13/packages/x.whl", early=True
    ),
    "a redirect to a name in a private network": lie(
        "refused-address", redirect="https://intranet.example/x.whl", early=True
    ),
    "a redirect to the metadata service": lie(
        "refused-address", redirect="http://169.254.169.254/latest/meta-data/x.whl", early=True
    ),
    "a redirect to no web address": lie("redirects", redirect="file:///etc/passwd", early=True),
    "an error": lie("status", status=500, early=True),
    "a refusal": lie("status", status=403, early=True),
    "no answer": lie("broken", "unreachable", drop=True, early=True),
    "no HTTP": lie("broken", raw=b"220 mail.example ESMTP\r\n", early=True),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A proxy, its one upstream, and files that nobody has asked for yet."""

    proxy: Proxy
    upstream: Upstream

    def publish(self, name: str, payload_size: int = SIZE) -> ReleaseFile:
        """A file of its own for a test: nothing else can have put it into the store."""
        release = make_wheel(
            re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"), payload_size=payload_size, seed=len(name)
        )
        self.upstream.add(release)
        return release

    def ask(self, release: ReleaseFile) -> Fetched:
        """One client's request."""
        return fetch(self.proxy.port, file_url(release), ca=self.proxy.ca)


@pytest.fixture(scope="module")
def one_upstream(tmp_path_factory: pytest.TempPathFactory, ca: Authority) -> Iterator[Scene]:
    """A proxy for the whole table; its resolver knows a name in a private network."""
    folder = tmp_path_factory.mktemp("liar")
    with (
        Upstream(ca) as upstream,
        Proxy(
            folder / "proxy",
            options={"pypi_cache_index": [f"pypi={upstream.index_url}"]},
            upstream_ca=ca.bundle,
            env=resolving(folder / "names", {"intranet.example": "10.1.2.3"}),
        ) as proxy,
    ):
        yield Scene(proxy, upstream)
        assert not proxy.complaints, proxy.output


@pytest.fixture
def scene(one_upstream: Scene) -> Iterator[Scene]:
    """The shared scene, honest again after each test."""
    yield one_upstream
    one_upstream.upstream.unscript()


def failures(proxy: Proxy) -> dict[str, float]:
    """Upstream failures so far, by reason, out of /metrics."""
    text = proxy.get("/metrics").body.decode()
    found = re.findall(r'^pypi_cache_upstream_failures_total\{reason="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in found}


def entries(proxy: Proxy) -> int:
    """How many entries the store has."""
    store = proxy.get("/healthz").body
    found = re.search(rb'"entries": (\d+)', store)
    assert found, store
    return int(found[1])


def is_whole(answer: Fetched) -> bool:
    """Whether the client believes that it has the file."""
    return answer.status == 200 and answer.complete


@pytest.mark.parametrize("told", LIES.values(), ids=LIES)
def test_a_lie(scene: Scene, request: pytest.FixtureRequest, told: Lie) -> None:
    release = scene.publish(request.node.callspec.id)
    assert leftovers(scene.proxy.store) == [], "what the test before has brought is still on its way into the store"
    before, kept = failures(scene.proxy), entries(scene.proxy)
    scene.upstream.script(*told.script(re.escape(release.filename), release.size))

    herd = fetch_many(4, scene.proxy.port, file_url(release), ca=scene.proxy.ca)
    assert not [answer for answer in herd if is_whole(answer)], "a client has completed a wrong file"
    assert all(answer.status in {200, 403, 502} for answer in herd), [answer.status for answer in herd]
    assert 404 not in {answer.status for answer in herd}, "uv would go on to another index"
    if told.early:
        assert {answer.status for answer in herd} <= {502, 403}, "an error that was known early was not told"
        assert scene.upstream.origin in herd[0].body.decode(), "the answer does not name the upstream"
    reasons = {reason for reason, count in failures(scene.proxy).items() if count > before.get(reason, 0)}
    assert reasons & told.reasons, f"counted as {reasons}"
    assert entries(scene.proxy) == kept, "something of it was stored"
    assert leftovers(scene.proxy.store) == []

    scene.upstream.unscript()
    asked = scene.upstream.count(method="GET", path_contains=release.filename)
    again = scene.ask(release)
    assert (again.status, again.complete, again.sha256) == (200, True, release.sha256)
    assert scene.upstream.count(method="GET", path_contains=release.filename) == asked + 1
    assert scene.ask(release).sha256 == release.sha256
    assert scene.upstream.count(method="GET", path_contains=release.filename) == asked + 1, (
        "the right file was not kept"
    )


def test_a_redirect_to_this_machine(scene: Scene) -> None:
    """Another port of the upstream's own host is not the operator's index: whoever listens there is not asked."""
    release = scene.publish("redirected")
    with Peer(web(b"secret")) as peer:
        scene.upstream.script(Behaviour("redirected", redirect=f"http://{peer.authority}/{release.path}"))
        answer = scene.ask(release)
        assert (answer.status, peer.accepted) == (502, 0)
        assert b"secret" not in answer.body


def test_a_redirect_within_the_operators_hosts_is_followed(scene: Scene) -> None:
    """The table's refusals are of where a redirect leads, and not of redirects."""
    release = scene.publish("moved")
    scene.upstream.serve("/elsewhere/blob", release.content)
    scene.upstream.script(Behaviour(r"packages/.*moved", redirect=f"{scene.upstream.origin}/elsewhere/blob"))
    answer = scene.ask(release)
    assert (answer.status, answer.sha256) == (200, release.sha256)


def test_the_last_bytes_wait_for_the_digest(scene: Scene) -> None:
    """What a client of a wrong file gets is at least 64 KiB short of it, whatever its buffers."""
    release = scene.publish("held-back")
    scene.upstream.script(Behaviour("held_back", wrong_byte_at=5))
    answer = scene.ask(release)
    assert answer.status == 200, "the first bytes did not come before the end was known"
    assert not answer.complete
    assert answer.size <= release.size - 64 * 1024


@pytest.mark.parametrize("cut_after", [0, 1, 70_000, 150_000, 299_000])
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
def test_a_lone_upstream_that_breaks_off_once(scene: Scene, cut_after: int, reset: bool) -> None:
    """After any byte, and even before the first: it is asked again, from where it broke off, and the client sees a pause."""
    release = scene.publish(f"breaks-off-{cut_after}-{reset}")
    scene.upstream.script(Behaviour("breaks_off", cut_after=cut_after, reset=reset, times=1))
    answer = scene.ask(release)
    assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256)


def test_a_wrong_range_of_a_stored_file_is_impossible(scene: Scene) -> None:
    """Ranges of a verified file come from the store, even if the upstream has begun to lie since."""
    release = scene.publish("verified")
    assert scene.ask(release).sha256 == release.sha256
    scene.upstream.script(Behaviour("verified", wrong_byte_at=1000))
    part = fetch(scene.proxy.port, file_url(release), headers={"Range": "bytes=990-1009"}, ca=scene.proxy.ca)
    assert (part.status, part.body) == (206, release.content[990:1010])


# A second mirror

SECOND: Final = (
    "its first byte is wrong",
    "it lacks its last bytes, and the length agrees",
    "it ends before its length",
    "another file comes as gzip",
    "a hotel's log-in page",
    "the continuation is of another span",
    "a redirect to itself",
    "an error",
    "no answer",
)


@pytest.mark.parametrize(
    ("name", "payload_size"),
    # A small file has no middle to be cut in
    [(name, size) for name in SECOND for size in (1000, SIZE) if size == SIZE or "continuation" not in name],
)
def test_the_next_mirror_has_the_right_bytes(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, name: str, payload_size: int
) -> None:
    """`pypi=A B`: A lies and B does not. Where no wrong byte has left the proxy, A's lie is no client's trouble.

    That is so for each lie that the head tells or that is no more than an early end, and for any file no larger than what is held
    back. Else the clients that have wrong bytes are cut, and the next request has the right ones.
    """
    told = LIES[name]
    release = make_wheel("second", payload_size=payload_size)
    a, b = make_upstream(release), make_upstream(release)
    a.script(*told.script("second", release.size))
    proxy = make_proxy(a, b)
    first = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert a.count(method="GET", path_contains=release.filename) >= 1, "A was not asked first"
    no_wrong_byte = told.early or payload_size < SIZE or name in {"it ends before its length", SECOND[5]}
    if no_wrong_byte:
        assert (first.status, first.complete, first.sha256) == (200, True, release.sha256)
    else:
        assert not is_whole(first) or first.sha256 == release.sha256
    again = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (again.status, again.complete, again.sha256) == (200, True, release.sha256)
    assert b.count(method="GET", path_contains=release.filename) >= 1
    assert failures(proxy).keys() & told.reasons
    a.down()
    b.down()
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256, "the right file was not kept"


def test_a_mirror_that_lacks_the_file_is_passed_over(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    release = make_wheel("lacking")
    a, b = make_upstream(), make_upstream(release)
    proxy = make_proxy(a, b)
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
    assert (a.count(status=404), b.count(status=200)) == (1, 1)


def test_only_if_all_lack_it_is_it_a_404(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """One that fails may have it: then nobody knows, and a 404 would send uv to another index."""
    release = make_wheel("nowhere")
    a, b = make_upstream(), make_upstream()
    proxy = make_proxy(a, b)
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).status == 404
    b.script(Behaviour("nowhere", status=503))
    assert fetch(proxy.port, file_url(release), ca=proxy.ca).status in {502, 503, 504}


# Time


@pytest.fixture
def hurried(tmp_path: Path) -> Path:
    """A script whose proxy waits a second where the default is eight, below pip's patience of fifteen."""
    assert READ_SECONDS == SOLE_SOURCE_SECONDS[0] < CLIENT_SECONDS < 15
    patience = {"READ_SECONDS": 1.0, "SOLE_SOURCE_SECONDS": (1.0, 60.0, 60.0)}
    return script_with(tmp_path, {f"engine.upstream.client.{name}": seconds for name, seconds in patience.items()})


def test_an_upstream_that_never_answers(make_proxy: MakeProxy, make_upstream: MakeUpstream, hurried: Path) -> None:
    """An answer in time is better than the client's own time-out: pip and uv are told to ask again, and the next try is theirs."""
    release = make_wheel("silent")
    upstream = make_upstream(release)
    upstream.script(Behaviour("silent", delay=60, times=1))
    proxy = make_proxy(upstream, script=hurried)
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    if answer.status != 200:  # the second try may be just under way
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert answer.sha256 == release.sha256
    assert upstream.count(path_contains=release.filename) == 2


def test_mirrors_that_never_answer(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Where none answers in time the error says so, and names each."""
    release = make_wheel("mute")
    first, second = make_upstream(release), make_upstream(release)
    for upstream in (first, second):
        upstream.script(Behaviour("mute", status=503))
    proxy = make_proxy(first, second)
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert answer.status == 502
    assert all(upstream.origin.encode() in answer.body for upstream in (first, second))


@pytest.mark.parametrize("stall_after", [0, 100_000])
def test_a_mirror_that_stalls_is_left(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, hurried: Path, stall_after: int
) -> None:
    """A stalls before or in the middle of the body; the client sees a pause below its own time-out, and the right bytes."""
    release = make_wheel("stalling", payload_size=SIZE)
    a, b = make_upstream(release), make_upstream(release)
    a.script(Behaviour("stalling", stall_after=stall_after))
    proxy = make_proxy(a, b, script=hurried)
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256)
    assert a.count(path_contains=release.filename) == 1, "the one that stalls was asked again"
    assert failures(proxy)["timeout"] == 1


def test_a_lone_upstream_that_stalls_once_is_resumed(
    make_proxy: MakeProxy, make_upstream: MakeUpstream, hurried: Path
) -> None:
    release = make_wheel("pausing", payload_size=SIZE)
    upstream = make_upstream(release)
    upstream.script(Behaviour("pausing", stall_after=100_000, times=1))
    proxy = make_proxy(upstream, script=hurried)
    answer = fetch(proxy.port, file_url(release), ca=proxy.ca)
    assert (answer.status, answer.complete, answer.sha256) == (200, True, release.sha256)
    resumed = upstream.seen(path_contains=release.filename)[1]
    assert resumed.headers["range"] == "bytes=100000-"
    assert resumed.headers["if-range"]
