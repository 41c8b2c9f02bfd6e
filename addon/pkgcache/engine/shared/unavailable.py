"""The failure of the shared tier, as those who ask it hear of it."""

from __future__ import annotations

from pkgcache.engine.upstream.errors import Failure


class TierUnavailableError(Exception):
    """Nothing could be read: the tier has failed, or is left alone just now. The failure is as an upstream's would be."""

    def __init__(self, failure: Failure, line: str) -> None:
        self.failure = failure
        super().__init__(line)
