"""Two processes on one store: what one of them renewed or purged is what it was, to the other, for no longer than a second."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from pkgcache.engine.store.watch import HOT_SECONDS
from tests.support.clients import bare_env
from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import links_of
from tests.support.index import JSON_TYPE, LinkForm, PageStyle
from tests.support.names import file_url, page_url
from tests.support.proxy import Proxy
from tests.support.upstream import Upstream
from tests.support.wheels import make_wheel
from tests.support.wire import Fetched, fetch

IMMUTABLE: Final = "max-age=365000000, immutable, public"
"""What only a file with a known digest is sent with."""

PYPI_CACHE: Final = Path(sys.executable).parent / "pypi-cache"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two proxies that share a store, and their upstream, which is the index `corp` too."""

    upstream: Upstream
    one: Proxy
    two: Proxy

    def page(self, proxy: Proxy, url: str, **headers: str) -> Fetched:
        """A project's page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = fetch(proxy.port, url, ca=proxy.ca, headers={"Accept": JSON_TYPE, **named})
        assert answer.status == 200
        return answer

    def later(self) -> None:
        """What was in memory is looked at again."""
        for proxy in (self.one, self.two):
            proxy.lapse(HOT_SECONDS + 1)


@pytest.fixture
def pair(make_proxy: MakeProxy, make_upstream: MakeUpstream, tmp_path: Path) -> Pair:
    """Nothing is stored yet."""
    upstream = make_upstream()
    corp = f"corp={upstream.origin}/root/corp/+simple/"
    options = {"pypi_cache_dir": str(tmp_path / "shared"), "pypi_cache_index": [corp]}
    return Pair(upstream, make_proxy(upstream, options=options), make_proxy(upstream, options=options))


def test_a_page_that_the_other_renewed(pair: Pair) -> None:
    """It was in memory, fresh for ten minutes; the other process has been told to ask again."""
    old, new = make_wheel("renewed", "1.0"), make_wheel("renewed", "2.0")
    pair.upstream.add(old)
    url = page_url("renewed")
    for _ in range(3):
        assert old.filename.encode() in pair.page(pair.one, url).body
    pair.upstream.add(new)
    assert new.filename.encode() in pair.page(pair.two, url, Cache_Control="no-cache").body
    pair.later()
    answer = pair.page(pair.one, url)
    assert new.filename.encode() in answer.body
    assert "; hit" in answer.headers["Cache-Status"]


def test_a_file_that_only_the_renewed_page_vouches_for(pair: Pair) -> None:
    """The digest of a file whose path is none comes from its page.

    What a process knew of a page's links used to stay for good: a file of a release that the other process had heard of came unverified.
    """
    pair.upstream.style = PageStyle(form=LinkForm.DEVPI)
    pair.upstream.file_cache_control = "max-age=60"
    old, new = make_wheel("vouched", "1.0"), make_wheel("vouched", "2.0")
    pair.upstream.add(old)
    url = f"{pair.upstream.origin}/root/corp/+simple/vouched/"
    (link,) = links_of(pair.page(pair.one, url), url)
    assert fetch(pair.one.port, link, ca=pair.one.ca).headers["Cache-Control"] == IMMUTABLE
    pair.upstream.add(new)
    link = links_of(pair.page(pair.two, url, Cache_Control="no-cache"), url)[-1]
    pair.later()
    answer = fetch(pair.one.port, link, ca=pair.one.ca)
    assert answer.sha256 == new.sha256
    assert answer.headers["Cache-Control"] == IMMUTABLE, "nobody has said what its digest is"


def test_what_somebody_purges(pair: Pair) -> None:
    """A page and a small file, hot in both processes' memory, and `pypi-cache purge` in a third."""
    release = make_wheel("purged")
    pair.upstream.add(release)
    url, page = file_url(release), page_url("purged")
    for proxy in (pair.one, pair.two, pair.one, pair.two):
        pair.page(proxy, page)
        assert fetch(proxy.port, url, ca=proxy.ca).sha256 == release.sha256
        pair.later()
        pair.one.at_rest()
        pair.two.at_rest()
    asked = pair.upstream.count()
    line = [PYPI_CACHE, "purge", "--dir", str(pair.one.options["pypi_cache_dir"]), "--yes", "purged"]
    subprocess.run(line, env=bare_env(pair.one.folder), check=True, capture_output=True)
    pair.later()
    assert "fwd=miss" in pair.page(pair.one, page).headers["Cache-Status"]
    assert "fwd=miss" in fetch(pair.two.port, url, ca=pair.two.ca).headers["Cache-Status"]
    assert pair.upstream.count() == asked + 2
