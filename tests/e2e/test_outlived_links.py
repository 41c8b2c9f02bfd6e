"""A stored page that has outlived what it links to: it is asked for again at once, once, and the request goes by the new link.

Until then each install failed until the page's own lifetime was over: 32 downloads of a file that had been replaced, and no request for
its page.
"""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, open_house, slug, tidied
from tests.support.index import JSON_TYPE
from tests.support.wheels import make_wheel
from tests.support.wire import fetch_many

LARGE = bytes(range(256)) * 2000
"""More than is held back until a file is verified, so that clients have its beginning before."""


@pytest.fixture(scope="module")
def shared_house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With an index `corp`, whose files are known by links alone; pages live for an hour."""
    options = {"pypi_cache_index_ttl": "1h"}
    with open_house(
        ca, tmp_path_factory.mktemp("outlived"), options=options, more_indexes=["corp=/corp/simple/"]
    ) as house:
        yield house


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    with tidied(shared_house) as house:
        yield house


class Published:
    """One file of a project on the index `corp`, and its page."""

    def __init__(self, house: House, name: str) -> None:
        self.house = house
        self.name = name
        self.filename = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        self.page = f"/corp/simple/{name}/"

    def put(self, data: bytes | None, *, query: str = "", folder: str = "files", listed: bool = True) -> str:
        """Publish these bytes (None: no file any more) under a link with this query; return the link."""
        upstream = self.house.upstream
        path = f"/corp/{folder}/{self.filename}"
        if data is not None:
            upstream.serve(path, data)
        link = f"{upstream.origin}{path}{query}"
        digest = hashlib.sha256(data or b"").hexdigest()
        files = [{"filename": self.filename, "url": link, "hashes": {"sha256": digest}}] if listed else []
        body = {"meta": {"api-version": "1.1"}, "name": self.name, "files": files, "versions": ["1.0"]}
        upstream.serve(self.page, json.dumps(body).encode(), JSON_TYPE)
        return link

    def read_page(self) -> None:
        """Have the page stored."""
        url = f"{self.house.upstream.origin}{self.page}"
        assert self.house.fetch(url, headers={"Accept": JSON_TYPE}).status == 200

    @property
    def page_requests(self) -> int:
        """How often the upstream was asked for the page."""
        return self.house.upstream.count(path_contains=self.page)

    @property
    def file_requests(self) -> int:
        """How often it was asked for the file, under any link."""
        return self.house.upstream.count(path_contains=self.filename)


@pytest.fixture
def published(house: House, request: pytest.FixtureRequest) -> Published:
    return Published(house, f"p{slug(request.node.name)}")


RANGE = {"Range": "bytes=0-3"}


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_file_that_was_uploaded_again(data: bytes, published: Published, house: House) -> None:
    link = published.put(data)
    published.read_page()
    published.put(new := data[::-1])
    first = house.fetch(link)
    if data is LARGE:  # its beginning was sent: this client is cut, and comes again
        assert not first.complete or first.body == new
        house.upstream.wait_until(lambda: published.page_requests == 2)
        while not (first := house.fetch(link)).complete:
            assert published.file_requests < 20
    assert (first.status, first.body) == (200, new)
    assert published.page_requests == 2
    assert house.fetch(link).body == new
    assert published.page_requests == 2


def test_a_renewal_that_has_helped_does_not_put_off_the_next(published: Published, house: House) -> None:
    """Two files of one page, each replaced after the page was read."""
    upstream, folder = house.upstream, "/corp/files/"
    names_, data = [f"{published.name.replace('-', '_')}-{number}.0.zip" for number in (1, 2)], {}

    def put(name: str, content: bytes) -> None:
        data[name] = content
        upstream.serve(folder + name, content)
        files = [
            {"filename": each, "url": folder + each, "hashes": {"sha256": hashlib.sha256(text).hexdigest()}}
            for each, text in data.items()
        ]
        body = {"meta": {"api-version": "1.1"}, "name": published.name, "files": files, "versions": ["1.0", "2.0"]}
        upstream.serve(published.page, json.dumps(body).encode(), JSON_TYPE)

    for name in names_:
        put(name, b"old")
    published.read_page()
    for number, name in enumerate(names_):
        put(name, b"new")
        assert house.fetch(f"{upstream.origin}{folder}{name}").body == b"new"
        assert published.page_requests == 2 + number


@pytest.mark.parametrize("kind", ["json", "html"])
def test_every_representation_is_renewed(kind: str, published: Published, house: House) -> None:
    """A client of the other representation would find the old digest by itself, and nothing would fail here."""
    link = published.put(b"old")
    url = f"{house.upstream.origin}{published.page}"
    for accept in (JSON_TYPE, "text/html"):
        assert house.fetch(url, headers={"Accept": accept}).status == 200
    published.put(b"new")
    assert house.fetch(link).body == b"new"
    digest = hashlib.sha256(b"new").hexdigest()
    accept = JSON_TYPE if kind == "json" else "text/html"
    assert digest in house.fetch(url, headers={"Accept": accept}).body.decode()


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("method", ["GET", "HEAD", "range"])
def test_a_file_that_was_removed(method: str, status: int, published: Published, house: House) -> None:
    """The page no longer lists it for the next client; nor is it asked for with each request."""
    link = published.put(b"data")
    published.read_page()
    published.put(None, listed=False)
    house.upstream.script(Behaviour(published.filename, status=status))
    for _ in range(5):
        answer = house.fetch(
            link, method="HEAD" if method == "HEAD" else "GET", headers=RANGE if method == "range" else {}
        )
        assert answer.status == 404
    assert published.page_requests == 2
    page = house.fetch(f"{house.upstream.origin}{published.page}", headers={"Accept": JSON_TYPE})
    assert published.filename not in page.body.decode()
    assert published.page_requests == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD", "range"])
def test_a_signed_link_that_has_expired(method: str, status: int, published: Published, house: House) -> None:
    old = published.put(b"signed data", query="?sig=old")
    published.read_page()
    new = published.put(b"signed data", query="?sig=new")
    house.upstream.script(Behaviour(r"sig=old", status=status))

    def get(url: str) -> None:
        headers = RANGE if method == "range" else {}
        answer = house.fetch(url, method="HEAD" if method == "HEAD" else "GET", headers=headers)
        assert answer.status == (206 if method == "range" else 200)
        assert answer.body == {"GET": b"signed data", "HEAD": b"", "range": b"sign"}[method]

    get(old)
    assert published.page_requests == 2
    get(old)  # a client that still has the old page
    get(new)
    assert published.page_requests == 2


def test_a_file_that_has_moved(published: Published, house: House) -> None:
    link = published.put(b"data")
    published.read_page()
    house.upstream.script(Behaviour(f"/corp/files/{published.filename}", status=404))
    published.put(b"data", folder="elsewhere")
    assert house.fetch(link).body == b"data"
    assert published.page_requests == 2


def test_no_storm(published: Published, house: House) -> None:
    """A page whose links all fail: 20 clients, and again 20, are one request for it."""
    link = published.put(b"data")
    published.read_page()
    house.upstream.script(Behaviour(published.filename, status=403))
    for _ in range(2):
        answers = fetch_many(20, house.proxy.port, link, ca=house.proxy.ca)
        assert {each.status for each in answers} == {403}
    assert published.page_requests == 2


def test_a_herd_for_a_file_that_was_uploaded_again(published: Published, house: House) -> None:
    link = published.put(b"old")
    published.read_page()
    published.put(b"new")
    answers = fetch_many(20, house.proxy.port, link, ca=house.proxy.ca)
    assert {(each.status, each.body) for each in answers} == {(200, b"new")}
    assert published.page_requests == 2
    assert published.file_requests <= 5


@pytest.mark.parametrize("how", ["status 500", "down", "unchanged", "gone"])
def test_a_page_that_does_not_help(how: str, published: Published, house: House) -> None:
    """Then the answer is what the file's upstream has said."""
    link = published.put(b"data")
    published.read_page()
    house.upstream.script(Behaviour(published.filename, status=403))
    if how == "status 500":
        house.upstream.script(Behaviour(published.page, status=500))
    elif how == "down":
        house.upstream.script(Behaviour(published.page, drop=True))
    elif how == "gone":
        house.upstream.script(Behaviour(published.page, status=404))
    for _ in range(3):
        assert house.fetch(link).status == 403
    assert published.page_requests <= 3  # a dropped connection is tried anew


@pytest.mark.parametrize("status", [429, 451, 500, 502, 503])
def test_failures_that_no_page_would_cure(status: int, published: Published, house: House) -> None:
    link = published.put(b"data")
    published.read_page()
    house.upstream.script(Behaviour(published.filename, status=status))
    assert house.fetch(link).status >= 400
    assert published.page_requests == 1


def test_without_a_stored_page_none_is_asked_for(published: Published, house: House) -> None:
    """A lock file's install never reads a page."""
    link = published.put(b"data")
    house.upstream.script(Behaviour(published.filename, status=404))
    assert house.fetch(link).status == 404
    assert published.page_requests == 0


def test_no_cache_on_the_way_may_answer(published: Published, house: House) -> None:
    """RFC 9111 §5.2.1.4. Nor with validators: a mirror whose tags do not change with its links would say 304."""
    published.put(b"data", query="?sig=old")
    published.read_page()
    house.upstream.script(Behaviour(published.filename, status=403))
    house.fetch(f"{house.upstream.origin}/corp/files/{published.filename}?sig=old")
    first, second = house.upstream.seen(path_contains=published.page)
    assert "cache-control" not in first.headers
    assert second.headers["cache-control"] == "no-cache"
    assert not {"if-none-match", "if-modified-since"} & set(second.headers)


def test_a_file_of_the_default_index(house: House) -> None:
    """In PyPI's layout the path is the digest: the page is renewed, since it lists what is gone."""
    release = make_wheel("gone-from-pypi")
    house.upstream.add(release)
    house.page("gone-from-pypi")
    house.upstream.remove(release)
    url = f"{house.upstream.origin}/pypi/{release.quoted_path}"
    assert [house.fetch(url).status for _ in range(3)] == [404] * 3
    assert house.page_requests("gone-from-pypi") == 2
    assert release.filename not in house.page("gone-from-pypi").body.decode()
