"""What a request for a page is about: the page, the representation that is negotiated, and what else its answer depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pkgcache.engine.pages.stored_page import PageRequest
from pkgcache.engine.responses.messages import Request
from pkgcache.rules.http.accept import accepts_encoding
from pkgcache.rules.http.user_agent import family_of, product_of
from pkgcache.rules.routing.routes import ProjectPage
from pkgcache.rules.simple.representations import NotAcceptable, Representation, negotiate

_CONDITIONS: Final = frozenset({"cache-control", "if-modified-since", "if-none-match", "pragma"})


@dataclass(frozen=True, slots=True)
class PageLookup:
    """A page, and the representation that was negotiated (PEP 691).

    `is_plain`: a GET whose answer depends on nothing else of it, neither conditions nor wishes as to caches. `family`: of the client
    (`rules.http.user_agent`).
    """

    page_request: PageRequest
    representation: Representation
    gzip: bool
    is_plain: bool
    family: str


class PageLookups:
    """Looks up what requests are about. `needs_upload_times`: HTML does not have them (PEP 700), so the JSON page is converted."""

    def __init__(self, *, needs_upload_times: bool) -> None:
        self._needs_upload_times = needs_upload_times
        self._latest: tuple[Request, PageLookup] | None = None

    def of(self, request: Request, route: ProjectPage) -> PageLookup | NotAcceptable:
        """What a request is about. It is kept for the answer to the same request, which comes next where memory has none."""
        if self._latest is not None and self._latest[0] is request:  # several requests may share a route
            return self._latest[1]
        representation = Representation.JSON if route.document else negotiate(request.headers.get("Accept"))
        if isinstance(representation, NotAcceptable):
            return representation
        lookup = PageLookup(
            page_request=PageRequest(
                index=route.index,
                project=route.project,
                representation=Representation.JSON if self._needs_upload_times else representation,
                client_url=route.client_url,
                at_proxy_address=route.at_proxy_address,
                space=route.space,
                authorization=route.authorization,
                document=route.document,
                query=route.query.passed,
            ),
            representation=representation,
            gzip=accepts_encoding(request.headers.get("Accept-Encoding"), "gzip"),
            is_plain=request.method == "GET" and _CONDITIONS.isdisjoint(map(str.lower, request.headers)),
            family=family_of(product_of(request.headers.get("User-Agent"))),
        )
        self._latest = request, lookup
        return lookup
