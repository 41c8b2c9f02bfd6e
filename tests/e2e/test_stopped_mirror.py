"""Installs outlive the mirror: relative-link JSON pages of the only upstream, which stops; new agents, pages past their lifetime.

With real packages and all clients it is a benchmark (`tests.bench.clients`); here it is pip and uv and made-up wheels.
"""

import re
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.clients import Way, installed
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import House
from tests.support.index import PageStyle
from tests.support.wheels import make_sdist, make_wheel

OPTIONS: Final = {"pypi_cache_index_ttl": "1s", "pypi_cache_stale_while_revalidate": "0"}
LAPSE: Final = 1.3
STALE: Final = re.compile(r"pypi-cache; hit; ttl=-\d+; detail=stale-if-error")


@pytest.mark.parametrize("described", [True, False], ids=["with core metadata", "without"])
def test_all_is_installed_again(
    described: bool, way: Way, make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    """Wheels, one that another needs, and a source distribution; each page says that it is stale, and is not to be kept."""
    needed = make_wheel("needed", payload_size=1_000_000, seed=1)
    top = make_wheel("top", requires=["needed>=1"], payload_size=1_000_000, seed=2)
    upstream = make_upstream(needed, top, make_sdist("sourced", "3.0"))
    upstream.mode, upstream.style, upstream.serves_metadata = "json", PageStyle(core_metadata=described), described
    proxy = make_proxy(upstream, options=OPTIONS)
    wanted = {"needed": "1.0", "top": "1.0", "sourced": "3.0"}
    for number, site in enumerate(("cold", "again")):
        agent = tmp_path / f"agent-{number}"
        agent.mkdir()
        before = len(proxy.access_log())
        way.install(proxy, agent, ["top", "sourced"], tmp_path / site).ok()
        assert installed(tmp_path / site) == wanted
        upstream.down()
        time.sleep(LAPSE)
    asked = [line for line in proxy.access_log()[before:] if not line["url"].endswith("/simple/pip/")]
    pages = [line["cache"] for line in asked if "/simple/" in line["url"]]
    assert pages, "no page was asked for"
    assert all(map(STALE.fullmatch, pages)), pages
    assert not [line for line in asked if "fwd=" in line["cache"]]
    answer = House(upstream, proxy).page("top")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert STALE.fullmatch(answer.headers["Cache-Status"] or "")
