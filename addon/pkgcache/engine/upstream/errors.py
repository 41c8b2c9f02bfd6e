"""What can go wrong with upstreams: the failure of one, and the failure of all that could be asked."""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
from typing import Final, Self

from multidict import CIMultiDict

from pkgcache.rules.http.cache_control import Headers
from pkgcache.rules.http.refusals import is_overloaded, passed_headers, retry_after
from pkgcache.rules.routing.urls import Url, parse_url, resolve_reference
from pkgcache.units import printable, redact

SHARED_ORIGIN: Final = "https://shared-tier.invalid"
"""Stands before the names of what a shared tier has (`engine/shared`): a name that nobody can have (RFC 2606 §2)."""


class Failure(enum.StrEnum):
    """Why an upstream did not give what was asked for. The value is its name in metrics."""

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
    NO_ROOM = "no-room"
    OFFLINE = "offline"
    BUSY = "busy"
    """Not the upstream's failure: it was not asked, because all connections to it are in use (`places`)."""


class UpstreamError(Exception):
    """One upstream's failure: a reason, and one line for people that names the upstream.

    `url` is where it failed, after redirects; `origin` is the origin that was asked first. `status` is the status of its answer, or 0
    if there was none; `headers` are what a refused client needs of that answer, and `retry_after` the seconds after which to ask again.
    `dead`: it has not answered for so long that nobody should try again soon (`breakers`).
    """

    def __init__(
        self,
        failure: Failure,
        url: Url | str,
        detail: str,
        *,
        status: int = 0,
        headers: CIMultiDict[str] | None = None,
        retry_after: int | None = None,
        origin: str = "",
        dead: bool = False,
    ) -> None:
        self.failure = failure
        self.url = str(url)
        self.detail = detail
        self.status = status
        self.headers = headers or CIMultiDict()
        self.retry_after = retry_after
        self.origin = origin
        self.dead = dead
        super().__init__(printable(redact(f"{self.url}: {detail}")))

    def to_keep(self) -> Self:
        """Return the error without its traceback, for whoever holds it beyond the handler that has caught it.

        The frames of a traceback hold all that was being worked on. One of them holds the error in turn, and so pages of 32 MB were
        there until the collector's next full round: 135 MB after 45 broken ones.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    @property
    def of_shared_tier(self) -> bool:
        """Whether it is no upstream's, but that of a shared tier, which says nothing about what upstreams have."""
        return self.url.startswith(SHARED_ORIGIN)

    @property
    def overloaded(self) -> bool:
        """Whether the upstream is well, and wants to be asked again later."""
        return is_overloaded(self.status, self.retry_after)


def refused(url: Url, status: int, headers: Headers, origin: str) -> UpstreamError:
    """Return the error for an answer whose status is not the wanted one."""
    seconds = retry_after(headers, time.time())
    absent = status in {404, 410}
    detail = f"it does not have it ({status})" if absent else f"it answered {status}"
    return UpstreamError(
        Failure.NOT_FOUND if absent else Failure.STATUS,
        url,
        detail,
        status=status,
        headers=passed_headers(status, headers),
        retry_after=seconds,
        origin=origin,
    )


def redirected(url: Url, location: str) -> Url:
    """Return where an answer's `Location` leads. Raises UpstreamError where that is no URL to be fetched."""
    try:
        return parse_url(resolve_reference(url, location))
    except ValueError as error:
        raise UpstreamError(Failure.REDIRECTS, url, f"a redirect to {location!r}: {error}") from error


class AllFailedError(Exception):
    """No upstream gave what was asked for. `errors`: what each of them answered, in the order that they were asked."""

    def __init__(self, errors: Sequence[UpstreamError]) -> None:
        self.errors = tuple(error.to_keep() for error in errors if not error.of_shared_tier)
        super().__init__("; ".join(map(str, self.errors)) or "there is no upstream to ask")

    @property
    def status(self) -> int:
        """The status that all of them answered with, or 0 if they differ."""
        statuses = {error.status for error in self.errors}
        return statuses.pop() if len(statuses) == 1 else 0

    @property
    def failures(self) -> set[Failure]:
        """The reasons, without repetition."""
        return {error.failure for error in self.errors}

    @property
    def may_be_of_an_old_link(self) -> bool:
        """Whether a newer page might have another link or digest for a file that failed so.

        The file was replaced or removed, or its link has expired: blob stores answer 403 then, some of them 400 or 401.
        """
        outdated = {Failure.NOT_FOUND, Failure.WRONG_DIGEST, Failure.WRONG_LENGTH}
        return any(error.failure in outdated or error.status in {400, 401, 403} for error in self.errors)


class NoRoomError(OSError):
    """A file does not fit into the store, or on the disk beside the space to be left free. Both work, so this is no trouble of theirs."""


DOUBTFUL = frozenset({Failure.WRONG_ENCODING, Failure.WRONG_TYPE})
"""Refusals of an answer that may be the file all the same, which only all of it tells (`fills/doubtful`)."""

WITHOUT_DISK = frozenset({Failure.DISK, Failure.NO_ROOM})
"""Failures of which no upstream is the cause: clients get the file all the same, uncached."""
