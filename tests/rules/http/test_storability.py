"""What may be stored (RFC 9111 §3, §4.1): one clause, one row."""

import pytest

from pkgcache.rules.http.storability import NotStorable, Storable, StoreRefusal, storable, storable_headers
from tests.support.stored import h

AUTHORIZED = ("Authorization: Basic eDp5",)


@pytest.mark.parametrize(
    ("request_lines", "status", "response_lines", "refusal"),
    [
        pytest.param((), 200, (), None, id="§3 200 is heuristically cacheable"),
        pytest.param((), 404, (), None, id="§3 404 is heuristically cacheable"),
        pytest.param((), 410, (), None, id="§3 410 is heuristically cacheable"),
        pytest.param((), 206, (), StoreRefusal.PARTIAL, id="§3.3 partial"),
        pytest.param((), 304, (), StoreRefusal.STATUS, id="§3 304 is not an answer of its own"),
        pytest.param((), 301, ("Cache-Control: max-age=9",), StoreRefusal.STATUS, id="§3 a redirect is not used"),
        pytest.param((), 500, ("Cache-Control: max-age=9",), StoreRefusal.STATUS, id="§3 nothing else negative"),
        pytest.param((), 103, (), StoreRefusal.STATUS, id="§3 not final"),
        pytest.param(("Cache-Control: no-store",), 200, (), StoreRefusal.REQUEST_NO_STORE, id="§5.2.1.5"),
        pytest.param((), 200, ("Cache-Control: no-store",), StoreRefusal.RESPONSE_NO_STORE, id="§5.2.2.5"),
        pytest.param(
            (), 200, ("Cache-Control: must-understand, no-store",), StoreRefusal.RESPONSE_NO_STORE, id="§5.2.2.3"
        ),
        pytest.param((), 200, ("Cache-Control: private",), StoreRefusal.PRIVATE, id="§5.2.2.7"),
        pytest.param((), 200, ("Cache-Control: no-cache",), None, id="§5.2.2.4 stored, but always asked about"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: max-age=9",), StoreRefusal.AUTHORIZATION, id="§3.5"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: public",), None, id="§3.5 public"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: must-revalidate",), None, id="§3.5 must-revalidate"),
        pytest.param(AUTHORIZED, 200, ("Cache-Control: s-maxage=9",), None, id="§3.5 s-maxage"),
        pytest.param(
            AUTHORIZED, 200, ("Cache-Control: public, private",), StoreRefusal.PRIVATE, id="§4.2.1 the strictest"
        ),
        pytest.param((), 200, ("Vary: Accept", "Vary: *"), StoreRefusal.VARY_ANYTHING, id="§4.1 Vary: *"),
        pytest.param((), 200, ("Vary: Accept, Accept-Encoding",), None, id="§4.1 Vary: Accept"),
        pytest.param((), 200, ("X: 1",) * 256, None, id="as many fields as are kept"),
        pytest.param((), 200, ("X: 1",) * 257, StoreRefusal.HEADERS, id="more fields than any server sends"),
        pytest.param((), 200, (f"X: {'x' * 65_535}",), None, id="as long fields as are kept"),
        pytest.param((), 404, (f"X: {'x' * 65_536}",), StoreRefusal.HEADERS, id="longer fields than are kept"),
        pytest.param((), 200, ("Set-Cookie: a=b",), None, id="§7.3 a cookie alone is no reason; it is dropped"),
    ],
)
def test_storable(
    request_lines: tuple[str, ...], status: int, response_lines: tuple[str, ...], refusal: StoreRefusal | None
) -> None:
    answer = storable(request_headers=h(*request_lines), status=status, response_headers=h(*response_lines))
    assert answer == (Storable() if refusal is None else NotStorable(refusal))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        pytest.param("ETag: x", True, id="§3.1 any field"),
        pytest.param("X-Unknown: x", True, id="§3.1 unrecognised ones too"),
        pytest.param("Age: 5", True, id="§4.2.3 Age is needed"),
        pytest.param("Connection: x", False, id="§3.1 Connection"),
        pytest.param("X-Hop: x", False, id="§3.1 named by Connection"),
        pytest.param("Keep-Alive: x", False, id="RFC 9110 §7.6.1 Keep-Alive"),
        pytest.param("Transfer-Encoding: chunked", False, id="RFC 9110 §7.6.1 Transfer-Encoding"),
        pytest.param("TE: x", False, id="RFC 9110 §7.6.1 TE"),
        pytest.param("Upgrade: x", False, id="RFC 9110 §7.6.1 Upgrade"),
        pytest.param("Proxy-Connection: x", False, id="RFC 9110 §7.6.1 Proxy-Connection"),
        pytest.param("Proxy-Authenticate: x", False, id="§3.1 Proxy-Authenticate"),
        pytest.param("Proxy-Authentication-Info: x", False, id="§3.1 Proxy-Authentication-Info"),
        pytest.param("Proxy-Authorization: x", False, id="§3.1 Proxy-Authorization"),
        pytest.param("Trailer: x", False, id="§3.1 trailers are discarded"),
        pytest.param("set-cookie: a=b", False, id="design: Set-Cookie is never stored"),
    ],
)
def test_storable_headers(line: str, *, kept: bool) -> None:
    headers = h(line, "Connection: close, x-hop")
    assert (line.partition(":")[0] in storable_headers(headers)) is kept
