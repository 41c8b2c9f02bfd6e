"""From an upstream's body to what a client is to see of it, in one go: checked, converted, its links put right; and what it says of files.

Everything here is a value that can be written down, because large pages are worked on in a process of their own.

Leaves out: where pages come from and how long they live, compressing, and the files that a client is not to see (`filters`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.conversion import html_to_json, json_to_html
from pkgcache.rules.simple.file_table import FileTable
from pkgcache.rules.simple.html_page import check_html, read_html
from pkgcache.rules.simple.json_api import rewrite_document
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import Rewritten
from pkgcache.rules.simple.rewriting import rewrite, rewrite_page

type Kind = Literal["json", "html"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSpec:
    """What is to be made of a page. `check`: refuse what is no project page (for what has just come)."""

    stored: Kind
    wanted: Kind
    project: str
    context: PageContext
    shares_pypi_files: bool
    document: bool = False
    check: bool = False

    def to_json(self) -> dict[str, Any]:
        """As values of JSON."""
        return {
            "stored": self.stored,
            "wanted": self.wanted,
            "project": self.project,
            "shares_pypi_files": self.shares_pypi_files,
            "document": self.document,
            "check": self.check,
            "upstream": str(self.context.upstream),
            "seen": str(self.context.client_url),
            "canonical_files": self.context.canonical_files,
            "own_prefix": self.context.own_prefix,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        context = PageContext(
            upstream=parse_url(values["upstream"]),
            client_url=parse_url(values["seen"]),
            canonical_files=values["canonical_files"],
            own_prefix=values["own_prefix"],
        )
        names = ("stored", "wanted", "project", "shares_pypi_files", "document", "check")
        return cls(context=context, **{name: values[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformedPage:
    """A page as a client is to see it."""

    body: bytes
    edited: bool  # False: `body` is what was given
    origins: tuple[str, ...]  # of the files


def transform(page: bytes, order: TransformSpec) -> tuple[TransformedPage, Callable[[], str]]:
    """Do it; and how to make the text of the page's FileTable, for which a client need not wait. Raises BrokenPage.

    The text is empty where the page is no better a source than the one that it was converted from.
    """
    converted = order.stored != order.wanted and not order.document
    if order.document:
        rewritten = rewrite_document(page, order.context)
    elif converted:
        if order.check and order.stored == "html":
            check_html(read_html(page))
        rewritten = rewrite(_converted(page, order), order.wanted, order.context)
    else:
        read = read_html(page) if order.wanted == "html" else read_json(page)
        if order.check and order.wanted == "html":
            check_html(read)
        rewritten = rewrite_page(read, page, order.wanted, order.context)
    derived = TransformedPage(
        body=rewritten.body, edited=converted or rewritten.edited, origins=() if order.document else _origins(rewritten)
    )
    if converted:
        return derived, lambda: ""
    return derived, lambda: FileTable.of(rewritten.links, shares_pypi_files=order.shares_pypi_files).text


def _converted(page: bytes, order: TransformSpec) -> bytes:
    if order.wanted == "html":
        return json_to_html(page, order.project)
    return html_to_json(page, order.project, order.context.upstream)


def _origins(rewritten: Rewritten) -> tuple[str, ...]:
    return tuple(sorted({target.identity[: target.identity.index("/", 8)] for _, target in rewritten.links}))
