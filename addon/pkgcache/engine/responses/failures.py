"""Answers where nothing can be served: no upstream gave it, it takes too long, or no upstream may be asked.

Each is plain text for people. An upstream's failure is never a 404, because uv would go on to the next index then, where a stranger may
have published a package of that name.
"""

from __future__ import annotations

from collections.abc import Sequence

from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.upstream.errors import DOUBTFUL, AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.cache_status import CacheStatus

UNDECIDED = "undecided"
"""The detail of an answer where a HEAD or a range did not tell whether it was about the file."""

BUSY_SECONDS = 2
"""When to come again where all connections were in use. pip and uv do so three to five times."""

UNREACHABLE_SECONDS = 3
"""When to come again where no upstream could be reached just now: pip's five tries then outlast a mirror's restart of 15 s."""

_NO_ANSWER = frozenset({Failure.UNREACHABLE, Failure.TIMEOUT})


def failed(what: str, error: AllFailedError, request: Request) -> Response:
    """The answer where no upstream gave `what`, with the `error` itself (`_answer` has the table)."""
    response = _answer(what, error, request)
    response.error = error
    return response


def _answer(what: str, error: AllFailedError, request: Request) -> Response:
    """The answer where no upstream gave `what`. It names each of them and what went wrong.

    | all upstreams that were asked say | answer |
    |---|---|
    | 404 or 410 | 404 |
    | nothing, since all connections to one of them are in use | 503 with Retry-After |
    | 429, or 503 with Retry-After, one of them, and none has it | the same, with the least Retry-After |
    | 451 | 451 |
    | 401 or 403, and the origin that the client named is one of them | the same, with that origin's challenge |
    | nothing, not even to a probe (or 404): each is dead | 504, which pip does not try again |
    | nothing, and one may be back in a moment | 503 with Retry-After |
    | anything else | 502 |
    """
    text = "\n".join([f"{what} cannot be had from any upstream:", *(f"  {each}" for each in error.errors)])
    failures = error.failures
    if failures == {Failure.OFFLINE}:
        return offline(what)
    if Failure.BUSY in failures:  # that one may have it, whatever the others say
        return _come_again(text, detail="busy", seconds=BUSY_SECONDS)
    if failures == {Failure.NOT_FOUND}:
        return Response.text(404, text, cache=CacheStatus(fwd="miss", fwd_status=404))
    named = _of_named_origin(error, request)
    if error.status == 451 or (error.status in {401, 403} and named):
        cache = CacheStatus(fwd="miss", fwd_status=error.status)
        return Response.text(error.status, text, cache=cache, more=named.headers if named else None)
    if overloaded := [each for each in error.errors if each.overloaded]:
        return _overloaded(text, overloaded)
    return _no_good_answer(text, error)


def _no_good_answer(text: str, error: AllFailedError) -> Response:
    silent = [each for each in error.errors if each.failure in _NO_ANSWER]
    heard = error.failures - _NO_ANSWER - {Failure.NOT_FOUND}
    may_be_back = not all(each.dead for each in silent)
    status = 503 if may_be_back else 504 if silent and not heard else 502
    detail = UNDECIDED if error.failures and error.failures <= DOUBTFUL else "upstreams-failed"
    response = Response.text(status, text, cache=CacheStatus(fwd="miss", detail=detail))
    if may_be_back:
        response.headers["Retry-After"] = str(UNREACHABLE_SECONDS)
    return response


def _of_named_origin(error: AllFailedError, request: Request) -> UpstreamError | None:
    """What the origin in the client's own URL said, if it was asked.

    Only its refusal may reach the client. A mirror's 401 would make it ask a person for the password of a host that the person does not
    know of, and a stored login for the index's host would not help.
    """
    if request.at_proxy_address:
        return None
    return next((each for each in error.errors if each.origin == request.url.origin), None)


def _overloaded(text: str, errors: Sequence[UpstreamError]) -> Response:
    """The answer where an upstream wants to be asked again later: pip and uv do as `Retry-After` says, and give a bare 502 up sooner."""
    status = errors[0].status
    response = Response.text(status, text, cache=CacheStatus(fwd="miss", fwd_status=status))
    if seconds := [each.retry_after for each in errors if each.retry_after is not None]:
        response.headers["Retry-After"] = str(min(seconds))
    return response


def still_fetching(what: str) -> Response:
    """503 with Retry-After, which pip and uv follow. The download continues meanwhile, and the next request joins it."""
    return _come_again(f"{what} is still being fetched from a slow upstream; retry", detail="slow-upstream", seconds=1)


def _come_again(text: str, *, detail: str, seconds: int) -> Response:
    response = Response.text(503, text, detail=detail)
    response.headers["Retry-After"] = str(seconds)
    return response


def offline(what: str) -> Response:
    """504: `what` is not stored, and no upstream may be asked (`pypi_cache_offline`)."""
    return Response.text(
        504, f"{what} is not in the store, and the proxy is offline (pypi_cache_offline)", detail="offline"
    )


def only_stored(what: str, *, stale: bool = False) -> Response:
    """504: the client wants a stored answer and no other (`only-if-cached`, RFC 9111 §5.2.1.7). Nothing was forwarded."""
    why = "is stored, but must be revalidated" if stale else "is not in the store"
    return Response.text(504, f"{what} {why}, and the request says only-if-cached", detail="only-if-cached")


def offline_error(what: str) -> AllFailedError:
    """The failure of an upstream that was not asked, because the proxy is offline."""
    return AllFailedError([UpstreamError(Failure.OFFLINE, what, "the proxy is offline (pypi_cache_offline)")])
