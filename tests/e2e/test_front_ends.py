"""A second client behind nginx or HAProxy never gets what the first one has written (`tests.bench.splitting` does more rounds)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.front_ends import FRONT_ENDS, is_installed
from tests.support.proxy import Proxy
from tests.support.splitting import HARM, rounds
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def proxy(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Upstream(ca) as upstream:
        options = {
            "pypi_cache_index": [f"pypi={upstream.index_url}", "dead=http://127.0.0.1:9/simple/"],
            "pypi_cache_deny": "denied",
        }
        with Proxy(tmp_path_factory.mktemp("behind"), options=options, upstream_ca=ca.bundle) as running:
            yield running
            assert not running.complaints, running.output


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_no_answer_for_another_client(name: str, proxy: Proxy, tmp_path: Path) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    with FRONT_ENDS[name](proxy.port, tmp_path / name) as port:
        wrong = [problem for problem in rounds(port, 4 * len(HARM)) if problem]
    assert not wrong
