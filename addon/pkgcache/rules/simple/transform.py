"""Makes what a client gets from an upstream's body, in one call: checked, converted, its links rewritten, its facts about files.

All arguments and results are plain values, because large pages are transformed in a process of their own.

Leaves out: where pages come from and how long they live, compressing, and the files that a client may not see (`removal`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote

from pkgcache.rules.routing.filenames import is_distribution, projects_of
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.conversion import html_to_json, json_to_html
from pkgcache.rules.simple.file_table import FileTable
from pkgcache.rules.simple.html_page import check_html, read_html
from pkgcache.rules.simple.json_api import rewrite_document
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.limits import MAX_ANSWER
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage, Kind, Rewritten
from pkgcache.rules.simple.rewriting import rewrite, rewrite_page

_MOST_ORIGINS: Final = 64
"""Of a page's file hosts, which are few; a hostile page could have as many as links."""

_LONGEST_NAME: Final = 512
"""Characters of a release file's name; the default index allows 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSpec:
    """What to make of a page."""

    stored: Kind  # what it is
    wanted: Kind  # what it becomes
    project: str
    context: PageContext
    shares_pypi_files: bool  # whether its index keeps PyPI's layout (`file_table.file_id`)
    document: bool = False  # a document of the older JSON API
    check: bool = False  # refuse HTML that is no project page; for a page that has just arrived

    def to_json(self) -> dict[str, Any]:
        """The spec as values of JSON, for the other process."""
        return {
            "stored": self.stored,
            "wanted": self.wanted,
            "project": self.project,
            "shares_pypi_files": self.shares_pypi_files,
            "document": self.document,
            "check": self.check,
            "upstream": str(self.context.upstream),
            "client_url": str(self.context.client_url),
            "canonical_files": self.context.canonical_files,
            "own_prefix": self.context.own_prefix,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        context = PageContext(
            upstream=parse_url(values["upstream"]),
            client_url=parse_url(values["client_url"]),
            canonical_files=values["canonical_files"],
            own_prefix=values["own_prefix"],
        )
        names = ("stored", "wanted", "project", "shares_pypi_files", "document", "check")
        return cls(context=context, **{name: values[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformedPage:
    """A page as a client gets it."""

    body: bytes
    edited: bool  # False: `body` is the very object that was given
    origins: tuple[str, ...]  # the origins that its release files are on


def transform(
    page: bytes, spec: TransformSpec, let_go: Callable[[], object] = lambda: None
) -> tuple[TransformedPage, Callable[[], str]]:
    """Transform a page; also return a function that makes the text of its `FileTable`. Raises BrokenPage.

    `let_go` is called where the page's own bytes are needed no longer; only its text is, and a caller who knows them has them.

    The table is made by a call of its own because a client need not wait for it. Its text is '' for a converted page, which says no
    more about files than the page that it was made from.
    """
    converted = spec.stored != spec.wanted and not spec.document
    if spec.document:
        rewritten = rewrite_document(page, spec.context)
    elif converted:
        if spec.check and spec.stored == "html":
            check_html(read_html(page))
        rewritten = rewrite(_converted(page, spec), spec.wanted, spec.context)
    else:
        read = read_html(page) if spec.wanted == "html" else read_json(page)
        if spec.check and spec.wanted == "html":
            check_html(read)
        let_go()
        rewritten = rewrite_page(read, page, spec.wanted, spec.context)
    if len(rewritten.body) > MAX_ANSWER:
        raise BrokenPage(f"it would be longer than {MAX_ANSWER:,} bytes for this client")
    transformed = TransformedPage(
        body=rewritten.body,
        edited=converted or rewritten.edited,
        origins=() if spec.document else release_file_origins(rewritten, spec.project),
    )
    if converted:
        return transformed, lambda: ""
    return (
        transformed,
        lambda: FileTable.of(rewritten.links, shares_pypi_files=spec.shares_pypi_files, status=rewritten.status).text,
    )


def _converted(page: bytes, spec: TransformSpec) -> bytes:
    if spec.wanted == "html":
        return json_to_html(page, spec.project)
    return html_to_json(page, spec.project, spec.context.upstream)


def release_file_origins(rewritten: Rewritten, project: str) -> tuple[str, ...]:
    """The origins of a page's release files, in the page's order: of links whose last segment is the name of a file of this project.

    A page also links to homepages and source archives, by which no host becomes a file host. At most `_MOST_ORIGINS`.
    """
    found: dict[str, None] = {}
    for _, target in rewritten.links:
        # An identity is `https://host/…`: its origin ends at the first slash behind the scheme.
        origin = target.identity[: target.identity.index("/", len("https://"))]
        if origin not in found and _is_release_file(target.identity, project):
            found[origin] = None
            if len(found) == _MOST_ORIGINS:
                break
    return tuple(found)


def _is_release_file(url: str, project: str) -> bool:
    name = unquote(url.partition("?")[0].rpartition("/")[2])
    return len(name) <= _LONGEST_NAME and is_distribution(name) and project in projects_of(name)
