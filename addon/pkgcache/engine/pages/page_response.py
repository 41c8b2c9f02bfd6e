"""A page's variant as the answer to one request: 200 or 304, with the headers that a client may rely on.

```
GET /simple/six/                                    200
Accept: application/vnd.pypi.simple.v1+json         Content-Type: application/vnd.pypi.simple.v1+json
Accept-Encoding: gzip                               Content-Encoding: gzip
                                                    ETag: W/"6d1e…"
                                                    Vary: Accept, Accept-Encoding
                                                    Age: 14
```
"""

from __future__ import annotations

import time

from multidict import CIMultiDict

from pkgcache.engine.pages.page_variant import PageVariant
from pkgcache.engine.pages.stored_page import StoredPage
from pkgcache.engine.responses.messages import Request, Response
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.http.freshness import StaleReason, times_of
from pkgcache.rules.http.validation import not_modified
from pkgcache.rules.simple.representations import Representation, accepts, representation_of

_PASSED_ON = ("X-PyPI-Last-Serial", "Last-Modified", "Cache-Control", "Expires", "Link")


def served_representation(request: Request, negotiated: Representation, page: StoredPage) -> Representation:
    """The representation to serve a stored page in: as it is where the client takes that, else converted to what it asked for."""
    stored = page.representation
    if stored.kind == negotiated.kind:
        return negotiated  # PEP 691: text/html and v1+html are one format under two names
    return stored if accepts(request.headers.get("Accept"), stored) else negotiated


def page_response(
    request: Request,
    representation: Representation,
    page: StoredPage,
    cache: CacheStatus,
    variant: PageVariant,
    *,
    use_gzip: bool,
) -> Response:
    """200 with the variant, or 304 where the client has it."""
    upstream_headers = page.notes.headers
    headers = CIMultiDict({name: upstream_headers[name] for name in _PASSED_ON if name in upstream_headers})
    if variant.filtered:
        headers.pop("Last-Modified", None)  # what is left out changes with the time and with the store
    sent_as = upstream_headers.get("Content-Type", "")
    fits = representation_of(sent_as) in {representation, None}  # None: a document of the JSON API
    headers["Content-Type"] = sent_as if fits else representation.content_type
    etag = variant.etag if variant.edited else upstream_headers.get("ETag", variant.etag)
    # Weak when gzipped: one tag stands for the page under both codings, whose bytes differ (RFC 9110 §8.8.3.3).
    headers["ETag"] = f"W/{etag.removeprefix('W/')}" if use_gzip else etag
    headers["Vary"] = "Accept, Accept-Encoding, User-Agent" if page.notes.family else "Accept, Accept-Encoding"
    headers.update(times_of(page.stored, time.time()))
    forbid_storing_stale(headers, cache)
    if not_modified(request.headers, (headers["ETag"],), headers.get("Last-Modified")):
        return Response(status=304, headers=headers, cache=cache, upstream=page.notes.upstream)
    body = variant.gzipped if use_gzip else variant.plain
    if use_gzip:
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return Response(
        status=200,
        headers=headers,
        body=b"" if request.method == "HEAD" else body,
        cache=cache,
        upstream=page.notes.upstream,
    )


def forbid_storing_stale(headers: CIMultiDict[str], cache: CacheStatus) -> None:
    """Keep clients from storing an answer that is stale for want of an upstream: they would serve it long after that is back.

    One that is refreshed in the background is current enough.
    """
    if cache.hit and cache.detail not in {"", StaleReason.STALE_WHILE_REVALIDATE}:
        headers["Cache-Control"] = "no-store"
        headers.pop("Expires", None)
