"""What becomes of a request for a package host: answered here, passed on to the origin that the client named, or refused.

Every such request is routed first, whatever its method and headers, and a page or file is held to the operator's rules whichever way
it then goes. What is passed on is an ordinary flow: neither cached nor filtered.

Leaves out: the rules themselves (`admission`), login, and what is wrong with a request by itself.
"""

from __future__ import annotations

import enum
from typing import assert_never

from pkgcache.rules.routing.routes import (
    ProjectListPage,
    ProjectPage,
    Provenance,
    ReleaseFile,
    Route,
    Uncacheable,
    Unclear,
)

CACHED_METHODS = frozenset({"GET", "HEAD"})


class Way(enum.Enum):
    """The way of one request."""

    ANSWER = "answered from the cache"
    JUDGE = "held to the rules for its project, then passed on"
    PASS = "passed on"  # noqa: S105  no password
    REFUSE = "refused"


def way_of(route: Route, *, method: str, has_cookies: bool) -> Way:
    """Decide about a request by what its URL means.

    A listing for `--find-links` is neither cached nor filtered, but the files that it links to are. It is judged by its own name, since
    to a lenient server it might be that project's page. A list of projects is under no rule. Some servers take uploads at its URL, so a
    POST there passes.
    """
    match route:
        case Unclear():
            return Way.REFUSE
        case Uncacheable():
            return Way.PASS
        case ProjectPage(is_flat=True):
            return Way.JUDGE
        case ProjectListPage():
            return Way.PASS if has_cookies or method not in CACHED_METHODS else Way.ANSWER
        case Provenance():
            return Way.JUDGE
        case ProjectPage() | ReleaseFile():
            return Way.JUDGE if has_cookies or method not in CACHED_METHODS else Way.ANSWER
        case _:
            assert_never(route)
