"""Which ordinary flows stream: those that nobody wants to look at, and requests only where nobody can answer them later."""

import types
from typing import Any

import pytest
from mitmproxy import addons, http
from mitmproxy.addons import dumper, view
from mitmproxy.test import taddons, tflow

from pkgcache.proxy.addon import PypiCache
from pkgcache.proxy.streaming import ANSWERERS, READERS, Streaming


class Hooks:
    """A script with these hooks."""

    def __init__(self, *names: str) -> None:
        for name in names:
            setattr(self, name, lambda _: None)


def scripted(*names: str) -> types.ModuleType:
    """A script whose hooks are plain functions."""
    module = types.ModuleType("__mitmproxy_script__.theirs")
    for name in names:
        setattr(module, name, lambda _: None)
    return module


def streamed(addons: dict[str, Any], *, options: dict[str, Any] | None = None, **request: Any) -> tuple[bool, bool]:
    """Whether request and response of a flow stream."""
    flow = tflow.tflow(resp=False)
    flow.request.headers["Content-Length"] = "7"
    for name, value in request.items():
        flow.request.headers[name.replace("_", "-")] = value
    with taddons.context(dumper.Dumper()) as running:
        for addon in (addon for addon in addons_of_mitmproxy() if not isinstance(addon, dumper.Dumper)):
            running.master.addons.add(addon)
        for name, value in (options or {}).items():
            setattr(running.options, name, value)
        streaming = Streaming(running.options, addons)
    streaming.request(flow)
    flow.response = http.Response.make(200)
    streaming.response(flow)
    return bool(flow.request.stream), bool(flow.response.stream)


def addons_of_mitmproxy() -> list[Any]:
    return [
        addon for addon in addons.default_addons() if type(addon).__name__ not in {"Core", "ErrorCheck", "KeepServing"}
    ]


BOTH, RESPONSE, NEITHER = (True, True), (False, True), (False, False)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({}, BOTH),
        ({"ours": PypiCache()}, BOTH),
        ({"a": Hooks("client_connected", "running", "error")}, BOTH),
        ({"a": Hooks("responseheaders")}, BOTH),
        ({"a": Hooks("requestheaders")}, RESPONSE),
        ({"a": Hooks("request")}, NEITHER),
        ({"a": Hooks("response")}, NEITHER),
        ({"a": scripted("response")}, NEITHER),
        ({"a": scripted("load", "done")}, BOTH),
        ({"view": view.View()}, NEITHER),
    ],
)
def test_by_the_addons(present: dict[str, Any], expected: tuple[bool, bool]) -> None:
    assert streamed({str(type(each)): each for each in addons.default_addons()} | present) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save_stream_file": "/tmp/flows"}, NEITHER),
        ({"hardump": "/tmp/har"}, NEITHER),
        ({"modify_body": ["/~s/x/y"]}, NEITHER),
        ({"body_size_limit": "10m"}, NEITHER),
        ({"store_streamed_bodies": True}, NEITHER),
        ({"flow_detail": 3}, NEITHER),
        ({"flow_detail": 2}, BOTH),
        ({"block_list": ["|~u x|404"]}, RESPONSE),
        ({"map_remote": ["|http://a.test|http://b.test"]}, RESPONSE),
        ({"stickyauth": ".*"}, RESPONSE),
        ({"anticomp": True}, RESPONSE),
        ({"modify_headers": ["/~q/x/y"]}, BOTH),
    ],
)
def test_by_the_options(options: dict[str, Any], expected: tuple[bool, bool]) -> None:
    assert streamed({}, options=options) == expected


def test_the_options_are_mitmproxys() -> None:
    """One that is renamed would be taken for unset, and bodies would pass by an addon that wants them."""
    with taddons.context(*addons_of_mitmproxy()) as running:
        for name in (*READERS, *ANSWERERS, "stream_large_bodies"):
            assert name in running.options, name


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, BOTH),
        ({"Content_Length": "0"}, RESPONSE),
        ({"Content_Length": "0", "Transfer_Encoding": "chunked"}, BOTH),
        ({"Upgrade": "h2c"}, RESPONSE),  # mitmproxy removes it from complete requests
    ],
)
def test_by_the_request(headers: dict[str, str], expected: tuple[bool, bool]) -> None:
    assert streamed({}, **headers) == expected


def test_a_request_that_is_answered_already() -> None:
    """`proxyauth` sets the 407 in the same hook, before: mitmproxy would fail, and the client hang."""
    flow = tflow.tflow(resp=True)
    flow.request.headers["Content-Length"] = "7"
    with taddons.context() as running:
        Streaming(running.options, {}).request(flow)
    assert not flow.request.stream


def test_a_response_that_changes_the_protocol() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.status_code = 101
    with taddons.context() as running:
        Streaming(running.options, {}).response(flow)
    assert not flow.response.stream


def test_what_somebody_else_streams_stays() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None

    def changed(data: bytes) -> bytes:
        return data.upper()

    flow.response.stream = changed
    with taddons.context() as running:
        Streaming(running.options, {"a": Hooks("response")}).response(flow)
        assert flow.response.stream is changed
        Streaming(running.options, {}).response(flow)
    assert flow.response.stream is changed
