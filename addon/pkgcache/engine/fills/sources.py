"""The upstreams of one file: whom a download asks next, who is not asked again, and who gets another chance."""

from __future__ import annotations

import enum
from collections.abc import Collection

from pkgcache.engine.fills.doubtful import Doubt, doubt_about, doubt_if_small
from pkgcache.engine.fills.fill_request import FillRequest
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import DOUBTFUL, SHARED_ORIGIN, Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.routing.urls import Url

TRANSIENT = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT, Failure.BROKEN, Failure.STATUS, Failure.BUSY})
"""Failures that another request may not have."""


class Again(enum.Enum):
    """Whether there is somebody to ask again, and with what has come so far, or from the beginning."""

    NO = enum.auto()
    GO_ON = enum.auto()
    START_OVER = enum.auto()


class Sources:
    """The sources of one request. `size` is the file's length as its index's page gives it, while that is believed."""

    def __init__(self, request: FillRequest, client: UpstreamClient) -> None:
        self._request = request
        self._client = client
        self.size = request.size
        self._refused: dict[Url | None, Failure] = {}
        urls = {url for url, _ in request.sources}
        # Whose doubtful answers are read to their end: where there is a choice, only after all others have failed.
        self._judged = urls if len(urls) == 1 else set[Url]()

    def left(self) -> list[tuple[Url, str]]:
        """Those that may be asked, in order."""
        in_order = [*self._request.shared, *self._client.healthy_first(self._request.sources)]
        return [each for each in in_order if each[0] not in self._refused]

    def doubt(self, url: Url, response: UpstreamResponse) -> Doubt | None:
        """Why an answer of this one is read to its end before anybody hears of it; None where it is not."""
        if response.url.origin == SHARED_ORIGIN:
            return doubt_if_small(response)
        return doubt_about(response) if url in self._judged else None

    def refuse(self, url: Url, error: UpstreamError) -> None:
        """Do not ask this one again, unless its failure may be a passing one."""
        if error.of_shared_tier:  # then the upstreams are asked, each as if there were no tier
            self._refused[url] = error.failure
            return
        passing = error.failure is Failure.STATUS and (error.status >= 500 or error.overloaded)
        if error.failure not in TRANSIENT or (error.failure is Failure.STATUS and not passing):
            self._refused[url] = error.failure

    def sent_wrong_bytes(self, suspects: Collection[Url | None]) -> None:
        """Do not ask these again. One refused for another length than the wrong bytes had may be right: it gets another chance."""
        self._refused.update(dict.fromkeys(suspects, Failure.WRONG_DIGEST))
        self._forgive(self._refused_for({Failure.WRONG_LENGTH}))

    def reconsider(self, contributors: Collection[Url | None], *, began: bool) -> Again:
        """When no source is left. `contributors` have sent the bytes or the length that there are; `began`: there are bytes.

        First come the doubtful ones. Then, where none has the size that the page gives, all without it: it may be wrong, and clients do
        not look at it. Then those refused for their length, since the first one's may be the wrong one; without a digest nothing could
        tell which of them is right.
        """
        doubtful = self._refused_for(DOUBTFUL) - self._judged
        if doubtful and not began:
            self._judged |= {url for url in doubtful if url is not None}
            self._forgive(doubtful)
            return Again.GO_ON
        refused = self._refused_for({Failure.WRONG_LENGTH})
        if refused and self.size is not None and not contributors:
            self.size = None
            self._forgive(refused)
            return Again.GO_ON
        believed = set(contributors) - refused
        if not refused or not believed or self._request.digest is None:
            return Again.NO
        self.sent_wrong_bytes(believed)
        return Again.START_OVER

    def _refused_for(self, failures: Collection[Failure]) -> set[Url | None]:
        return {url for url, why in self._refused.items() if why in failures}

    def _forgive(self, urls: Collection[Url | None]) -> None:
        for url in urls:
            self._refused.pop(url, None)
