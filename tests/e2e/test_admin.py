"""Changes by HTTP: who may make them, what they do, and what hostile requests come to."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any, Final

import pytest

from tests.support.authority import Authority
from tests.support.factories import MakeProxy
from tests.support.house import House, open_house
from tests.support.names import file_url, page_url
from tests.support.proxy import refused
from tests.support.upstream import Upstream
from tests.support.waiting import eventually
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, Wire

TOKEN: Final = "correct-horse-battery"
JSON: Final = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The token is in a file, and a name is kept for one index."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "token").write_text(f"{TOKEN}\n")
    options = {"pypi_cache_admin_token": f"@{folder / 'token'}", "pypi_cache_private": ["acme-*=pypi"]}
    with open_house(ca, folder, options=options) as opened:
        yield opened
        assert TOKEN not in opened.proxy.output


def post(house: House, what: object, *, token: str = TOKEN, body: bytes | None = None, **headers: str) -> Fetched:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = json.dumps(what).encode() if body is None else body
    with Wire(house.proxy.port, f"{house.proxy.url}/admin", via="own", timeout=30) as wire:
        return wire.request(
            f"{house.proxy.url}/admin",
            method="POST",
            headers={"Host": f"127.0.0.1:{house.proxy.port}", **JSON, "Pypi-Cache-Token": token, **named},
            body=sent,
        )


def look(house: House, path: str = "/dashboard.json", token: str = "") -> Any:
    return json.loads(house.fetch(path, headers={"Pypi-Cache-Token": token} if token else {}).body)


def stored(house: House, name: str, token: str = "") -> int:
    total: int = look(house, f"/entries.json?q={name}", token)["total"]
    return total


def test_a_project_is_purged(house: House) -> None:
    """What is stored of it goes, and comes again when a client asks; nobody else's does."""
    release, other = make_wheel("purged"), make_wheel("purged-not")
    house.upstream.add(release, other)
    for name, each in (("purged", release), ("purged-not", other)):
        house.fetch(page_url(name))
        house.fetch(file_url(each))
    house.proxy.at_rest()
    eventually(lambda: stored(house, "purged"), lambda total: total == 4)
    before = house.file_requests(release)
    answer = post(house, {"action": "purge", "project": "Purged"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.body)["done"].startswith("purged purged: ")
    again = post(house, {"action": "purge", "project": "Purged"})
    assert json.loads(again.body)["done"] == "purged: nothing stored"
    assert {row["project"] for row in look(house, "/entries.json?q=purged")["rows"]} == {"purged-not"}
    eventually(lambda: house.fetch(file_url(release)).headers["Cache-Status"] or "", lambda status: "fwd" in status)
    assert house.file_requests(release) == before + 1
    assert house.fetch(file_url(release)).sha256 == release.sha256


def test_offline_and_online_again(house: House) -> None:
    here, missing = make_wheel("here"), make_wheel("missing")
    house.upstream.add(here, missing)
    house.fetch(file_url(here))
    house.proxy.at_rest()
    assert post(house, {"action": "offline", "on": True}).status == 200
    assert look(house)["offline"] is True
    assert house.fetch(file_url(missing)).status == 504
    assert house.fetch(file_url(here)).sha256 == here.sha256
    assert post(house, {"action": "offline", "on": False}).status == 200
    assert look(house)["offline"] is False
    assert house.fetch(file_url(missing)).sha256 == missing.sha256


def test_config_yaml_is_read_again(house: House) -> None:
    """What the command line says stays; what is wrong is told, and nothing changes."""
    path = house.proxy.confdir / "config.yaml"
    house.upstream.add(make_wheel("unwanted"))
    for text, status, words, page in (
        ("pypi_cache_deny: [unwanted]\npypi_cache_private: []\n", 200, "pypi_cache_deny changed", 403),
        ("pypi_cache_deny: [unwanted]\n", 200, "nothing changed", 403),
        ("pypi_cache_deny: []\npypi_cache_cooldown: soon\n", 409, "expected a time", 403),
        ("pypi_cache_dney: []\n", 409, "did you mean pypi_cache_deny", 403),
        ("pypi_cache_deny: [", 409, "config.yaml", 403),
        ("", 200, "pypi_cache_deny changed", 200),
    ):
        path.write_text(text)
        answer = post(house, {"action": "reload"})
        assert answer.status == status, answer.body
        assert words in answer.body.decode()
        assert house.fetch(page_url("unwanted")).status == page
    path.unlink()
    assert look(house, "/entries.json?q=acme")["total"] == 0


def test_what_only_the_operator_sees(house: House) -> None:
    house.upstream.add(make_wheel("acme-secret"))
    house.fetch(page_url("acme-secret"), headers={"User-Agent": "spy/1.0"})
    eventually(lambda: stored(house, "acme", TOKEN), lambda total: total == 1)
    assert stored(house, "acme") == 0
    eventually(lambda: [row for row in look(house, token=TOKEN)["recent"] if row["what"] == "acme-secret (page)"], bool)
    row = next(row for row in look(house, token=TOKEN)["recent"] if row["what"] == "acme-secret (page)")
    assert (row["client"], row["agent"]) == ("127.0.0.1", "spy/1.0")
    assert "acme-secret" not in str(look(house))
    assert "spy/1.0" not in str(look(house))


PURGE: Final = {"action": "purge", "project": "kept"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "evil.test"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_another_sites_request(house: House, headers: dict[str, str], status: int) -> None:
    """With the right token, which no other site has."""
    answer = post(house, PURGE, **headers)
    assert answer.status == status
    assert "frame-ancestors 'none'" in (answer.headers["Content-Security-Policy"] or "")
    assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post(house: House, method: str) -> None:
    """A link, an image, or the question that a browser asks before it sends JSON to another site (CORS) changes nothing."""
    answer = house.fetch("/admin", method=method, headers={"Pypi-Cache-Token": TOKEN, "Origin": "http://evil.test"})
    assert answer.status == 405
    assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin?x=1", "/Admin", "//admin", "/%61dmin", "/./admin", "/dashboard.json", "/stats", "/"]
)
def test_no_other_path(house: House, path: str) -> None:
    with Wire(house.proxy.port, house.proxy.url, via="own", timeout=30) as wire:
        answer = wire.request(
            f"{house.proxy.url}{path}", method="POST", headers={**JSON, "Pypi-Cache-Token": "wrong"}, body=b"{}"
        )
    assert answer.status in ({403} if path == "/admin?x=1" else {404, 405})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[" * 4000, 400),
        (b"{" * 5000, 413),
        (b"x" * 1_000_000, 413),
        (b'{"action": "purge", "project": "*"}', 400),
        (b"\xff\x00", 400),
    ],
)
def test_a_body_that_is_none(house: House, body: bytes, status: int) -> None:
    answer = post(house, None, body=body)
    assert answer.status == status
    assert len(answer.body) < 1000


def test_a_chunked_body_and_two_requests_on_one_connection(house: House) -> None:
    """Framing is the proxy's, and what follows is another request."""
    head = (
        f"POST /admin HTTP/1.1\r\nHost: 127.0.0.1:{house.proxy.port}\r\nContent-Type: application/json\r\n"
        f"Pypi-Cache-Token: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = '{"action": "check"}'
    chunks = "".join(f"1\r\n{character}\r\n" for character in body) + "0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", house.proxy.port), timeout=30) as raw:
        for _ in range(2):
            raw.sendall((head + chunks).encode())
            answer = HTTPResponse(raw, method="POST")
            answer.begin()
            assert json.loads(answer.read()) == {"done": "the token is right"}


def test_wrong_tokens(ca: Authority, make_proxy: MakeProxy, upstream: Upstream) -> None:
    """A few, then none is looked at; on the pages that only show something, too. Without the option, there is nothing to try."""
    proxy = make_proxy(upstream, options={"pypi_cache_admin_token": "env:ADMIN_TOKEN"}, env={"ADMIN_TOKEN": TOKEN})
    house = House(upstream, proxy)
    assert post(house, {"action": "check"}).status == 200
    wrong = [
        post(house, PURGE, token="wrong" * 4).status,
        house.fetch("/dashboard.json", headers={"Pypi-Cache-Token": TOKEN[:-1]}).status,
        house.fetch("/entries.json", headers={"Pypi-Cache-Token": "x"}).status,
        post(house, PURGE, token="").status,
        post(house, PURGE, token="x" * 700).status,
    ]
    assert wrong == [403] * 5
    late = post(house, {"action": "check"})
    assert (late.status, int(late.headers["Retry-After"] or 0) > 0) == (429, True)
    assert house.fetch("/dashboard.json", headers={"Pypi-Cache-Token": TOKEN}).status == 429
    assert house.fetch("/dashboard.json").status == 200
    assert "gave a wrong admin token" in proxy.output
    assert TOKEN not in proxy.output
    proxy.stop(signal.SIGTERM)
    proxy.options.pop("pypi_cache_admin_token")
    proxy.start()
    answer = post(house, {"action": "check"})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert house.fetch("/admin").status == 404
    assert look(house, token=TOKEN)["sees_all"] is False
    assert look(house)["can_change"] is False


@pytest.mark.parametrize("value", ["@/nowhere/token", "env:NO_SUCH_TOKEN", "short"])
def test_a_token_that_is_none_does_not_start(make_proxy: MakeProxy, value: str) -> None:
    line = refused(make_proxy(start=False, options={"pypi_cache_admin_token": value}))
    assert "pypi_cache_admin_token=" in line
    assert "short" not in line
    assert os.devnull not in line
