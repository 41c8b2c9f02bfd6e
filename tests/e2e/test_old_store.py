"""A store of format 1, served by today's proxy without any upstream: every answer is the one that the version which wrote it gave."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support import old_store
from tests.support.house import ACCEPTS
from tests.support.old_store import ALICE, PRIVATE, RANGED, SDIST, WHEEL, unpack
from tests.support.proxy import Proxy
from tests.support.wire import fetch

JSON, HTML = {"Accept": ACCEPTS["json"]}, {"Accept": ACCEPTS["html"]}
AS_ALICE: Final = {"Authorization": ALICE}

ANSWERS: Final = [
    ("simple/alpha/", JSON, 200, 1052, "13053022b6e49ad2"),
    ("simple/alpha/", HTML, 200, 824, "3115eb0ad867a0c4"),
    ("simple/missing/", JSON, 404, 71, "dbd436f77e363eb0"),
    ("simple/", JSON, 200, 104, "6c6739065164031e"),
    (f"packages/{WHEEL}", {}, 200, 894, "b5393aea9ef2d82f"),
    (f"packages/{WHEEL}.metadata", {}, 200, 47, "121357c040299d26"),
    (f"packages/{SDIST}", {}, 200, 63000, "aaf0db37d96fa21a"),
    (f"packages/{SDIST}", {"Range": "bytes=0-20"}, 206, 21, "82751f2472f153cf"),
    (f"packages/{RANGED}.metadata", {}, 200, 22, "e70b13cf810d0a6d"),
    (f"packages/{RANGED}", {"Range": "bytes=-1000"}, 206, 1000, "42d74515cd821083"),
    (f"packages/{RANGED}", {"Range": "bytes=100-299"}, 206, 200, "15a5cbbb1d770161"),
    ("plain/nodigest-1.0.tar.gz", {}, 200, 230, "611b0f7ef2c83140"),
    ("simple/secret/", JSON | AS_ALICE, 200, 661, "9f17b59ea8963269"),
    (f"packages/{PRIVATE}", AS_ALICE, 200, 907, "3c5bbdd16d08941f"),
]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("old")
    unpack(folder / "store")
    options = {"pypi_cache_index": [old_store.INDEX], "pypi_cache_offline": True}
    with Proxy(folder, options=options) as proxy:
        yield proxy
        assert not proxy.complaints, proxy.output
        assert "dropped" not in proxy.output, proxy.output


@pytest.mark.parametrize(
    ("path", "headers", "status", "size", "sha256"),
    ANSWERS,
    ids=[f"{path.rpartition('/')[2] or path} {' '.join(headers)}" for path, headers, *_ in ANSWERS],
)
def test_an_answer(path: str, headers: dict[str, str], status: int, size: int, sha256: str, proxy: Proxy) -> None:
    got = fetch(proxy.port, f"https://index.test/corp/{path}", ca=proxy.ca, via="connect", headers=headers)
    assert (got.status, got.size, got.sha256[:16]) == (status, size, sha256), got.body[:500]
    assert "hit" in str(got.headers["Cache-Status"])


@pytest.mark.parametrize("path", ["simple/secret/", f"packages/{PRIVATE}"])
def test_what_is_alices_stays_hers(path: str, proxy: Proxy) -> None:
    got = fetch(proxy.port, f"https://index.test/corp/{path}", ca=proxy.ca, via="connect", headers=JSON)
    assert got.status == 504
