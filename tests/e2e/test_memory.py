"""`pypi_cache_memory` is for speed alone: with hardly any, clients get what they get with much."""

import json

import pytest

from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import links_of
from tests.support.index import JSON_TYPE, LinkForm, PageStyle
from tests.support.names import file_url, page_url
from tests.support.wheels import make_wheel
from tests.support.wire import fetch


@pytest.mark.parametrize("memory", ["0", "1k", "64m"])
def test_pages_metadata_and_files(make_proxy: MakeProxy, make_upstream: MakeUpstream, memory: str) -> None:
    """What a page says of its files has to be in memory for none of them: it is found in the stored page again."""
    upstream = make_upstream(*(make_wheel("remembered", f"1.{number}") for number in range(20)))
    release = make_wheel("remembered", "2.0")
    upstream.add(release)
    proxy = make_proxy(upstream, options={"pypi_cache_memory": memory})
    for _ in range(2):
        page = fetch(proxy.port, page_url("remembered"), ca=proxy.ca, headers={"Accept": JSON_TYPE})
        assert len(json.loads(page.body)["files"]) == 21
        metadata = fetch(proxy.port, file_url(release, ".metadata"), ca=proxy.ca)
        assert (metadata.status, metadata.sha256) == (200, release.metadata_sha256)
        assert "immutable" in metadata.headers["Cache-Control"], "its page vouches for it"
        assert fetch(proxy.port, file_url(release), ca=proxy.ca).sha256 == release.sha256
    assert upstream.count(path_contains="/simple/remembered/") == 1


@pytest.mark.parametrize("memory", ["0", "64m"])
def test_a_file_that_only_its_page_vouches_for(make_proxy: MakeProxy, make_upstream: MakeUpstream, memory: str) -> None:
    """Where a path is no digest, the page's is what the file is held against."""
    upstream = make_upstream(make_wheel("vouched"))
    upstream.style = PageStyle(form=LinkForm.DEVPI)
    upstream.file_cache_control = "max-age=60"
    corp = f"corp={upstream.origin}/root/corp/+simple/"
    proxy = make_proxy(upstream, options={"pypi_cache_memory": memory, "pypi_cache_index": [corp]})
    url = f"{upstream.origin}/root/corp/+simple/vouched/"
    (link,) = links_of(fetch(proxy.port, url, ca=proxy.ca, headers={"Accept": JSON_TYPE}), url)
    answer = fetch(proxy.port, link, ca=proxy.ca)
    assert answer.status == 200
    assert "immutable" in answer.headers["Cache-Control"], "nobody has said what its digest is"
