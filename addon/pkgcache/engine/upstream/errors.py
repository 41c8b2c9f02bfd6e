"""What can go wrong with upstreams: one upstream's failure, and the failure of all of them."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from pkgcache.rules.routing.urls import Url


class Failure(enum.StrEnum):
    """Why an upstream did not give what was asked; the value is its name in metrics."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    REFUSED_ADDRESS = "refused-address"
    REDIRECTS = "redirects"
    BROKEN = "broken"
    STATUS = "status"
    NOT_FOUND = "not-found"
    WRONG_LENGTH = "wrong-length"
    WRONG_SPAN = "wrong-span"
    WRONG_ENCODING = "wrong-encoding"
    WRONG_TYPE = "wrong-type"
    WRONG_DIGEST = "wrong-digest"
    WRONG_PAGE = "wrong-page"
    DISK = "disk"
    OFFLINE = "offline"


class UpstreamError(Exception):
    """One upstream's failure: a reason value, and one line for people that names the upstream.

    `url` is where it failed, after redirects; `origin` is the origin that was asked first. `status` is its answer's status, 0 where
    there was none, and `challenge` a 401's `WWW-Authenticate`.
    """

    def __init__(
        self, failure: Failure, url: Url | str, detail: str, *, status: int = 0, challenge: str = "", origin: str = ""
    ) -> None:
        self.failure = failure
        self.url = str(url)
        self.detail = detail
        self.status = status
        self.challenge = challenge
        self.origin = origin
        super().__init__(f"{self.url}: {detail}")


class AllFailedError(Exception):
    """No upstream gave what was asked for: what each of them said, in order."""

    def __init__(self, errors: Sequence[UpstreamError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, errors)) or "there is no upstream to ask")

    @property
    def status(self) -> int:
        """The one status that all of them answered with, or 0."""
        statuses = {error.status for error in self.errors}
        return statuses.pop() if len(statuses) == 1 else 0

    @property
    def failures(self) -> set[Failure]:
        """The reasons, each once."""
        return {error.failure for error in self.errors}


class NoRoomError(OSError):
    """The disk is too small for a file, beside what it is to leave free: nothing is wrong with it."""
