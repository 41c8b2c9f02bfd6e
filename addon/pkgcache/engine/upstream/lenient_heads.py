"""Lets aiohttp read the heads that other HTTP clients read (`rules/http/response_heads`).

Both parsers of aiohttp are strict about a response's framing, and no option makes them lenient. So the bytes of each head are mended
before the parser has them. All that is leant on is `ResponseHandler`, with `data_received` and `set_response_params`, and
`TCPConnector._factory`; `tests/engine/upstream/test_aiohttp_names.py` holds them. Bodies pass untouched.
"""

from __future__ import annotations

import functools
from typing import Any, Final, override

import aiohttp
from aiohttp.client_proto import ResponseHandler

from pkgcache.rules.http.response_heads import end_of_head, is_interim, mended_head

MAX_HEAD: Final = 64 * 1024
"""Bytes of a head, and so of each line of it: the largest that a real server was seen to send had 12 kB, and pip takes as much a line."""

MAX_FIELDS: Final = 256
"""Fields of a head; pip reads 100."""


class LenientConnector(aiohttp.TCPConnector):
    """A connector whose connections read lenient heads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory: Any = functools.partial(LenientResponseHandler, loop=self._loop)


class LenientResponseHandler(ResponseHandler):
    """One connection. `_head`: what has come of the head that is due; None while a body is read. `_no_body`: the request was a HEAD."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self._head: bytearray | None = None
        self._no_body = False

    @override
    def set_response_params(self, **parameters: Any) -> None:
        """A request has been sent: the next bytes are a head."""
        self._head = bytearray()
        self._no_body = bool(parameters.get("skip_payload"))
        super().set_response_params(**parameters)

    @override
    def data_received(self, data: bytes) -> None:
        if self._head is None:
            super().data_received(data)
            return
        looked_at = len(self._head)
        # RFC 9112 §2.2 lets empty lines precede a request, and some servers send one before a response.
        self._head += data if self._head else data.lstrip(b"\r\n")
        mended = bytearray()
        while end := end_of_head(self._head, looked_at):
            head = bytes(self._head[:end])
            mended += mended_head(head)
            del self._head[:end]
            looked_at = 0
            if not is_interim(head):
                if not self._no_body:
                    mended += self._head
                elif self._head:  # some servers send the body all the same
                    self.force_close()
                self._head = None
                break
        if self._head is not None and len(self._head) > MAX_HEAD:
            mended += self._head  # the parser refuses it by its own limits
            self._head = None
        if mended:
            super().data_received(bytes(mended))
