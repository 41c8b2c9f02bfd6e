"""Check of the shared tier: whether it can be had, and what the proxy may do there."""

from __future__ import annotations

from collections.abc import Iterator

import click

from pkgcache.cli.checks.findings import Finding, note, problem, well
from pkgcache.cli.exits import UnusableError
from pkgcache.cli.shared_tier import on_tier, try_out
from pkgcache.cli.store_location import StoreLocation

_NAME = "shared tier"
_WRITES = frozenset({"write an object", "remove an object"})


def check_shared(location: StoreLocation) -> Iterator[Finding]:
    """Check that objects can be found, listed, written, read and removed; nothing without a shared tier."""
    url = location.settings.shared
    if not url:
        return
    try:
        results = on_tier(location, try_out)
    except (UnusableError, click.ClickException) as error:
        yield problem(_NAME, error.message, "correct the option, or install what it needs")
        return
    failed = {right: why for right, why in results if why}
    if not failed:
        yield well(_NAME, f"{url}: objects can be listed, written, read and removed")
    elif failed.keys() <= _WRITES:
        said = "; ".join(f"cannot {right} ({why})" for right, why in failed.items())
        yield note(
            _NAME, f"{url} is only read: {said}", "intended for machines that only read; else give the right to write"
        )
    else:
        said = "; ".join(f"cannot {right} ({why})" for right, why in failed.items())
        yield problem(
            _NAME,
            f"{url}: {said}",
            "check the endpoint and the credentials in this environment, which must be the proxy's own; they need the right to list",
        )
