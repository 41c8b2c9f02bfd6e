"""aiohttp's inner names that `upstream/lenient_heads` relies on: each is there, and does what it expects of it."""

import inspect

from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler

from pkgcache.engine.upstream.lenient_heads import LenientConnector, LenientResponseHandler


def test_the_handler() -> None:
    """If this fails: `set_response_params` must be called once a request is sent, before its response's first byte is parsed."""
    assert list(inspect.signature(ResponseHandler.data_received).parameters) == ["self", "data"]
    kinds = {each.kind for each in inspect.signature(ResponseHandler.set_response_params).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert "skip_payload" in inspect.signature(ResponseHandler.set_response_params).parameters, "True after a HEAD"
    assert list(inspect.signature(ResponseHandler.force_close).parameters) == ["self"]
    assert list(inspect.signature(ResponseHandler).parameters) == ["loop"]


async def test_the_connector() -> None:
    """If this fails: look in aiohttp's connector for what makes the protocol of a new connection."""
    ordinary, lenient = TCPConnector(), LenientConnector(limit=0)
    try:
        assert type(ordinary._factory()) is ResponseHandler
        assert type(lenient._factory()) is LenientResponseHandler
    finally:
        await ordinary.close()
        await lenient.close()
