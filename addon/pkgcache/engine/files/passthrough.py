"""A release file from the upstreams to one client alone: HEAD, ranges, and whole files that the disk cannot take.

What is passed through is not verified, so its entity tag is one that no stored file ever has. Short ranges are kept as such
(`range_cache`); nothing else is.
"""

from __future__ import annotations

from multidict import CIMultiDict

from pkgcache.engine.files.identity import FileIdentity
from pkgcache.engine.files.range_cache import RANGE_BYTES, RangeCache
from pkgcache.engine.fills.fill_request import IDENTITY, FileHead, FillRequest, check_content, check_response
from pkgcache.engine.fills.uncached import UncachedDownload
from pkgcache.engine.responses.failures import failed
from pkgcache.engine.responses.file_response import unsatisfiable
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.engine.responses.relay import RelayBody, Send
from pkgcache.engine.runtime.metrics import Metrics
from pkgcache.engine.upstream.client import UpstreamClient
from pkgcache.engine.upstream.errors import AllFailedError, Failure, UpstreamError
from pkgcache.engine.upstream.response import UpstreamResponse
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.ranges import Span, parse_content_range, parse_range, satisfies
from pkgcache.rules.http.refusals import is_of_head_alone
from pkgcache.rules.policy.fills import starts_fill
from pkgcache.rules.routing.urls import Url


class Passthrough:
    """Answers for one client alone."""

    def __init__(self, client: UpstreamClient, metrics: Metrics, ranges: RangeCache) -> None:
        self._client = client
        self._metrics = metrics
        self._ranges = ranges

    async def head(self, request: Request, file: FileIdentity) -> Response:
        """The answer to a HEAD for a file that is not stored. A fill is not worth it: most clients look and go.

        Where no upstream answers it, those that may know no HEAD are asked by GET, and the body is not read.
        """
        errors: list[UpstreamError] = []
        sources = [*file.shared[:1], *self._client.healthy_first(file.route.sources)]
        for method in ("HEAD", "GET"):
            refusing: list[tuple[Url, str]] = []
            for url, authorization in sources:
                try:
                    async with self._client.request(method, url, IDENTITY, authorization) as response:
                        return self._headed(file, url, response)
                except UpstreamError as error:
                    if method == "HEAD" and is_of_head_alone(error.status):
                        refusing.append((url, authorization))
                    else:
                        self._metrics.upstream_failed(error)
                        errors.append(error.to_keep())
            sources = refusing
        return failed(file.shown_name, AllFailedError(errors), request)

    def _headed(self, file: FileIdentity, url: Url, response: UpstreamResponse) -> Response:
        """The answer to a HEAD, by an upstream's to a HEAD or GET. Raises UpstreamError."""
        _, total = check_response(response, 0, None)
        headers = file.headers(FileHead(total=total, headers=CIMultiDict(response.headers), source=response.url))
        if total is not None:
            headers["Content-Length"] = str(total)
        headers["ETag"] = file.transient_tag
        headers["Accept-Ranges"] = "bytes"
        self._metrics.miss("file")
        return Response(status=200, headers=headers, cache=CacheStatus(fwd="miss", fwd_status=200), upstream=url.origin)

    async def range(self, request: Request, file: FileIdentity) -> Response | None:
        """The answer to a range; None from an upstream that ignores ranges: then the whole file comes, and is worth storing."""
        errors: list[UpstreamError] = []
        for url, authorization in [*file.shared[:1], *self._client.healthy_first(file.route.sources)]:
            relay = RelayBody(
                self._requests(url, authorization, request.headers["Range"], sole=len(file.route.sources) == 1),
                immutable=file.digest is not None,
            )
            try:
                response = await relay.open()
                if response.status != 416:
                    check_content(response)
                    _check_span(request, response)
            except UpstreamError as error:
                await relay.aclose()
                self._metrics.upstream_failed(error)
                errors.append(error.to_keep())
                continue
            if response.status == 206:
                return self._relayed(file, url, response, relay)
            await relay.aclose()
            if response.status == 200:
                return None
            content_range = response.headers.get("Content-Range", "bytes */*")
            return unsatisfiable(content_range, CacheStatus(fwd="partial", fwd_status=416))
        return failed(file.shown_name, AllFailedError(errors), request)

    def _requests(self, url: Url, authorization: str, wanted: str, *, sole: bool) -> Send:
        sent = {**IDENTITY, "Range": wanted}
        return lambda rest: self._client.request("GET", url, sent | rest, authorization, sole_source=sole)

    def _relayed(self, file: FileIdentity, url: Url, response: UpstreamResponse, relay: RelayBody) -> Response:
        """A 206 on its way through, which is kept if it is short."""
        headers = file.headers(FileHead(total=None, headers=CIMultiDict(response.headers), source=response.url))
        kept = self._keep(file, headers.copy(), response, relay)
        for name in ("Content-Range", "Content-Length", "Content-Type"):
            if name in response.headers:
                headers[name] = response.headers[name]
        headers["ETag"] = file.transient_tag
        headers["Accept-Ranges"] = "bytes"
        self._metrics.miss("range")
        cache = CacheStatus(fwd="partial", fwd_status=206, stored=kept)
        return Response(status=206, headers=headers, body=relay, cache=cache, upstream=url.origin)

    def _keep(
        self, file: FileIdentity, headers: CIMultiDict[str], response: UpstreamResponse, relay: RelayBody
    ) -> bool:
        """Have a range kept once all of it has come; whether it is one that is kept."""
        found = parse_content_range(response.headers.get("Content-Range"))
        if file.digest is None or found is None or found.total is None or found.stop - found.start > RANGE_BYTES:
            return False
        span, total = Span(found.start, found.stop), found.total
        relay.gather(span.length, lambda data: self._ranges.keep(file, headers, span, total, data))
        return True

    async def uncached(
        self, request: Request, file: FileIdentity, fill_request: FillRequest, *, disk_failed: bool
    ) -> Response:
        """What was asked for, because the disk or the store cannot take the file."""
        if request.method == "HEAD":
            return await self.head(request, file)
        response: Response | None = None
        if not starts_fill(request.headers, file.size):
            response = await self.range(request, file)
        return response or await self.whole(request, file, fill_request, disk_failed=disk_failed)

    async def whole(
        self, request: Request, file: FileIdentity, fill_request: FillRequest, *, disk_failed: bool = True
    ) -> Response:
        """The whole file, verified on its way."""
        body = UncachedDownload(self._client, fill_request, report=self._metrics.upstream_failed)
        try:
            url, upstream_headers = await body.open()
        except AllFailedError as error:
            return failed(file.shown_name, error, request)
        headers = file.headers(FileHead(total=body.total, headers=upstream_headers, source=url))
        headers["ETag"] = file.transient_tag
        if body.total is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(body.total)
        self._metrics.miss("file")
        cache = (
            CacheStatus(fwd="miss", fwd_status=200, detail="disk-failed") if disk_failed else CacheStatus(fwd="miss")
        )
        return Response(status=200, headers=headers, body=body, cache=cache, upstream=url.origin)


def _check_span(request: Request, response: UpstreamResponse) -> None:
    """Check that a 206 holds the range that was asked for, and that its length is that of the range. Raises UpstreamError."""
    requested = parse_range(request.headers.get("Range"))
    if response.status != 206 or requested is None:
        return
    found = parse_content_range(response.headers.get("Content-Range"))
    if not satisfies(requested, found):
        got = response.headers.get("Content-Range", "no Content-Range")
        raise UpstreamError(Failure.WRONG_SPAN, response.url, f"asked for {request.headers['Range']!r}, got {got!r}")
    length = response.headers.get("Content-Length")
    if found and length and int(length) != found.stop - found.start:
        raise UpstreamError(
            Failure.WRONG_LENGTH, response.url, f"{length} bytes are announced for {found.stop - found.start}"
        )
