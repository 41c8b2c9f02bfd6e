"""Which program a client is, by its User-Agent (RFC 9110 §10.1.5), and what of that an upstream is told.

Some indexes decide by it: devpi's `root` gives its page of links to installers and another one to browsers. pip's and uv's own values
also tell the machine, the Python and the CI that they run on, which is nobody's business when the answer is for everybody.
"""

from __future__ import annotations

import re
from typing import Final

from pkgcache.rules.memo import memo

OURS: Final = "pypi-cache"
FAMILIES: Final = ("pip", "uv", "poetry", "other")
"""Clients that an index may treat alike. A page that depends on the client is stored once for each."""

_PRODUCT: Final = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,63})/([A-Za-z0-9][A-Za-z0-9.+!_-]{0,63})(?=[ \t]|\Z)")


def product_of(user_agent: str | None) -> str:
    """The client's own product with its version, without what it says of its surroundings; '' where it names none.

    A browser counts as none: what an index shows to people is not what it shows to installers.

    >>> product_of('pip/26.3 {"ci":true,"cpu":"x86_64"}'), product_of("Mozilla/5.0 (X11)")
    ('pip/26.3', '')
    """
    return _product(user_agent or "")


@memo(maxsize=128)  # a client program always sends the same header
def _product(user_agent: str) -> str:
    found = _PRODUCT.match(user_agent)
    return found[0] if found and found[1].lower() != "mozilla" else ""


def family_of(product: str) -> str:
    """One of FAMILIES.

    >>> family_of("pip/26.3"), family_of("python-requests/2.32")
    ('pip', 'other')
    """
    name = product.partition("/")[0].lower()
    return name if name in FAMILIES else "other"


def sent_agent(product: str) -> str:
    """The User-Agent of a request upstream.

    >>> sent_agent("pip/26.3"), sent_agent("")
    ('pip/26.3 pypi-cache', 'pypi-cache')
    """
    return f"{product} {OURS}".lstrip()
