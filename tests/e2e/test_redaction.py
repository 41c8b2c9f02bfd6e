"""No credential in anything that the proxy writes: access log, output, store, its own pages, answers to somebody else.

One proxy gets requests with one secret in all places that a URL or a head has, most of them refused; then all is looked through.
"""

import socket
from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.behaviour import Behaviour
from tests.support.house import House, open_house
from tests.support.names import INDEX_HOST, file_url, page_url
from tests.support.wheels import make_wheel
from tests.support.wire import Wire

SECRET: Final = "s3cr3t-t0k3n"
QUERY: Final = f"token={SECRET}&x={SECRET}"
ORIGIN: Final = f"https://{INDEX_HOST}"
WHEEL: Final = make_wheel("six")


@pytest.fixture(scope="module")
def house(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(ca, tmp_path_factory.mktemp("secrets")) as opened:
        opened.upstream.add(WHEEL)
        yield opened


RAW: Final = (
    f"GET http://user:{SECRET}@{INDEX_HOST}/simple/six/?{QUERY} HTTP/1.1\r\nHost: {INDEX_HOST}\r\n\r\n",
    f"GET http://user:{SECRET}@other.test:1/x?{QUERY} HTTP/1.1\r\nHost: other.test\r\n\r\n",
    f"GET /simple/six/?{QUERY} HTTP/1.1\r\nHost: user:{SECRET}@{INDEX_HOST}\r\n\r\n",
    f"GET /healthz?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /pypi/simple/six?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /nowhere?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /nowhere?{SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"POST /pypi/simple/six/?{QUERY} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    f"CONNECT user:{SECRET}@{INDEX_HOST}:443 HTTP/1.1\r\n\r\n",
    f"CONNECT {INDEX_HOST}:443?{QUERY} HTTP/1.1\r\n\r\n",
    f"GET /x?{QUERY} {SECRET} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET /x?{QUERY}\r\n\r\n",
    f"{SECRET} /x?{QUERY} HTTP/9\r\n\r\n",
    f"GET /x?{QUERY} HTTP/1.1\r\nAuthorization Basic {SECRET}\r\n\r\n",
    f"GET /x?{QUERY} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {SECRET}\r\nA b: c\r\n\r\n",
    f"GET http://{INDEX_HOST}/simple/six/?{QUERY} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    f"GET http://{INDEX_HOST}/?{QUERY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\nContent-Length: 2\r\n\r\n",
    f"GET /x?{QUERY} HTTP/1.1\r\nCookie: a={SECRET}\r\n",  # and no more of it
    f"GET ftp://user:{SECRET}@host/x?{QUERY} HTTP/1.1\r\nHost: x\r\n\r\n",
)
"""Whole requests to the proxy's port. Each connection is half-closed then, so that an unfinished head is complained of."""

URLS: Final = (
    f"{page_url('six')}?{QUERY}",
    f"{page_url('six')}?{SECRET}",
    f"{page_url('none')}?{QUERY}",
    f"{page_url('six')[:-1]}?{QUERY}",
    f"{file_url(WHEEL)}?{QUERY}",
    f"{file_url(WHEEL)}.metadata?{QUERY}",
    f"{ORIGIN}/elsewhere?{QUERY}",
    f"{ORIGIN}/pypi/six/json?{QUERY}",
    f"{ORIGIN}/simple//six/?{QUERY}",
    f"{ORIGIN}/simple/six/..%2fsix/?{QUERY}",
)
"""Asked for through CONNECT, with every method of METHODS."""

METHODS: Final = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


def exchange(house: House, data: str) -> None:
    with socket.create_connection(("127.0.0.1", house.proxy.port), timeout=20) as sock:
        sock.sendall(data.encode())
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def leaks(house: House) -> list[str]:
    proxy = house.proxy
    paths = [path for path in (*proxy.store.rglob("*"), proxy.access_log_path, proxy.output_path) if path.is_file()]
    told = {str(path): path.read_bytes() for path in paths}
    told |= {path: proxy.get(path).body for path in ("/", "/stats", "/metrics", "/healthz", "/env.sh")}
    secret = SECRET.encode()
    return [
        f"{where}: {line!r}" for where, text in told.items() for line in text.splitlines() if secret in line
    ]  # the whole line, since a test that fails should say which one it was


def test_requests_with_a_secret(house: House) -> None:
    house.upstream.script(
        Behaviour("none", status=302, headers={"Location": f"https://user:{SECRET}@gone.test/?{QUERY}"}, times=1)
    )
    for data in RAW:
        exchange(house, data)
    headers = {"Cookie": f"a={SECRET}", "X-Token": SECRET}
    for url in URLS:
        for method in METHODS:
            body = b"x" if method == "POST" else b""
            with Wire(house.proxy.port, url, ca=house.proxy.ca) as wire:
                wire.request(url, method=method, headers=headers if method == "HEAD" else {}, body=body)
    log = house.proxy.access_log(at_least=len(URLS))
    assert any(each["url"].endswith("?token=***&x=***") for each in log), "the names stay"
    assert not leaks(house)
    house.proxy.restart()  # whatever is written at the end is written by now
    assert not leaks(house)
    (house.proxy.store / "planted").write_text(SECRET)
    assert leaks(house), "the search can find"
