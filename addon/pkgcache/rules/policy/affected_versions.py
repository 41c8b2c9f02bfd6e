"""Finds the advisories about one version of a project, quickly: a page may have 8,000 files, and a project 800 advisories.

The bounds of all ranges are sorted once. A version then has a place among them, found by bisection, and which ranges hold it depends on
that place alone. What it finds is what `Affected.affects` says, which is the plain reading of the schema.
"""

from bisect import bisect_left
from collections.abc import Sequence

from packaging.utils import canonicalize_version
from packaging.version import Version

from pkgcache.rules.policy.osv import Affected, parse_version


class AffectedVersions:
    """The advisories about one project, in their order."""

    def __init__(self, affected: Sequence[Affected]) -> None:
        self.affected = tuple(affected)
        texts = {bound for each in affected for one in each.ranges for bound in (one.start, one.end) if bound}
        self._bounds = sorted(map(parse_version, texts))
        self._ranges: list[
            tuple[int, int, int, bool]
        ] = []  # which advisory, its places, and whether local versions count
        self._listed: dict[str, list[int]] = {}
        for index, each in enumerate(affected):
            for one in each.ranges:
                start = self._place(parse_version(one.start)) if one.start else 0
                end = self._place(parse_version(one.end)) + one.is_last if one.end else 2 * len(self._bounds) + 1
                self._ranges.append((index, start, end, not one.is_last or bool(parse_version(one.end).local)))
            for text in each.versions:
                self._listed.setdefault(text, []).append(index)
        self._held: dict[tuple[int, int], frozenset[int]] = {}

    def __bool__(self) -> bool:
        return bool(self.affected)

    def about(self, version: Version | None, text: str) -> list[Affected]:
        """The advisories that `Affected.affects` is true of, with these arguments."""
        if version is None:
            return [each for each in self.affected if each.affects(None, text)]
        public = Version(version.public) if version.local else version
        indexes = self._holding(self._place(version), self._place(public))
        if self._listed:
            listed = (self._listed.get(canonicalize_version(each), ()) for each in {version, public})
            indexes = indexes.union(*listed)
        return [self.affected[index] for index in sorted(indexes)]

    def _place(self, version: Version) -> int:
        """Odd for a bound itself, even between two of them."""
        at = bisect_left(self._bounds, version)
        return 2 * at + (at < len(self._bounds) and self._bounds[at] == version)

    def _holding(self, place: int, public: int) -> frozenset[int]:
        held = self._held.get((place, public))
        if held is None:
            held = self._held[place, public] = frozenset(
                index
                for index, start, end, with_local in self._ranges
                if start <= place and (place if with_local else public) < end
            )
        return held
