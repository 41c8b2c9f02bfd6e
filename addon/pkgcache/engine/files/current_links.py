"""Release files whose links a stored page has outlived: the request is tried again by the link that the page has now.

```
GET …/six-1.0.whl?sig=old    403 at the upstream: the link has expired
                             the stored page may be newer than the client's, and is looked into first
                             then it is asked for again (`engine/pages/renewal`)
GET …/six-1.0.whl?sig=new    what the client gets, by the URL that it asked for
```

A file that fails only after its first bytes were sent cannot be tried again for that client; its page is renewed for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pkgcache.engine.files.identity import FileIdentity, FileResolver
from pkgcache.engine.files.release_files import ReleaseFiles
from pkgcache.engine.pages.known_files import KnownFiles
from pkgcache.engine.pages.renewal import Renewal
from pkgcache.engine.responses.messages import CLIENT_SECONDS, Request, Response
from pkgcache.engine.upstream.errors import AllFailedError, Failure
from pkgcache.rules.routing.routes import PUBLIC, ReleaseFile, Route, by_index
from pkgcache.rules.routing.urls import Url, parse_url


class CurrentLinks:
    """Answers requests for release files, by newer links where that is needed.

    `route_of`: what a URL means. `refusal`: why the operator's rules refuse a route, or None.
    """

    def __init__(
        self,
        files: ReleaseFiles,
        known_files: KnownFiles,
        renewal: Renewal,
        route_of: Callable[[Url], Route],
        refusal: Callable[[Route], Awaitable[Response | None]],
    ) -> None:
        self._files = files
        self._known_files = known_files
        self._resolver = FileResolver(known_files)
        self._renewal = renewal
        self._route_of = route_of
        self._refusal = refusal
        files.fills.on_failure = self._failed

    def _failed(self, file: FileIdentity, error: AllFailedError, began: float) -> None:
        if error.failures & {Failure.WRONG_DIGEST, Failure.WRONG_LENGTH}:
            self._renewal.renew_later(file.route, began)

    async def answer(self, request: Request, route: ReleaseFile) -> Response:
        """The answer to a GET or HEAD for a release file."""
        began = time.time()
        response = await self._files.answer(request, route)
        if response.error is None or not response.error.may_be_of_an_old_link:
            return response
        for each in by_index(route):
            tried = {(str(each.identity), response.failed_key)}
            for renews in (False, True):
                if renews:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(CLIENT_SECONDS):
                            await self._renewal.renew(each, began)
                newer = await self._newer_link(request, each, tried)
                if newer is None:
                    continue
                again = await self._files.answer(request, newer)
                if again.error is None or not again.error.may_be_of_an_old_link:
                    self._renewal.helped(each)
                    return again
                tried.add((str(newer.identity), again.failed_key))
        return response

    async def _newer_link(
        self, request: Request, route: ReleaseFile, tried: set[tuple[str, str]]
    ) -> ReleaseFile | None:
        """The file as the stored pages of its index have it now; None where they have nothing that was not tried."""
        for identity in await self._known_files.links_to(route):
            newer = self._route(request, route, identity)
            if newer is None or (str(newer.identity), (await self._resolver.resolve(newer)).key) in tried:
                continue
            if await self._refusal(newer) is None:
                return newer
        return None

    def _route(self, request: Request, route: ReleaseFile, identity: str) -> ReleaseFile | None:
        """The route by another link; None where that is no file of the same name and index."""
        try:
            link = route.identity.with_path(identity) if identity.startswith("/") else parse_url(identity)
        except ValueError:
            return None
        newer = self._route_of(link.with_path(link.path + route.suffix, link.query))
        if not isinstance(newer, ReleaseFile) or (newer.filename, newer.suffix) != (route.filename, route.suffix):
            return None
        if route.index not in (newer.index, *newer.also):
            return None
        newer = replace(newer, index=route.index, also=())
        if route.space == PUBLIC:
            return newer
        # A client's credentials go to the origin that it has named, and to no other that a page names.
        authorization = route.sources[0][1] if newer.identity.origin == request.url.origin else ""
        return replace(newer, space=route.space, sources=((newer.sources[0][0], authorization),), public=newer)
