"""Small answers reach the client in one piece, head and body.

pip asks again where a connection ends before an answer, and gives up where it ends behind a head. Between two pieces a worker can be
killed, however short that time is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.authority import Authority
from tests.support.names import FILES_ORIGIN, INDEX_URL
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import ReleaseFile, make_wheel
from tests.support.wire import Via, Wire

ONE_RECORD: Final = 16 * 1024
"""What TLS gives at a time (RFC 8446 §5.1): a head and a body that were encrypted apart come apart."""

ROWS: Final = {
    "a page": ("simple/small/", {}, 200),
    "a page as JSON": ("simple/small/", {"Accept": "application/vnd.pypi.simple.v1+json"}, 200),
    "a page that is compressed": ("simple/small/", {"Accept-Encoding": "gzip"}, 200),
    "no such page": ("simple/none/", {}, 404),
    "a page that is denied": ("simple/denied/", {}, 403),
    "metadata": ("{wheel}.metadata", {}, 200),
    "a wheel": ("{wheel}", {}, 200),
    "its end": ("{wheel}", {"Range": "bytes=-500"}, 206),
    "no such range": ("{wheel}", {"Range": "bytes=99999-"}, 416),
}


@dataclass(frozen=True, slots=True)
class Scene:
    proxy: Proxy
    wheel: ReleaseFile


@pytest.fixture(scope="module")
def scene(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    wheel = make_wheel("small", payload_size=2000)
    with Upstream(ca) as upstream:
        upstream.add(wheel)
        options = {"pypi_cache_index": [f"pypi={upstream.index_url}"], "pypi_cache_deny": "denied"}
        with Proxy(tmp_path_factory.mktemp("pieces"), options=options, upstream_ca=ca.bundle) as proxy:
            yield Scene(proxy, wheel)
            assert not proxy.complaints, proxy.output


@pytest.mark.parametrize("via", ["own", "connect"])
@pytest.mark.parametrize("row", ROWS)
def test_one_piece(scene: Scene, row: str, via: Via) -> None:
    """Twice: as it is fetched, and as it is known."""
    path, headers, status = ROWS[row]
    path = path.format(wheel=scene.wheel.quoted_path)
    host = INDEX_URL.removesuffix("simple/") if path.startswith("simple/") else f"{FILES_ORIGIN}/"
    url = (f"{scene.proxy.url}/pypi/" if via == "own" else host) + path
    for time in ("first", "second"):
        with Wire(scene.proxy.port, url, via=via, ca=scene.proxy.ca) as wire:
            wire.send(url, headers=headers)
            head, end, body = wire.sock.recv(ONE_RECORD).partition(b"\r\n\r\n")
            lines = dict(line.split(b": ", 1) for line in head.splitlines()[1:])
            assert int(head.split()[1]) == status, (time, head)
            assert end
            assert len(body) == int(lines[b"Content-Length"]) > 0, (time, head)
