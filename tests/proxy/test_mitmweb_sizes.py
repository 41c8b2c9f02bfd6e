"""What mitmweb shows of a package response: the headers and the size as sent, whether or not its flow holds the body."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from mitmproxy.test import tflow
from mitmproxy.tools.web import app, master

from pkgcache.proxy.mitmweb_sizes import SENT, WEB, show_sent_sizes


@pytest.fixture
def web() -> Iterator[Any]:
    original = app.flow_to_json
    yield app
    app.flow_to_json = original


@pytest.mark.parametrize(
    ("body", "sent", "shown"),
    [
        (None, 3_000_000, 3_000_000),  # a body that streamed
        (None, None, None),  # another flow of mitmproxy's
        (b"", 0, 0),  # an answer to HEAD
        (b"12345", 5, 5),
        (b"12345", None, 5),
        (None, "x", None),
    ],
)
def test_the_size(body: bytes | None, sent: object, shown: int | None, web: Any) -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.raw_content = body
    if sent is not None:
        flow.metadata[SENT] = sent
    for _ in range(2):
        show_sent_sizes()
        assert web.flow_to_json(flow)["response"]["contentLength"] == shown
    assert not hasattr(web.flow_to_json.__wrapped__, "__wrapped__")


def test_other_flows_and_none_yet(web: Any) -> None:
    show_sent_sizes()
    assert "response" not in web.flow_to_json(tflow.tflow())
    assert web.flow_to_json(tflow.ttcpflow())["type"] == "tcp"


def test_without_mitmweb_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, WEB)
    show_sent_sizes()
    assert WEB not in sys.modules


def test_mitmwebs_name() -> None:
    """addon/pkgcache/proxy/mitmweb_sizes.py wraps it; the browser is told of flows by it alone, by its name in that module."""
    assert app.__name__ == WEB
    assert callable(app.flow_to_json)
    source = inspect.getsource(app)
    assert source.count("flow_to_json(f)") == 2  # the list that is asked for, and what the browser is told of new ones
    assert "import flow_to_json" not in inspect.getsource(master)
