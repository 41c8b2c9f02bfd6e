"""Where indexes have their pages and files, and whether a path that is none for certain is too close to them to be let through."""

from __future__ import annotations

from collections.abc import Iterable

from pkgcache.rules.routing.filenames import is_project_name
from pkgcache.rules.routing.indexes import Index
from pkgcache.rules.routing.package_hosts import file_places
from pkgcache.rules.routing.paths import api_base
from pkgcache.rules.routing.spelling import Segments, loose_readings, loose_segments, names_a_file
from pkgcache.rules.routing.urls import Url


class Places:
    """The paths below which there is nothing but pages, documents and files, by host and read loosely.

    By host and not by origin: what is asked of the right port by the wrong scheme may still be answered there.
    """

    def __init__(self, indexes: Iterable[Index]) -> None:
        self._below: dict[tuple[str, int], set[Segments]] = {}
        self._documents: dict[tuple[str, int], set[Segments]] = {}
        for index in indexes:
            for url in file_places(index):
                _add(self._below, url)
            if index.shares_pypi_files:
                _add(self._documents, index.simple.with_path(api_base(index.simple)))

    def why_unclear(self, url: Url) -> str:
        """Why a URL that was found to be no page and no file must not be passed on; empty if it may be."""
        readings = loose_readings(url.path)
        if not readings:
            return "it is percent-encoded too often"
        return next(filter(None, (self._why_unclear((url.host, url.port), segments) for segments in readings)), "")

    def _why_unclear(self, address: tuple[str, int], segments: Segments) -> str:
        if _starts_with_any(segments, self._below.get(address)):
            return "it is at or below an index's path, and neither a project page nor a release file"
        if names_a_file(segments):
            return "it is called like a release file, and is none for certain"
        if any(_is_document(segments, base) for base in self._documents.get(address, ())):
            return "it is called like a project's document, and is none for certain"
        return ""


def _add(places: dict[tuple[str, int], set[Segments]], url: Url) -> None:
    if (segments := loose_segments(url.path)) is not None:
        places.setdefault((url.host, url.port), set()).add(segments)


def _is_document(segments: Segments, base: Segments) -> bool:
    """Whether this is `<base>/<project>/json` or `<base>/<project>/<version>/json`."""
    rest = segments[len(base) :]
    return segments[: len(base)] == base and rest[-1:] == ("json",) and len(rest) in {2, 3} and is_project_name(rest[0])


def _starts_with_any(segments: Segments, prefixes: set[Segments] | None) -> bool:
    return any(segments[: len(prefix)] == prefix for prefix in prefixes or ())
