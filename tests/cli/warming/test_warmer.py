"""What `warm` reads in an index page, which files of a package it fetches, and what becomes of each request."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from pkgcache.cli.progress_bar import bar
from pkgcache.cli.proxy_client import ProxyClient
from pkgcache.cli.warming import warmer as warming
from pkgcache.cli.warming.environments import environments
from pkgcache.cli.warming.lock_model import LockedFile, Package
from pkgcache.cli.warming.warmer import FetchItem, Listed, Outcome, Warmer, chosen_files, page_wanted, read_page
from pkgcache.engine.pages.stored_page import MAX_STORED
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple import transform
from pkgcache.rules.simple.conversion import html_to_json
from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.representations import Representation
from tests.cli.peers import Peer, http

WHEEL = "one-1.0-py3-none-any.whl"
URL = "https://index.example/simple/one/"
LINUX = environments(["3.12"], ["manylinux_2_28_x86_64"])[0]


def page(*files: dict[str, Any]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "one", "files": files}).encode()


def entry(**more: Any) -> dict[str, Any]:
    return {"filename": WHEEL, "url": f"../../{WHEEL}", "hashes": {}, **more}


# Core metadata (PEP 658, 714): what `warm` fetches is what the proxy says that there is

NEW, OLD = "core-metadata", "dist-info-metadata"
HASHES = {"sha256": "ab"}
OF_JSON = [
    ({}, False),
    ({NEW: True}, True),
    ({NEW: False}, False),
    ({NEW: None}, False),
    ({NEW: {}}, True),  # hashes, but none: it is there all the same
    ({NEW: HASHES}, True),
    ({OLD: True}, True),
    ({OLD: False}, False),
    ({OLD: {}}, True),
    ({OLD: HASHES}, True),
    ({NEW: None, OLD: HASHES}, True),
    ({NEW: None, OLD: {}}, True),
    ({NEW: False, OLD: HASHES}, False),  # PEP 714: the new name wins
    ({NEW: True, OLD: False}, True),
    ({NEW: {}, OLD: False}, True),
    ({NEW: HASHES, OLD: HASHES}, True),
]


@pytest.mark.parametrize(("said", "there"), OF_JSON, ids=str)
def test_core_metadata_in_json(said: dict[str, Any], there: bool) -> None:
    body = page(entry(**said))
    (link,) = read_json(body).links
    assert (link.core_metadata is not False) is there
    assert read_page(body, URL)[WHEEL].has_metadata is there


@pytest.mark.parametrize(
    ("attributes", "there"),
    [
        ("", False),
        ('data-core-metadata="true"', True),
        ('data-core-metadata=""', True),
        ('data-core-metadata="sha256=ab"', True),
        ('data-dist-info-metadata="true"', True),
        ('data-dist-info-metadata=""', True),
        ('data-dist-info-metadata="sha256=ab"', True),
        ('data-core-metadata="sha256=ab" data-dist-info-metadata="true"', True),
    ],
)
def test_core_metadata_in_html(attributes: str, there: bool) -> None:
    """The proxy converts a page that an index has as HTML alone, and `warm` reads the JSON."""
    body = f'<h1>Links for one</h1><a href="../../{WHEEL}" {attributes}>{WHEEL}</a>'.encode()
    (link,) = read_html(body).links
    assert (link.core_metadata is not False) is there
    assert read_page(html_to_json(body, "one", parse_url(URL)), URL)[WHEEL].has_metadata is there


# The rest of a page


def test_a_page() -> None:
    found = read_page(
        page(
            entry(url="https://files.example/a%2Bb/x.whl#sha256=ab", hashes={"sha256": "ab", "md5": "c"}, size=3),
            {"filename": "two.zip", "url": "/two.zip", "size": "large"},
            {"url": "nameless.whl"},
        ),
        URL,
    )
    assert found == {
        WHEEL: Listed(
            url="https://files.example/a%2Bb/x.whl", hashes=("sha256:ab", "md5:c"), size=3, has_metadata=False
        ),
        "two.zip": Listed(url="https://index.example/two.zip", hashes=(), size=0, has_metadata=False),
    }


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"files": {}}', b'{"files": [', page(entry(url="http://["))]
)
def test_no_page(body: bytes) -> None:
    """Nothing but ValueError, whatever an index sends."""
    with pytest.raises(ValueError):
        read_page(body, URL)


# Which files are fetched

FILES = "https://files.example"


def listed(*, has_metadata: bool, name: str = WHEEL) -> dict[str, Listed]:
    return {name: Listed(url=f"{FILES}/{name}", hashes=("sha256:ab",), size=7, has_metadata=has_metadata)}


def package(*files: LockedFile) -> Package:
    return Package(name="one", version="1.0", files=files)


@pytest.mark.parametrize(
    ("files", "known", "wanted"),
    [
        ([], {}, []),
        (  # the lock says where it is; no page says whether there is metadata
            [LockedFile(filename=WHEEL, url=f"{FILES}/{WHEEL}")],
            {},
            [FetchItem(url=f"{FILES}/{WHEEL}"), FetchItem(url=f"{FILES}/{WHEEL}.metadata", optional=True)],
        ),
        (  # the page says where
            [LockedFile(filename=WHEEL)],
            listed(has_metadata=True),
            [FetchItem(url=f"{FILES}/{WHEEL}", size=7), FetchItem(url=f"{FILES}/{WHEEL}.metadata")],
        ),
        ([LockedFile(filename=WHEEL)], listed(has_metadata=False), [FetchItem(url=f"{FILES}/{WHEEL}", size=7)]),
        (  # a hash alone (pipenv)
            [LockedFile(hashes=("sha256:ab",))],
            listed(has_metadata=False),
            [FetchItem(url=f"{FILES}/{WHEEL}", size=7, hashes=("sha256:ab",))],
        ),
        ([LockedFile(hashes=("sha256:cd",))], listed(has_metadata=False), []),
        ([LockedFile(filename="one-1.0-cp312-cp312-win_amd64.whl", url=f"{FILES}/x")], {}, []),
        (  # a wheel rather than the sdist, in whichever order
            [
                LockedFile(filename="one-1.0.tar.gz", url=f"{FILES}/s"),
                LockedFile(filename=WHEEL, url=f"{FILES}/{WHEEL}"),
            ],
            listed(has_metadata=False),
            [FetchItem(url=f"{FILES}/{WHEEL}", size=7)],
        ),
        ([LockedFile(filename="one-1.0.tar.gz", url=f"{FILES}/s")], {}, [FetchItem(url=f"{FILES}/s")]),
        (  # credentials go into a header
            [LockedFile(filename="one-1.0.tar.gz", url="https://u:p@files.example/s")],
            {},
            [FetchItem(url=f"{FILES}/s", authorization="Basic dTpw")],
        ),
    ],
)
def test_chosen_files(files: list[LockedFile], known: dict[str, Listed], wanted: list[FetchItem]) -> None:
    assert chosen_files(package(*files), LINUX, known) == wanted


@pytest.mark.parametrize("index", ["https://u:p@i.example/simple", "https://u:p@i.example/simple/"])
def test_a_pages_address(index: str) -> None:
    found = page_wanted("one", index, Representation.JSON)
    assert (found.url, found.authorization) == ("https://i.example/simple/one/", "Basic dTpw")
    assert found.accept == "application/vnd.pypi.simple.v1+json"


# Fetching


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def make(*answers: bytes) -> Peer:
        peers.append(Peer(*answers))
        return peers[-1]

    yield make
    for each in peers:
        each.close()


def fetched(peer: Peer, *items: FetchItem) -> Outcome:
    warmer = Warmer(ProxyClient(peer.url), jobs=1)
    with bar("files", None) as progress:
        warmer.files(items, progress)
    return warmer.outcome


FILE = FetchItem(url="http://files.example/x.whl", hashes=("md5:unknown", f"sha256:{sha256(b'body').hexdigest()}"))


def test_a_file_is_asked_for_once(peer: Callable[..., Peer]) -> None:
    """Though two packages may name it; credentials for its host go along."""
    one = peer(http(b"body"))
    item = replace(FILE, authorization="Basic dTpw")
    outcome = fetched(one, item, item)
    assert (outcome.files, outcome.size, outcome.failures) == (1, 4, [])
    assert len(one.asked) == 1
    assert "Authorization: Basic dTpw" in one.asked[0]


def test_a_file_on_its_way(peer: Callable[..., Peer]) -> None:
    """503 with Retry-After: ask again, after as long as it says."""
    busy = http(b"wait", status="503 Service Unavailable", more="Retry-After: 0\r\n")
    outcome = fetched(peer(busy, busy, http(b"body")), FILE)
    assert (outcome.files, outcome.size, outcome.failures) == (1, 4, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b"\nwhy not\nmore", status="504 Gateway Timeout"), "http://files.example/x.whl: 504 why not"),
        (http(b"gone", status="404 Not Found"), "http://files.example/x.whl: 404 gone"),
        (http(b"busy", status="503 Service Unavailable", more=""), "http://files.example/x.whl: 503 busy"),
        (http(b"bodY"), f"and should be {sha256(b'body').hexdigest()} by the lock"),
        (http(b"body", length=9), "http://files.example/x.whl: broke off"),
        (http(b"body", more=""), "http://files.example/x.whl: the proxy does not cache this host"),
        (http(b"body", more="Cache-Status: other; hit\r\n"), "the proxy does not cache this host"),
    ],
)
def test_a_failure_is_one_line(answer: bytes, reason: str, peer: Callable[..., Peer]) -> None:
    """And the next file is fetched all the same."""
    other = replace(FILE, url="http://files.example/y.whl")
    outcome = fetched(peer(answer, http(b"body")), FILE, other)
    (line,) = outcome.failures
    assert reason in line
    assert "\n" not in line
    assert (outcome.files, outcome.size) == (1, 4)


def test_an_odd_url_is_a_failure_too(peer: Callable[..., Peer]) -> None:
    outcome = fetched(peer(http(b"body")), replace(FILE, url="ftp://files.example/x.whl"), FILE)
    assert (outcome.files, len(outcome.failures)) == (1, 1)


@pytest.mark.parametrize(("status", "failures"), [("404 Not Found", 0), ("410 Gone", 0), ("502 Bad Gateway", 1)])
def test_what_may_be_missing(status: str, failures: int, peer: Callable[..., Peer]) -> None:
    outcome = fetched(peer(http(b"no", status=status)), replace(FILE, optional=True))
    assert (outcome.files, len(outcome.failures)) == (0, failures)


def test_pages(peer: Callable[..., Peer]) -> None:
    """In every representation, each asked for by its own Accept; one that does not exist is no failure."""
    place = ("one", "http://index.example/simple")
    missing = http(b"", status="404 Not Found")
    one = peer(http(page(entry())), *[http(b"<html>")] * (len(Representation) - 1), *[missing] * len(Representation))
    warmer = Warmer(ProxyClient(one.url), jobs=1)
    kinds = [kind.content_type.partition(";")[0] for kind in Representation]
    assert next(iter(Representation)) is Representation.JSON, "the scripted answers have this order"
    with bar("pages", None) as progress:
        listed = warmer.pages([place, ("none", place[1]), place], progress)
    assert list(listed) == [place]
    assert list(listed[place]) == [WHEEL]
    assert (warmer.outcome.pages, warmer.outcome.failures) == (len(kinds), [])
    assert [line for each in one.asked for line in each.splitlines() if line.startswith("Accept: ")] == [
        f"Accept: {kind}" for kind in kinds * 2
    ]


def test_a_page_that_is_none(peer: Callable[..., Peer]) -> None:
    warmer = Warmer(ProxyClient(peer(*[http(b"<html>")] * len(Representation)).url), jobs=1)
    with bar("pages", None) as progress:
        assert warmer.pages([("one", "http://index.example/simple")], progress) == {}
    (line,) = warmer.outcome.failures
    assert line.startswith("http://index.example/simple/one/: not an index page (")


@pytest.mark.parametrize("longer", [0, 1, 1000])
@pytest.mark.parametrize("kind", Representation)
def test_a_page_of_the_proxys_own_limit(
    kind: Representation, longer: int, peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is longer than any page of a proxy's is not read on, in no representation; the others are."""
    body = page(entry())
    monkeypatch.setattr(warming, "MAX_ANSWER", len(body))
    pages = {each: http(body + b" " * (longer if each is kind else 0)) for each in Representation}
    warmer = Warmer(ProxyClient(peer(*pages.values()).url), jobs=1)
    with bar("pages", None) as progress:
        listed = warmer.pages([("one", "http://index.example/simple")], progress)
    assert warmer.outcome.pages == len(pages) - bool(longer)
    assert bool(listed) is (not longer or kind is not Representation.JSON)
    refused = [f"http://index.example/simple/one/: the answer is longer than {len(body)} bytes"] if longer else []
    assert warmer.outcome.failures == refused


def test_what_the_proxy_may_answer_is_read() -> None:
    """A page that is made of another is longer than that."""
    assert warming.MAX_ANSWER == MAX_STORED == transform.MAX_ANSWER
