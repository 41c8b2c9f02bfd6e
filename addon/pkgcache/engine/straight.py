"""A release file straight from the upstreams to one client: HEAD, ranges, and whole files that the disk does not take.

What is passed through is not verified, so its entity tag is that of an attempt that is never committed. Short ranges are kept as what
they are (engine/parts.py); nothing else is.
"""

from __future__ import annotations

from multidict import CIMultiDict

from pkgcache.engine.identity import Identified
from pkgcache.engine.messages import Reply, Request
from pkgcache.engine.metrics import Metrics
from pkgcache.engine.parts import PART_BYTES, Parts
from pkgcache.engine.passage import Passage
from pkgcache.engine.replies import unsatisfiable
from pkgcache.engine.unstored import Unstored
from pkgcache.engine.upstream import Answer, Failure, UpstreamClient, UpstreamError
from pkgcache.engine.wanted import FillError, Head, Wanted, check_answer
from pkgcache.rules.cachestatus import CacheStatus
from pkgcache.rules.ranges import Span, answers, parse_content_range, parse_range


class Straight:
    """Answers for one client alone."""

    def __init__(self, client: UpstreamClient, metrics: Metrics, parts: Parts) -> None:
        self._client = client
        self._metrics = metrics
        self._parts = parts

    async def head(self, file: Identified) -> Reply:
        """The reply to a HEAD for a file that is not there."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.in_order(file.route.sources):
            try:
                async with self._client.ask("HEAD", url, {"Accept-Encoding": "identity"}, authorization) as answer:
                    total = check_answer(answer)
                    head = Head(total=total, headers=CIMultiDict(answer.headers), source=answer.url)
                    headers = file.headers(head)
                    if total is not None:
                        headers["Content-Length"] = str(total)
                    headers["ETag"] = file.passing_tag
                    headers["Accept-Ranges"] = "bytes"
                    self._metrics.miss("file")
                    return Reply(
                        status=200, headers=headers, cache=CacheStatus(fwd="miss", fwd_status=200), upstream=url.origin
                    )
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
        return failed_file(file, FillError(errors))

    async def part(self, request: Request, file: Identified) -> Reply | None:
        """A range of it; None from an upstream that does no ranges: then the whole file is worth storing."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.in_order(file.route.sources):
            sent = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": request.headers["Range"]}
            passage = Passage(self._client.ask("GET", url, sent, authorization, alone=len(file.route.sources) == 1))
            try:
                answer = await passage.open()
                if answer.status == 416:
                    await passage.aclose()
                    content_range = answer.headers.get("Content-Range", "bytes */*")
                    return unsatisfiable(content_range, CacheStatus(fwd="partial", fwd_status=416))
                check_answer(answer)
                _check_span(request, answer)
            except UpstreamError as error:
                await passage.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error)
                continue
            if answer.status == 200:
                await passage.aclose()
                return None
            headers = file.headers(Head(total=None, headers=CIMultiDict(answer.headers), source=answer.url))
            kept = self._keep(file, headers.copy(), answer, passage)
            for name in ("Content-Range", "Content-Length", "Content-Type"):
                if name in answer.headers:
                    headers[name] = answer.headers[name]
            headers["ETag"] = file.passing_tag
            headers["Accept-Ranges"] = "bytes"
            self._metrics.miss("range")
            return Reply(
                status=206,
                headers=headers,
                body=passage,
                cache=CacheStatus(fwd="partial", fwd_status=206, stored=kept),
                upstream=url.origin,
            )
        return failed_file(file, FillError(errors))

    def _keep(self, file: Identified, headers: CIMultiDict[str], answer: Answer, passage: Passage) -> bool:
        """See to it that a short range is kept once it has come: whether it is one."""
        found = parse_content_range(answer.headers.get("Content-Range"))
        if file.digest is None or found is None or found.total is None or found.stop - found.start > PART_BYTES:
            return False
        span, total = Span(found.start, found.stop), found.total
        passage.gather(span.length, lambda data: self._parts.keep(file, headers, span, total, data))
        return True

    async def whole(self, file: Identified, wanted: Wanted) -> Reply:
        """All of it, verified on the way."""
        body = Unstored(self._client, wanted, report=self._metrics.upstream_failed)
        try:
            url, upstream_headers = await body.open()
        except UpstreamError as error:
            return failed_file(file, FillError([error]))
        headers = file.headers(Head(total=body.total, headers=upstream_headers, source=url))
        headers["ETag"] = file.passing_tag
        if body.total is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(body.total)
        self._metrics.miss("file")
        cache = CacheStatus(fwd="miss", fwd_status=200, detail="disk-failed")
        return Reply(status=200, headers=headers, body=body, cache=cache, upstream=url.origin)


def failed_file(file: Identified, error: FillError) -> Reply:
    """404 only where every upstream that answered says so; else 502, or 504 where none answered in time."""
    lines = [
        f"{file.route.filename}{file.route.suffix} cannot be had from any upstream:",
        *(f"  {e}" for e in error.errors),
    ]
    failures = {e.failure for e in error.errors}
    if failures and failures <= {Failure.NOT_FOUND}:
        return Reply.text(404, "\n".join(lines), cache=CacheStatus(fwd="miss", fwd_status=404))
    if len(error.errors) == 1 and (status := error.errors[0].status) in {401, 403, 451}:
        cache = CacheStatus(fwd="miss", fwd_status=status)
        return Reply.text(status, "\n".join(lines), cache=cache, challenge=error.errors[0].challenge)
    status = 504 if failures and failures <= {Failure.TIMEOUT, Failure.NOT_FOUND} else 502
    return Reply.text(status, "\n".join(lines), cache=CacheStatus(fwd="miss", detail="upstreams-failed"))


def _check_span(request: Request, answer: Answer) -> None:
    """That a 206 holds the span that was asked for, and announces its length. Raises UpstreamError."""
    requested = parse_range(request.headers.get("Range"))
    if answer.status != 206 or requested is None:
        return
    found = parse_content_range(answer.headers.get("Content-Range"))
    if not answers(requested, found):
        got = answer.headers.get("Content-Range", "no Content-Range")
        raise UpstreamError(Failure.WRONG_SPAN, answer.url, f"asked for {request.headers['Range']!r}, got {got!r}")
    length = answer.headers.get("Content-Length")
    if found and length and int(length) != found.stop - found.start:
        raise UpstreamError(
            Failure.WRONG_LENGTH, answer.url, f"{length} bytes are announced for {found.stop - found.start}"
        )
