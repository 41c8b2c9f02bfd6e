"""The dashboard's page, style and script: files of `data/dashboard`, as they lie there, but for the proxy's URL in the page.

No policy of the page lets anything in from elsewhere, and none lets a text become markup or a script: what clients and upstreams have
written is shown as text alone.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Final

from pkgcache.engine.responses.messages import Response
from pkgcache.rules.http.accept import weighted
from pkgcache.web.onboarding import agent_lines

FOLDER: Final = Path(__file__).parents[1] / "data" / "dashboard"
FILES: Final = {"/dashboard.css": "text/css; charset=utf-8", "/dashboard.js": "text/javascript; charset=utf-8"}

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy (CSP 3): the page's two files and own address, nothing inline, no frame; `data:` is for the empty icon."""

_GUARDS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guarded(response: Response) -> Response:
    """Add what keeps other sites out."""
    response.headers.update(_GUARDS)
    return response


def wants_html(accept: str) -> bool:
    """Whether a client asks for HTML by name, as browsers do and curl, wget and pip's likes do not (RFC 9110 §12.5.1).

    >>> wants_html("text/html,application/xhtml+xml,*/*;q=0.8"), wants_html("*/*"), wants_html("text/html;q=0")
    (True, False, False)
    """
    return any(name == "text/html" and weight > 0 for name, weight in weighted(accept))


def page(base: str) -> bytes:
    """Return the page. `base` is the proxy's URL as the reader knows it."""
    text = (FOLDER / "index.html").read_text()
    return text.replace("@LINE@", html.escape(agent_lines(base)[0].partition("   #")[0])).encode()


def file(path: str) -> tuple[bytes, str]:
    """Return a file of the page and its content type."""
    return (FOLDER / path.removeprefix("/")).read_bytes(), FILES[path]
