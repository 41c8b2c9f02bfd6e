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
from tests.support.house import House, links_of, without_fragments
from tests.support.index import PageStyle
from tests.support.names import page_url
from tests.support.proxy import Options
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


@pytest.mark.parametrize(
    ("options", "detail"),
    [({}, "another-kind"), (OPTIONS, "stale-if-error"), ({**OPTIONS, "pypi_cache_offline": True}, "offline")],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize(("had", "asked"), [("json", "html"), ("html", "json"), ("html", "html-v1")])
def test_a_page_that_others_have_had(
    had: str, asked: str, options: Options, detail: str, make_proxy: MakeProxy, make_upstream: MakeUpstream
) -> None:
    """An old pip comes when only uv has been there before, and the mirror is gone: what is stored is converted, or renamed.

    It was a 502 (offline a 504), while all that was asked for was in the store.
    """
    upstream = make_upstream(release := make_wheel("lonely"))
    house = House(upstream, make_proxy(upstream))
    (link,) = links_of(house.page("lonely", had), page_url("lonely"))
    assert house.fetch(link).sha256 == release.sha256
    upstream.down()
    house.proxy.options |= options
    house.proxy.restart()
    time.sleep(LAPSE)
    answer = house.page("lonely", asked)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store"), answer.body
    assert without_fragments(links_of(answer, page_url("lonely"))) == without_fragments([link])
    assert f"; detail={detail}" in (answer.headers["Cache-Status"] or "")
    assert house.page("never-asked-for", asked).status in {502, 503, 504}
