"""`pypi_cache_memory` is for speed alone: clients get the same with hardly any as with much. Large pages are not held for each client."""

import json
from contextlib import ExitStack

import pytest

from tests.support.factories import MakeProxy, MakeUpstream
from tests.support.house import links_of
from tests.support.index import JSON_TYPE, LinkForm, PageStyle
from tests.support.names import file_url, page_url
from tests.support.wheels import make_wheel
from tests.support.wire import Wire, fetch


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


def test_a_large_page_and_clients_that_take_none_of_it(make_proxy: MakeProxy, make_upstream: MakeUpstream) -> None:
    """Each gets as much as its socket takes; the rest is in memory once, and comes when it is asked for."""
    upstream = make_upstream()
    files = [
        {"filename": f"big-1.{n}.tar.gz", "url": f"https://x.test/{'p' * 900}/{n}", "hashes": {}} for n in range(8000)
    ]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "big", "files": files}).encode()
    upstream.serve(f"{upstream.prefix}/simple/big/", body, JSON_TYPE)
    proxy = make_proxy(upstream)
    whole = fetch(proxy.port, page_url("big"), ca=proxy.ca, headers={"Accept": JSON_TYPE}).body
    assert len(whole) > 7_000_000
    for _ in range(3):  # known, and from memory
        assert fetch(proxy.port, page_url("big"), ca=proxy.ca, headers={"Accept": JSON_TYPE}).body == whole
    before = proxy.rss()
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(proxy.port, page_url("big"), ca=proxy.ca)) for _ in range(30)]
        for wire in wires:
            wire.send(page_url("big"), headers={"Accept": JSON_TYPE})
        assert all(wire.sock.recv(9) == b"HTTP/1.1 " for wire in wires[1:])
        assert proxy.get("/healthz").status == 200  # one more turn for all of them
        assert proxy.rss() - before < 30 * len(whole) / 2
        assert wires[0].receive().body == whole
