"""A release file straight from the upstreams to one client: HEAD, ranges, and whole files that the disk does not take.

What is passed through is not verified, so its entity tag is that of an attempt that is never committed. Short ranges are kept as what
they are (engine/parts.py); nothing else is.
"""

from __future__ import annotations

from multidict import CIMultiDict

from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.files.range_cache import PART_BYTES, RangeCache
from pkgcache.engine.fills.fill_request import FileHead, FillRequest, check_answer
from pkgcache.engine.fills.uncached import UncachedDownload
from pkgcache.engine.responses.failures import failed
from pkgcache.engine.responses.file_response import unsatisfiable
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.responses.relay import RelayBody
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.upstream.client import UpstreamClient, UpstreamResponse
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.ranges import Span, parse_content_range, parse_range, satisfies


class Passthrough:
    """Answers for one client alone."""

    def __init__(self, client: UpstreamClient, metrics: Metrics, parts: RangeCache) -> None:
        self._client = client
        self._metrics = metrics
        self._parts = parts

    async def head(self, request: Request, file: FileIdentity) -> Response:
        """The reply to a HEAD for a file that is not there."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.healthy_first(file.route.sources):
            try:
                async with self._client.request("HEAD", url, {"Accept-Encoding": "identity"}, authorization) as answer:
                    total = check_answer(answer)
                    head = FileHead(total=total, headers=CIMultiDict(answer.headers), source=answer.url)
                    headers = file.headers(head)
                    if total is not None:
                        headers["Content-Length"] = str(total)
                    headers["ETag"] = file.transient_tag
                    headers["Accept-Ranges"] = "bytes"
                    self._metrics.miss("file")
                    return Response(
                        status=200, headers=headers, cache=CacheStatus(fwd="miss", fwd_status=200), upstream=url.origin
                    )
            except UpstreamError as error:
                self._metrics.upstream_failed(error)
                errors.append(error)
        return failed(file.shown_name, AllFailedError(errors), request)

    async def part(self, request: Request, file: FileIdentity) -> Response | None:
        """A range of it; None from an upstream that does no ranges: then the whole file is worth storing."""
        errors: list[UpstreamError] = []
        for url, authorization in self._client.healthy_first(file.route.sources):
            sent = {"Accept": "*/*", "Accept-Encoding": "identity", "Range": request.headers["Range"]}
            passage = RelayBody(
                self._client.request("GET", url, sent, authorization, sole_source=len(file.route.sources) == 1)
            )
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
            headers = file.headers(FileHead(total=None, headers=CIMultiDict(answer.headers), source=answer.url))
            kept = self._keep(file, headers.copy(), answer, passage)
            for name in ("Content-Range", "Content-Length", "Content-Type"):
                if name in answer.headers:
                    headers[name] = answer.headers[name]
            headers["ETag"] = file.transient_tag
            headers["Accept-Ranges"] = "bytes"
            self._metrics.miss("range")
            return Response(
                status=206,
                headers=headers,
                body=passage,
                cache=CacheStatus(fwd="partial", fwd_status=206, stored=kept),
                upstream=url.origin,
            )
        return failed(file.shown_name, AllFailedError(errors), request)

    def _keep(
        self, file: FileIdentity, headers: CIMultiDict[str], answer: UpstreamResponse, passage: RelayBody
    ) -> bool:
        """See to it that a short range is kept once it has come: whether it is one."""
        found = parse_content_range(answer.headers.get("Content-Range"))
        if file.digest is None or found is None or found.total is None or found.stop - found.start > PART_BYTES:
            return False
        span, total = Span(found.start, found.stop), found.total
        passage.gather(span.length, lambda data: self._parts.keep(file, headers, span, total, data))
        return True

    async def whole(self, request: Request, file: FileIdentity, wanted: FillRequest) -> Response:
        """All of it, verified on the way."""
        body = UncachedDownload(self._client, wanted, report=self._metrics.upstream_failed)
        try:
            url, upstream_headers = await body.open()
        except UpstreamError as error:
            return failed(file.shown_name, AllFailedError([error]), request)
        headers = file.headers(FileHead(total=body.total, headers=upstream_headers, source=url))
        headers["ETag"] = file.transient_tag
        if body.total is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(body.total)
        self._metrics.miss("file")
        cache = CacheStatus(fwd="miss", fwd_status=200, detail="disk-failed")
        return Response(status=200, headers=headers, body=body, cache=cache, upstream=url.origin)


def _check_span(request: Request, answer: UpstreamResponse) -> None:
    """That a 206 holds the span that was asked for, and announces its length. Raises UpstreamError."""
    requested = parse_range(request.headers.get("Range"))
    if answer.status != 206 or requested is None:
        return
    found = parse_content_range(answer.headers.get("Content-Range"))
    if not satisfies(requested, found):
        got = answer.headers.get("Content-Range", "no Content-Range")
        raise UpstreamError(Failure.WRONG_SPAN, answer.url, f"asked for {request.headers['Range']!r}, got {got!r}")
    length = answer.headers.get("Content-Length")
    if found and length and int(length) != found.stop - found.start:
        raise UpstreamError(
            Failure.WRONG_LENGTH, answer.url, f"{length} bytes are announced for {found.stop - found.start}"
        )
