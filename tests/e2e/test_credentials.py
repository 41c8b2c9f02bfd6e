"""Private indexes: two users with credentials and one without, and credentials that the operator gave in an option.

Each user sees what the index gave to them and nothing else; a credential goes to the origin that it was meant for and to no other,
and it is written nowhere. The upstreams here accept exactly one `Authorization` at a time and answer all else with a 401.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from tests.support import clients, names
from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.clients import installed
from tests.support.house import ACCEPTS, House, versions_on
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Fetched, Wire

USERS: Final[Mapping[str, str]] = {"alice": "w0nderland", "bob": "bu!lder/4", "operator": "s3same@home"}
"""Who → their password; one with what a URL must quote."""


def basic(user: str) -> str:
    """Their `Authorization` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{USERS[user]}".encode()).decode()


def with_user(url: str, user: str) -> str:
    """A URL with their credentials in it."""
    return url.replace("://", f"://{user}:{quote(USERS[user], safe='')}@")


SECRETS: Final = tuple(
    secret.encode()
    for user, password in USERS.items()
    for secret in (password, quote(password, safe=""), basic(user).removeprefix("Basic ").rstrip("="))
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Indexes `corp` (users bring their credentials), `team` (the same, with a mirror) and `vault` (the operator's)."""

    private: Upstream
    public: Upstream
    mirror: Upstream
    house: House
    proxy: Proxy

    def admits(self, user: str) -> None:
        """From now on the private upstream knows this user only."""
        self.private.unscript()
        self.private.script(Behaviour(".", authorization=basic(user)))

    def url(self, project: str, index: str = "corp") -> str:
        """A page of a private index, as clients name it."""
        return f"{self.private.origin}/{index}/simple/{project}/"

    def file(self, release: ReleaseFile, index: str = "corp", suffix: str = "") -> str:
        """A file there."""
        return f"{self.private.origin}/{index}/{release.quoted_path}{suffix}"

    def get(self, url: str, user: str = "", method: str = "GET", **headers: str) -> Fetched:
        """Ask as somebody, or as nobody in particular."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"Authorization": basic(user)} if user else {}
        return self.house.fetch(url, method=method, headers={"Accept": ACCEPTS["json"], **named})

    def asked(self, text: str) -> int:
        """How often the private upstream was asked for something."""
        return self.private.count(path_contains=text)


@pytest.fixture(scope="module")
def shared(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        private = stack.enter_context(Upstream(ca, prefix="/corp"))
        public, mirror = stack.enter_context(Upstream(ca)), stack.enter_context(Upstream(ca))
        vault = with_user(f"{private.origin}/vault/simple/", "operator")
        options = {
            "pypi_cache_index": [
                f"pypi={public.index_url} {mirror.index_url}",
                f"corp={private.index_url}",
                f"team={private.origin}/team/simple/ {mirror.origin}/team/simple/",
                f"vault={vault}",
            ],
            "pypi_cache_stale_while_revalidate": "0",
        }
        proxy = stack.enter_context(Proxy(tmp_path_factory.mktemp("private"), options=options, upstream_ca=ca.bundle))
        yield Scene(private, public, mirror, House(private, proxy), proxy)
        assert not proxy.complaints, proxy.output
        assert not leaks(proxy), leaks(proxy)


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    for upstream in (shared.private, shared.public, shared.mirror):
        upstream.clear()
    yield shared
    for upstream in (shared.private, shared.public, shared.mirror):
        upstream.unscript()
        upstream.up()
    shared.private.page_cache_control = "max-age=600, public"


def leaks(proxy: Proxy) -> list[str]:
    """Where a credential stands in clear: every byte of every file of the store, the logs, and what the proxy tells of itself."""
    files = [*proxy.store.rglob("*"), proxy.access_log_path, proxy.output_path]
    told = {str(path): path.read_bytes() for path in files if path.is_file()}
    told |= {path: proxy.get(path).body for path in ("/", "/stats", "/metrics", "/healthz", "/env.sh")}
    return [f"{secret!r} in {where}" for where, text in told.items() for secret in SECRETS if secret in text]


# Two users and nobody


@pytest.mark.parametrize("kind", ACCEPTS)
def test_each_sees_their_own_page(kind: str, scene: Scene) -> None:
    """Alice may see version 1.0, Bob 2.0 too; each page is asked for once, and neither is ever given to the other or to nobody."""
    name = f"own-{kind}"
    scene.private.add(make_wheel(name, "1.0"))
    accept = {"Accept": ACCEPTS[kind]}
    url = scene.url(name)
    scene.admits("alice")
    assert versions_on(scene.get(url, "alice", **accept)) == {"1.0"}
    scene.private.add(make_wheel(name, "2.0"))
    scene.admits("bob")
    assert versions_on(scene.get(url, "bob", **accept)) == {"1.0", "2.0"}
    for _ in range(2):
        assert versions_on(scene.get(url, "alice", **accept)) == {"1.0"}
        assert versions_on(scene.get(url, "bob", **accept)) == {"1.0", "2.0"}
    assert scene.asked(name) == 2
    assert "hit" in str(scene.get(url, "alice", **accept).headers["Cache-Status"])
    # At the proxy's own address no login of an index is taken, so a 401 there would ask for one in vain.
    for nobody, status in ((scene.get(url, **accept), 401), (scene.get(f"/corp/simple/{name}/", **accept), 502)):
        assert nobody.status == status
        assert b".whl" not in nobody.body


@pytest.mark.parametrize("path", ["page", "file"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_passes_through_and_is_not_kept(status: int, path: str, scene: Scene) -> None:
    """With its challenge, which pip and uv need in order to go on; and who is let in afterwards is not told of it."""
    release = make_wheel(f"refused{status}{path}")
    scene.private.add(release)
    scene.admits("alice")
    if status == 403:
        scene.private.script(Behaviour(".", status=403, authorization=basic("alice"), times=3))
    url = scene.url(release.project) if path == "page" else scene.file(release)
    user = "alice" if status == 403 else "bob"
    for number in range(3):
        answer = scene.get(url, user)
        assert answer.status == status
        assert answer.headers["WWW-Authenticate"] == ('Basic realm="tests"' if status == 401 else None)
        assert answer.headers["Cache-Control"] == "no-store"
        assert scene.asked(release.project) == number + 1
    if status == 401:
        nobody = scene.get(url)
        assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, 'Basic realm="tests"')
    assert scene.get(url, "alice").status == 200


def test_a_password_that_was_changed(scene: Scene) -> None:
    """A 401 is no failure that a stale page may stand in for (RFC 5861 §4): whoever is shut out is shut out."""
    name = "shut-out"
    scene.private.add(make_wheel(name))
    scene.private.page_cache_control = "max-age=3600"
    scene.admits("alice")
    assert scene.get(scene.url(name), "alice").status == 200
    scene.admits("bob")
    scene.proxy.lapse()
    assert scene.get(scene.url(name), "alice").status == 401
    scene.private.down()
    outage = scene.get(scene.url(name), "alice")
    assert (outage.status, outage.headers["Cache-Control"]) == (200, "no-store")


VALUES: Final = ("Basic bm9ib2R5Om5vdGhpbmc=", "Bearer x", "basic Zm9vOg==", 'Digest username="x"', "nonsense", "Basic")


def entries(scene: Scene) -> int:
    """How many entries the store has, all that is pending written."""
    time.sleep(0.3)
    return int(json.loads(scene.proxy.get("/stats").body)["store"]["entries"])


@pytest.mark.parametrize("known", ["by its page's digest", "by its URL"])
def test_a_public_file_is_for_all(known: str, scene: Scene) -> None:
    """What was fetched without credentials is served from one place, whatever `Authorization` a client sends: one download, one copy."""
    release = make_wheel(f"public-{len(known)}", payload_size=100_000)
    scene.private.add(release)
    if "page" in known:
        assert scene.get(scene.url(release.project)).status == 200
    for suffix in ("", ".metadata"):
        assert scene.get(scene.file(release, suffix=suffix)).status == 200
    asked, kept = scene.asked("/packages/"), entries(scene)
    for value in VALUES:
        for suffix, content in (("", release.content), (".metadata", release.metadata)):
            url = scene.file(release, suffix=suffix)
            whole = scene.get(url, Authorization=value)
            assert (whole.status, whole.body == content) == (200, True)
            assert "; hit" in (whole.headers["Cache-Status"] or "")
            assert scene.get(url, method="HEAD", Authorization=value).status == 200
            part = scene.get(url, Authorization=value, Range="bytes=3-9")
            assert (part.status, part.body) in {(206, content[3:10]), (200, content)}, (
                "metadata out of a wheel is whole"
            )
    assert scene.asked("/packages/") == asked
    assert entries(scene) == kept


def test_the_origin_decides_what_is_not_public_yet(scene: Scene) -> None:
    """Each credential has its own space until somebody has fetched the file without any."""
    release = make_wheel("undecided", payload_size=100_000)
    scene.private.add(release)
    url = scene.file(release)
    for value in VALUES[:2] * 2:
        assert scene.get(url, Authorization=value).sha256 == release.sha256
    sent = [each.headers.get("authorization") for each in scene.private.seen(path_contains="undecided")]
    assert sent == list(VALUES[:2])
    assert scene.get(url).sha256 == release.sha256
    for value in VALUES:
        assert scene.get(url, Authorization=value).sha256 == release.sha256
    assert scene.asked("undecided") == 3


def test_a_public_file_that_is_on_its_way(scene: Scene) -> None:
    """Whoever comes with credentials joins the download that was begun without, and so does a range near its end."""
    release = make_wheel("on-its-way", payload_size=400_000)
    scene.private.add(release)
    url, gate = scene.file(release), threading.Event()
    scene.private.script(Behaviour("on_its_way", stall_after=200_000, gate=gate))
    with ExitStack() as stack:
        stack.callback(gate.set)
        headers = [{}, *({"Authorization": value} for value in VALUES[:3])]
        wires = []
        for each in headers:
            wires.append(stack.enter_context(Wire(scene.proxy.port, url, ca=scene.proxy.ca)))
            wires[-1].send(url, headers=each)
            scene.private.wait_until(
                lambda: any(seen.bytes_sent for seen in scene.private.seen(path_contains="on_its_way"))
            )
        time.sleep(0.2)
        gate.set()
        assert [wire.receive().sha256 for wire in wires] == [release.sha256] * len(wires)
    assert scene.asked("on_its_way") == 1


def test_a_range_that_is_public(scene: Scene) -> None:
    """Ranges that were read without credentials are for all, too."""
    release = make_wheel("public-range", payload_size=400_000)
    scene.private.add(release)
    assert scene.get(scene.url(release.project)).status == 200
    for_all = lambda: scene.get(scene.file(release), Range="bytes=-1000")  # noqa: E731
    assert for_all().status == 206
    eventually(for_all, lambda answer: "; hit" in str(answer.headers["Cache-Status"]))
    asked = scene.asked("/packages/")
    for value in VALUES:
        answer = scene.get(scene.file(release), Range="bytes=-500", Authorization=value)
        assert (answer.status, answer.body) == (206, release.content[-500:])
    assert scene.asked("/packages/") == asked


def test_each_has_their_own_files(scene: Scene) -> None:
    """Who knows a private file's address, or its digest, has nothing from it without the credentials."""
    release = make_wheel("own-files")
    scene.private.add(release)
    scene.admits("alice")
    for suffix in ("", ".metadata"):
        for _ in range(2):
            answer = scene.get(scene.file(release, suffix=suffix), "alice")
            assert answer.body == (release.metadata if suffix else release.content)
        assert scene.get(scene.file(release, suffix=suffix), "alice", method="HEAD").status == 200
        assert scene.get(scene.file(release, suffix=suffix), "alice", Range="bytes=0-9").status == 206
    assert scene.house.file_requests(release) == 1
    host = f"{scene.private.origin}/{release.quoted_path}".replace("://", "/")
    for suffix in ("", ".metadata"):
        for url in (
            scene.file(release, suffix=suffix),
            f"/corp/files/{host.replace('/packages', '/corp/packages')}{suffix}",
            f"/corp/files/{host}{suffix}",
            f"/pypi/{release.quoted_path}{suffix}",
            names.file_url(release, suffix),
            scene.public.file_url(release, suffix),
            scene.file(release, "team", suffix),
        ):
            for user in ("", "bob"):
                if user and url == names.file_url(release, suffix):
                    continue  # it would be asked of the real host
                for method in ("GET", "HEAD"):
                    answer = scene.get(url, user, method=method)
                    assert answer.status in {401, 403, 404, 502}, (url, user, method)
                    assert answer.body not in {release.content, release.metadata}
                assert scene.get(url, user, Range="bytes=0-9").status in {401, 403, 404, 502}


def test_a_fill_is_not_shared(scene: Scene) -> None:
    """Bob, who is not let in, does not follow the file that is growing for Alice."""
    release = make_wheel("growing", payload_size=900_000)
    scene.private.add(release)
    scene.admits("alice")
    scene.private.script(Behaviour(r"growing.*\.whl$", pace=600_000))
    with Wire(scene.proxy.port, scene.url("growing"), ca=scene.proxy.ca) as wire:
        wire.send(scene.file(release), headers={"Authorization": basic("alice")})
        scene.private.wait_for(1, path_contains=release.filename)
        assert scene.get(scene.file(release), "bob").status == 401
        assert scene.get(scene.file(release)).status == 401
        assert wire.receive().sha256 == release.sha256


def test_a_private_file_is_verified(scene: Scene) -> None:
    """By the digest of the page that its user saw: a wrong one is completed at no client, and not stored."""
    release = make_wheel("held-against-it", payload_size=200_000)
    scene.private.add(release)
    scene.admits("alice")
    assert scene.get(scene.url("held-against-it"), "alice").status == 200
    scene.private.script(Behaviour(r"held.*\.whl$", wrong_byte_at=150_000, times=1))
    wrong = scene.get(scene.file(release), "alice")
    assert not (wrong.status == 200 and wrong.complete)
    right = scene.get(scene.file(release), "alice")
    assert (right.status, right.sha256) == (200, release.sha256)
    # Until it is committed its tag is the attempt's, and then the digest
    tag = f'"sha256:{release.sha256}"'
    eventually(lambda: scene.get(scene.file(release), "alice", method="HEAD").headers["ETag"] == tag)


def test_spaces_outlive_a_restart(scene: Scene) -> None:
    release = make_wheel("after-restart")
    scene.private.add(release)
    scene.admits("alice")
    page = scene.get(scene.url("after-restart"), "alice")
    assert scene.get(scene.file(release), "alice").sha256 == release.sha256
    scene.proxy.restart()
    scene.private.down()
    assert scene.get(scene.url("after-restart"), "alice").body == page.body
    assert scene.get(scene.file(release), "alice").sha256 == release.sha256
    for user in ("", "bob"):
        assert scene.get(scene.url("after-restart"), user).status == 503
        assert scene.get(scene.file(release), user).status == 503
    assert (scene.proxy.store / "secret").stat().st_mode & 0o777 == 0o600


# No credential where it does not belong


@pytest.mark.parametrize("how", ["well", "down", "500", "404", "401"])
def test_a_mirror_never_sees_a_credential(how: str, scene: Scene) -> None:
    """With credentials nobody is asked but the index that the client named, whether it answers or not."""
    for index, first, second in (("team", scene.private, scene.mirror), ("pypi", scene.public, scene.mirror)):
        release = make_wheel(f"named-{index}-{how}")
        first.add(release)
        second.add(release)
        if how == "down":
            first.down()
        elif how != "well":
            first.script(Behaviour(".", status=int(how)))
        expected = {"well": {200}, "down": {503}, "500": {502}, "404": {404, 502}, "401": {401}}[how]
        for url in (
            f"{first.origin}/{index}/simple/{release.project}/",
            f"{first.origin}/{index}/{release.quoted_path}",
        ):
            assert scene.get(url, "alice").status in expected
            assert scene.get(url, "alice", method="HEAD").status in expected
        assert second.count() == 0
        first.up()
        first.unscript()


def test_a_redirect_does_not_take_a_credential_along(scene: Scene) -> None:
    """Users' and the operator's alike: it was meant for one origin."""
    for index, user in (("corp", "alice"), ("vault", "")):
        release = make_wheel(f"moved-{index}")
        scene.public.add(release)
        scene.private.script(
            Behaviour(f"/{index}/simple/moved", redirect=scene.public.page_url(release.project)),
            Behaviour(rf"/{index}/packages/.*moved", redirect=scene.public.file_url(release)),
        )
        assert scene.get(scene.url(release.project, index), user).status == 200
        assert scene.get(scene.file(release, index), user).sha256 == release.sha256
        assert all("authorization" in each.headers for each in scene.private.seen(path_contains=f"/{index}/"))
    assert scene.public.count() == 4
    assert not [each for each in scene.public.requests if "authorization" in each.headers]


# The operator's credentials


def test_credentials_of_the_option(scene: Scene, tmp_path: Path) -> None:
    """Agents need none: the proxy has them, and what it fetched with them is for everybody."""
    release = make_wheel("treasure")
    scene.private.add(release)
    scene.admits("operator")
    for url in (scene.url("treasure", "vault"), "/vault/simple/treasure/"):
        page = scene.get(url)
        assert versions_on(page) == {"1.0"}
        assert not [secret for secret in SECRETS if secret in page.body]
    assert scene.get(scene.file(release, "vault")).sha256 == release.sha256
    assert scene.asked("treasure") == 2
    assert {each.headers["authorization"] for each in scene.private.requests} == {basic("operator")}
    scene.private.down()
    home = tmp_path / "home"
    home.mkdir()
    bundle = str(scene.proxy.bundle)
    env = {"HTTPS_PROXY": scene.proxy.url, "PIP_CERT": bundle}
    args = ["-i", f"{scene.private.origin}/vault/simple/", "--no-deps"]
    clients.pip_install(home, ["treasure"], tmp_path / "target", args=args, env=env).ok()
    assert installed(tmp_path / "target") == {"treasure": "1.0"}


@pytest.mark.parametrize("how", ["down", "500", "401", "dropped", "a redirect loop", "no page"])
def test_no_error_tells_the_options_credentials(how: str, scene: Scene) -> None:
    name = f"untold-{how.replace(' ', '-')}"
    release = make_wheel(name)
    scene.private.add(release)
    match how:
        case "down":
            scene.private.down()
        case "dropped":
            scene.private.script(Behaviour(".", drop=True))
        case "a redirect loop":
            scene.private.script(Behaviour(".", redirect_loop=True))
        case "no page":
            scene.private.script(Behaviour(".", body=b"[]"))
        case _:
            scene.private.script(Behaviour(".", status=int(how)))
    for url in (scene.url(name, "vault"), f"/vault/simple/{name}/", scene.file(release, "vault"), "/vault/simple/"):
        answer = scene.get(url)
        assert answer.status != 200 or (how == "no page" and "simple" not in url) or url == "/vault/simple/"
        told = answer.body + str(answer.headers).encode()
        assert not [secret for secret in SECRETS if secret in told], told
        assert b"operator" not in told, told
    assert not leaks(scene.proxy)


def test_the_users_own_credentials_win(scene: Scene) -> None:
    """Who brings their own to an index of the operator's is asked for with these."""
    scene.private.add(make_wheel("mine"))
    scene.admits("alice")
    assert scene.get(scene.url("mine", "vault"), "alice").status == 200
    assert scene.get(scene.url("mine", "vault")).status == 401  # the operator's are no good just now
    assert [each.headers["authorization"] for each in scene.private.requests] == [basic("alice"), basic("operator")]


# Real clients


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_credentials_in_the_clients_index_url(tool: str, scene: Scene, tmp_path: Path) -> None:
    """Cold; then a new agent with the index down; and an agent with other credentials, or none, has nothing of it."""
    leaf = make_wheel(f"leaf-{tool}")
    stem = make_wheel(f"stem-{tool}", requires=[leaf.project])
    scene.private.add(leaf, stem)
    scene.admits("alice")
    bundle = str(scene.proxy.bundle)
    env = {"HTTPS_PROXY": scene.proxy.url, "PIP_CERT": bundle, "SSL_CERT_FILE": bundle}
    install = clients.pip_install if tool == "pip" else clients.uv_install

    def agent(name: str, user: str) -> clients.Result:
        home = tmp_path / f"{name}-home"
        home.mkdir()
        index = with_user(scene.private.index_url, user) if user else scene.private.index_url
        return install(home, [stem.project], tmp_path / name, args=["--index-url", index], env=env)

    agent("cold", "alice").ok()
    assert installed(tmp_path / "cold") == {leaf.project: "1.0", stem.project: "1.0"}
    assert scene.house.file_requests(leaf) == scene.house.file_requests(stem) == 1
    agent("nobody", "").failed()
    agent("other", "bob").failed()
    if tool == "pip":  # uv asks without credentials first, and needs the index's own 401 to go on with them
        scene.private.down()
    agent("warm", "alice").ok()
    assert installed(tmp_path / "warm") == {leaf.project: "1.0", stem.project: "1.0"}
    assert scene.house.file_requests(leaf) == scene.house.file_requests(stem) == 1


def test_nothing_is_written_in_clear(scene: Scene) -> None:
    """After all of it: not in the store, the logs, `/stats` or any other page of the proxy's own; and the search can find."""
    release = make_wheel("written")
    scene.private.add(release)
    for user in ("alice", "bob"):
        scene.admits(user)
        assert scene.get(scene.url("written"), user).status == 200
        assert scene.get(scene.file(release), user).sha256 == release.sha256
    scene.proxy.restart()  # whatever is held back is written by now
    assert not leaks(scene.proxy)
    (scene.proxy.store / "planted").write_bytes(b"Authorization: " + basic("bob").encode())
    try:
        assert leaks(scene.proxy)
    finally:
        (scene.proxy.store / "planted").unlink()
