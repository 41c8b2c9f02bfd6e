"""What servers do that pip and uv put up with directly, and so must the proxy: heads, refusals, cookies, User-Agents, addresses.

Each row has the shape of a report. Whatever is odd, a client gets the page and the file that it would have got without the proxy, or
the same refusal.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, Literal

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import ACCEPTS, House, open_house, published, slug, tidied
from tests.support.index import JSON_TYPE, project_json
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_sdist, make_wheel

CORP: Final = "/corp/simple/"
PIP: Final = 'pip/26.3 {"ci":true,"cpu":"x86_64"}'


@pytest.fixture(scope="module")
def open_for_all(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """`pypi` behind a mirror, and `corp` at its own URL."""
    with open_house(ca, tmp_path_factory.mktemp("odd"), more_indexes=[f"corp={CORP}"]) as house:
        yield house


@pytest.fixture
def house(open_for_all: House) -> Iterator[House]:
    with tidied(open_for_all) as house:
        yield house


def page_url(house: House, project: str) -> str:
    return f"{house.upstream.origin}{CORP}{project}/"


def file_url(house: House, release: ReleaseFile) -> str:
    return f"{house.upstream.origin}/corp/{release.quoted_path}"


def raw(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """A response as these lines say, then its body; the connection is closed after it."""
    return f"HTTP/1.1 {status}\r\n{''.join(f'{line}\r\n' for line in lines)}\r\n".encode("latin-1") + body


# Heads

LONG: Final = "x" * 12_000
HEADS: Final = {
    "two equal Content-Lengths": ["Content-Length: {n}", "Content-Length: {n}"],
    "a list of equal Content-Lengths": ["Content-Length: {n}, {n}"],
    "Content-Length beside Transfer-Encoding": ["Content-Length: {n}", "Transfer-Encoding: chunked"],
    "Transfer-Encoding beside Content-Length": ["Transfer-Encoding: chunked", "Content-Length: 7"],
    "Transfer-Encoding: identity": ["Transfer-Encoding: identity", "Content-Length: {n}"],
    "no length": [],
    "an empty Content-Length": ["Content-Length:"],
    "a blank before the colon": ["Server : x", "Content-Length: {n}"],
    "a name that is no token": ["Powered By: x", "Content-Length: {n}"],
    "12 kB in a line": [f"X-Policy: {LONG}", "Content-Length: {n}"],
    "12 kB in many lines": [*(f"X-{number}: {LONG[:100]}" for number in range(100)), "Content-Length: {n}"],
    "an interim response": ["Link: </x>", "", "HTTP/1.1 200 OK", "Content-Type: {type}", "Content-Length: {n}"],
}


@pytest.mark.parametrize("shape", HEADS)
def test_heads(shape: str, house: House) -> None:
    release = make_wheel(slug(shape), payload_size=100_000)
    house.upstream.add(release)
    page = project_json(release.project, [release], page_url(house, release.project))
    for match, body, kind in [
        (f"/simple/{release.project}/", page, JSON_TYPE),
        (r"\.whl$", release.content, "binary/octet-stream"),
    ]:
        lines = [line.format(n=len(body), type=kind) for line in HEADS[shape]]
        chunked = any("chunked" in line for line in lines)
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        status = "103 Early Hints" if "" in lines else "200 OK"
        typed = lines if "" in lines else [f"Content-Type: {kind}", *lines]
        house.upstream.script(Behaviour(match, raw=raw(sent, *typed, status=status)))
    assert house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE}).status == 200
    got = house.fetch(file_url(house, release))
    assert (got.status, got.sha256, got.complete) == (200, release.sha256, True)
    assert house.fetch(file_url(house, release)).sha256 == release.sha256
    assert house.upstream.count(path_contains=release.filename) == 1, "it is cached"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 7"],
        ["Content-Length: 5, 7"],
        [f"X: {'x' * 70_000}", "Content-Length: 5"],
        [*(f"X-{number}: y" for number in range(400)), "Content-Length: 5"],
    ],
    ids=["two lengths", "a list of two lengths", "70 kB", "400 fields"],
)
def test_heads_that_are_refused(lines: list[str], house: House) -> None:
    """RFC 9112 §6.3: of two lengths nobody knows the right one. Heads are bounded."""
    house.upstream.script(Behaviour("/refused/", raw=raw(b"<a>x", f"Content-Type: {JSON_TYPE}", *lines)))
    assert house.fetch(page_url(house, "refused")).status == 502


# Pages


def test_files_and_listings_beside_the_projects(house: House) -> None:
    """torch's layout: files directly below the index's URL, with a listing for `--find-links` beside the projects' pages."""
    release = make_wheel("nvidia-flat")
    house.upstream.serve(f"{CORP}{release.filename}", release.content)
    house.upstream.serve(f"{CORP}{release.filename}.metadata", release.metadata)
    listing = f'<a href="{release.filename}#sha256={release.sha256}">{release.filename}</a><br>'.encode()
    house.upstream.serve(f"{CORP}links.html", listing, "text/html")
    index = f"{house.upstream.origin}{CORP}"
    assert house.fetch(f"{index}links.html").body == listing
    for _ in range(2):
        assert house.fetch(f"{index}{release.filename}").sha256 == release.sha256
    assert house.fetch(f"{index}{release.filename}.metadata").body == release.metadata
    assert house.upstream.count(path_contains=f"{release.filename}") == 2, "the file is cached"


PAGES_WITHOUT_FILES: Final = {
    "vcs": b'<a href="git+https://git.test/six@main#egg=six">six</a>',
    "autoindex": b"<html><head><title>Index of /six/</title></head><body><h1>Index of /six/</h1><a href=../>../</a>",
    "empty": b"",
    "heading": b'<h1 class="title">Links for six</h1>',
}


@pytest.mark.parametrize("shape", PAGES_WITHOUT_FILES)
@pytest.mark.parametrize("kind", ["json", "html"])
def test_pages_without_files(shape: str, kind: str, house: House) -> None:
    """pip and uv find no version there, and go on to the next index; a 502 stops them."""
    house.upstream.serve(f"{CORP}none-{shape}/", PAGES_WITHOUT_FILES[shape], "text/html")
    page = house.fetch(page_url(house, f"none-{shape}"), headers={"Accept": ACCEPTS[kind]})
    assert page.status == 200
    assert kind != "html" or page.body == PAGES_WITHOUT_FILES[shape]


@pytest.mark.parametrize("coding", ["none", "utf-8", "aws-chunked", "", "identity"])
def test_a_coding_that_is_none(coding: str, house: House) -> None:
    release = published(house.upstream, f"coded-{slug(coding) or 'empty'}", 300)
    house.upstream.script(Behaviour("/simple/", headers={"Content-Encoding": coding}))
    page = house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE})
    assert (page.status, page.headers["Content-Encoding"]) == (200, None)


def test_more_than_one_gzip_member(house: House) -> None:
    """Both are the page; and one that is cut, or has something else behind it, is no page and not a shorter one."""
    release = make_wheel("members")
    page = project_json("members", [release], page_url(house, "members"))
    halves = gzip.compress(page[:100]) + gzip.compress(page[100:])
    for body, status in ((halves[:-1], 502), (halves + b"<a>", 502), (halves, 200)):
        house.upstream.serve(f"{CORP}members/", body, JSON_TYPE, Content_Encoding="gzip")
        got = house.fetch(page_url(house, "members"), headers={"Accept": JSON_TYPE})
        assert got.status == status, got.body
    assert [file["filename"] for file in json.loads(got.body)["files"]] == [release.filename]


# Files of which only the end tells

CODINGS: Final = ("gzip", "x-gzip", "GZIP", "", "identity", "none", "utf-8", "aws-chunked", "aws-chunked, gzip")


@pytest.mark.parametrize("knows_digest", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [300, 300_000])
def test_an_sdist_that_says_it_is_compressed(coding: str, size: int, house: House, *, knows_digest: bool) -> None:
    """It is, and is sent as it is: pip hashes it so. By its digest, or else by its first bytes."""
    release = sdist(house, f"sdist-{CODINGS.index(coding)}-{size}-{knows_digest}", size, knows_digest=knows_digest)
    house.upstream.script(Behaviour(r"\.tar\.gz$", headers={"Content-Encoding": coding}))
    for _ in range(2):
        got = house.fetch(file_url(house, release))
        assert (got.status, got.sha256, got.headers["Content-Encoding"]) == (200, release.sha256, None), got.body[:300]
        assert got.headers["Content-Length"] == str(release.size)
    assert house.upstream.count(path_contains=release.filename) == 1


def sdist(house: House, name: str, size: int, *, knows_digest: bool) -> ReleaseFile:
    """An sdist on the upstream; its digest is known once its page is."""
    release = make_sdist(slug(name))
    release = replace(release, **content_of(release.content + bytes(0 if size < 1000 else size)))
    house.upstream.add(release)
    if knows_digest:
        assert house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE}).status == 200
    return release


def content_of(data: bytes) -> dict[str, Any]:
    blake2b = hashlib.blake2b(data, digest_size=32).hexdigest()
    return {"data": data, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "blake2b": blake2b}


@pytest.mark.parametrize("knows_digest", [True, False])
@pytest.mark.parametrize("gzipped", [True, False])
def test_a_file_that_is_compressed_or_called_a_page(house: House, *, gzipped: bool, knows_digest: bool) -> None:
    release = published(house.upstream, f"odd-file-{gzipped}-{knows_digest}".lower(), 300_000)
    if knows_digest:
        assert house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE}).status == 200
    odd = {"gzip": True} if gzipped else {"headers": {"Content-Type": "text/html"}}
    house.upstream.script(Behaviour(r"\.whl$", **odd))  # type: ignore[arg-type]
    url = file_url(house, release)
    head = house.fetch(url, method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(release.size))
    part = house.fetch(url, headers={"Range": "bytes=-100"})
    assert (part.status, part.body) == (206, release.content[-100:])
    got = house.fetch(url)
    assert (got.status, got.sha256) == (200, release.sha256), got.body[:300]
    assert house.upstream.count(method="GET", path_contains=release.filename) == 1


@pytest.mark.parametrize("knows_digest", [True, False])
def test_a_portal_is_no_file(house: House, *, knows_digest: bool) -> None:
    release = published(house.upstream, f"portal-{knows_digest}".lower(), 300_000)
    if knows_digest:
        assert house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE}).status == 200
    house.upstream.script(Behaviour(r"\.whl$", captive=True))
    answer = house.fetch(file_url(house, release))
    assert (answer.status, b"captive portal" in answer.body) == (502, True)
    house.upstream.unscript()
    assert house.fetch(file_url(house, release)).sha256 == release.sha256


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_a_size_that_is_not_the_files(by: int, framing: Literal["length", "chunked"], house: House) -> None:
    """Neither pip nor uv looks at a page's `size`: the digest decides."""
    release = published(house.upstream, f"size-{slug(by)}-{by > 0}-{framing}".lower(), 300_000)
    listed = replace(release, size=release.size + by)
    page = project_json(release.project, [listed], page_url(house, release.project))
    house.upstream.serve(f"{CORP}{release.project}/", page, JSON_TYPE)
    assert house.fetch(page_url(house, release.project), headers={"Accept": JSON_TYPE}).status == 200
    house.upstream.script(Behaviour(r"\.whl$", framing=framing))
    got = house.fetch(file_url(house, release))
    assert (got.status, got.sha256, got.complete) == (200, release.sha256, True), got.body[:300]


# HEAD


@pytest.mark.parametrize("status", [400, 403, 405, 406, 500, 501])
@pytest.mark.parametrize("size", [300, 300_000])
def test_an_upstream_that_knows_no_head(status: int, size: int, house: House) -> None:
    """Azure Artifacts answers 405, signed URLs 403: uv falls back to GET there, and gives up at a 502."""
    release = published(house.upstream, f"no-head-{status}-{size}", size)
    house.upstream.script(Behaviour(r"\.whl$", methods=("HEAD",), status=status))
    answer = house.fetch(file_url(house, release), method="HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(release.size))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert [each.method for each in house.upstream.seen(path_contains=release.filename)] == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("status", "passed"), [(401, 401), (404, 404), (410, 404), (451, 451), (429, 429), (502, 502), (503, 502)]
)
def test_a_head_that_says_what_a_get_would(status: int, passed: int, house: House) -> None:
    release = published(house.upstream, f"head-{status}", 300)
    house.upstream.script(Behaviour(r"\.whl$", methods=("HEAD",), status=status))
    assert house.fetch(file_url(house, release), method="HEAD").status == passed
    assert house.upstream.count(method="GET", path_contains=release.filename) == 0


def test_neither_head_nor_get(house: House) -> None:
    release = published(house.upstream, "neither-head-nor-get", 300)
    house.upstream.script(Behaviour(r"\.whl$", status=405))
    assert house.fetch(file_url(house, release), method="HEAD").status == 502


# When to come again

REQUESTS: Final = {
    "page": ("page", "GET", {"Accept": JSON_TYPE}),
    "HEAD of a page": ("page", "HEAD", {"Accept": JSON_TYPE}),
    "file": ("file", "GET", {}),
    "HEAD of a file": ("file", "HEAD", {}),
    "range": ("file", "GET", {"Range": "bytes=0-9"}),
}


@pytest.mark.parametrize(
    ("status", "retry_after", "passed", "seconds"),
    [
        (429, "17", 429, "17"),
        (503, "17", 503, "17"),
        (503, "0", 503, "0"),
        (429, None, 429, None),
        (503, None, 502, None),
        (503, "Thu, 01 Jan 1970 00:00:00 GMT", 503, "0"),
        (503, "soon", 502, None),
    ],
)
@pytest.mark.parametrize("asked", REQUESTS)
def test_retry_after(
    asked: str, status: int, retry_after: str | None, passed: int, seconds: str | None, house: House
) -> None:
    """pip and uv wait as they are told; and an upstream that asks for it is no dead host, so it is asked at once afterwards."""
    what, method, headers = REQUESTS[asked]
    release = published(house.upstream, f"later-{slug(asked)}-{status}-{slug(retry_after)}", 300)
    url = page_url(house, release.project) if what == "page" else file_url(house, release)
    house.upstream.script(Behaviour(".", status=status, headers={"Retry-After": retry_after} if retry_after else {}))
    for _ in range(3):
        answer = house.fetch(url, method=method, headers=headers)
        assert (answer.status, answer.headers["Retry-After"]) == (passed, seconds)
    assert ("index corp" in health(house)) is (passed == 502)
    house.upstream.unscript()
    assert house.fetch(url, method=method, headers=headers).status in {200, 206}


def health(house: House) -> dict[str, str]:
    """The problems of the moment, by component."""
    found = json.loads(house.fetch("/healthz").body)["trouble"]
    assert isinstance(found, dict)
    return found


# Logins


def test_all_challenges_pass(house: House) -> None:
    """Azure Artifacts sends three, and a field of its own that its keyring looks for."""
    challenges = ["Bearer authorization_uri=https://login.test/", 'Basic realm="corp"', "TFS-Federated"]
    lines = [*(f"WWW-Authenticate: {each}" for each in challenges), "X-TFS-Realm: x", "Set-Cookie: a=b"]
    answer = raw(b"log in", *lines, "Content-Type: text/plain", "Content-Length: 6", status="401 Unauthorized")
    house.upstream.script(Behaviour("/corp/", raw=answer))
    for url in (page_url(house, "shut"), f"{house.upstream.origin}/corp/{make_wheel('shut').quoted_path}"):
        for method in ("GET", "HEAD"):
            got = house.fetch(url, method=method)
            assert (got.status, got.headers.get_all("WWW-Authenticate")) == (401, challenges)
            assert (got.headers["X-TFS-Realm"], got.headers["Set-Cookie"]) == ("x", None)
            assert got.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_mirror_that_wants_a_login(house: House) -> None:
    """pip would ask a person for a password of the default index. It is a 502 that names the mirror, and /healthz says so."""
    release = published(house.upstream, "shut-out", 300)
    house.upstream.script(Behaviour(".", status=401, headers={"WWW-Authenticate": "Basic"}))
    refused = house.page(release.project)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (502, None)
    assert house.upstream.index_url in refused.body.decode()
    (line,) = [line for component, line in health(house).items() if component.startswith("mirror ")]
    assert house.upstream.index_url in line
    assert "pypi_cache_index" in line
    # A client's own wrong login at the mirror's own URL says nothing of the operator's.
    house.upstream.unscript()
    assert house.page(release.project).status == 200
    assert not health(house)
    house.upstream.script(Behaviour(".", status=401, headers={"WWW-Authenticate": "Basic"}))
    own = house.fetch(house.upstream.page_url("shut-out-2"), headers={"Authorization": "Basic d3Jvbmc6"})
    assert (own.status, health(house)) == (401, {})


# Cookies


def test_cookies_of_a_redirect(house: House) -> None:
    """A load balancer redirects to the same URL until its cookie comes back. It is for that one request's way alone."""
    release = published(house.upstream, "cookies", 300)
    at_start = Behaviour(
        "/cookies/", times=1, redirect=page_url(house, "cookies"), headers={"Set-Cookie": "lb=17; Path=/"}
    )
    house.upstream.script(at_start)
    assert house.fetch(page_url(house, "cookies")).status == 200
    house.upstream.script(
        Behaviour(r"cookies.*\.whl$", times=1, redirect=file_url(house, release) + "?x", headers={"Set-Cookie": "a=b"})
    )
    assert house.fetch(file_url(house, release)).status == 200
    house.fetch(page_url(house, "cookies-no-more"))
    sent = [each.headers.get("cookie") for each in house.upstream.requests]
    assert sent == [None, "lb=17", None, "a=b", None]


def test_cookies_stay_with_their_host(house: House, ca: Authority) -> None:
    with Upstream(ca, prefix="/corp") as other:
        other.add(make_wheel("leak"))
        target = f"https://127.0.0.1:{other.port}{CORP}leak/"
        house.upstream.script(Behaviour("/leak/", redirect=target, headers={"Set-Cookie": "lb=17; Path=/"}))
        house.fetch(page_url(house, "leak"))
        assert not any("cookie" in each.headers for each in other.requests)


# User-Agent


@pytest.mark.parametrize(
    ("user_agent", "sent"),
    [
        (PIP, "pip/26.3 pypi-cache"),
        ("uv/0.13.9 {}", "uv/0.13.9 pypi-cache"),
        ("poetry/2.2.1 CPython/3.13", "poetry/2.2.1 pypi-cache"),
        ("Mozilla/5.0 (X11)", "pypi-cache"),
        ("", "pypi-cache"),
    ],
)
def test_what_an_upstream_is_told_of_the_client(user_agent: str, sent: str, house: House) -> None:
    release = published(house.upstream, f"agent-{slug(user_agent) or 'none'}", 300)
    for url, method, headers in [
        (page_url(house, release.project), "GET", {}),
        (file_url(house, release), "HEAD", {}),
        (file_url(house, release), "GET", {"Range": "bytes=0-9"}),
        (file_url(house, release), "GET", {}),
    ]:
        assert house.fetch(url, method=method, headers={"User-Agent": user_agent, **headers}).status in {200, 206}
    assert {each.headers["user-agent"] for each in house.upstream.requests} == {sent}
    assert len(house.upstream.requests) == 4


# Private addresses


def test_a_private_host_under_another_port(house: House, ca: Authority) -> None:
    """TLS in front of an index links to its files at another port: the log and the answer say what lets them be fetched."""
    with Upstream(ca, prefix="/files") as files:
        release = make_wheel("elsewhere")
        files.add(release)
        link = f"{files.origin}/files/{release.quoted_path}"
        page = f'<!doctype html><title>Links</title><a href="{link}#sha256={release.sha256}">{release.filename}</a>'
        house.upstream.serve(f"{CORP}elsewhere/", page.encode(), "text/html")
        assert house.fetch(page_url(house, "elsewhere")).status == 200
        cure = f"pypi_cache_file_hosts=localhost:{files.port}"
        answer = house.fetch(link)
        assert answer.status == 502
        assert cure in answer.body.decode()
        assert f"opened from now on (if its address is private: only with {cure})" in house.proxy.output
        assert not files.requests
