"""How much memory a page takes while it is worked on, for each of its bytes (`limits.PROCESS_MEMORY`)."""

import hashlib
import json
import tracemalloc
from typing import Any, Final

import pytest

from pkgcache.rules.simple.page_model import Kind
from pkgcache.rules.simple.transform import TransformSpec, transform
from tests.rules.simple.pages import FILES, OWN, context

FILES_OF_PAGE: Final = 250
"""As the default index writes them: 700 bytes each in JSON, 570 in HTML. The proportion is the same for 40,000."""


def files() -> list[dict[str, Any]]:
    """The files of a project with many builds a release."""
    found: list[dict[str, Any]] = []
    for number in range(FILES_OF_PAGE):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        metadata = {"sha256": digest[::-1]}
        name = f"some_project-1.0.{number}-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        found.append(
            {
                "core-metadata": metadata,
                "data-dist-info-metadata": metadata,
                "filename": name,
                "hashes": {"sha256": digest},
                "provenance": None,
                "requires-python": ">=3.9",
                "size": 123_456 + number,
                "upload-time": "2025-01-01T00:00:00.123456Z",
                "url": f"{FILES}/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}",
                "yanked": False,
            }
        )
    return found


def page(kind: Kind) -> bytes:
    if kind == "json":
        return json.dumps({"meta": {"api-version": "1.4"}, "files": files()}, separators=(",", ":")).encode()
    anchors = [
        f'    <a href="{file["url"]}#sha256={digest}" data-requires-python="&gt;=3.9" data-dist-info-metadata="sha256={digest}" '
        f'data-core-metadata="sha256={digest}">{file["filename"]}</a><br />\n'
        for file in files()
        for digest in file["hashes"].values()
    ]
    return (
        f"<!DOCTYPE html>\n<html><head><title>Links</title></head><body>\n{''.join(anchors)}</body></html>\n".encode()
    )


@pytest.mark.parametrize(
    ("stored", "wanted", "own", "most"),
    [
        ("json", "json", False, 3.7),  # 5.6 when a page was read into objects as a whole, and its edits joined
        ("json", "json", True, 5.0),  # 8.4
        ("json", "html", False, 3.6),  # 9.3
        ("html", "html", False, 5.2),  # 7.6
        ("html", "html", True, 7.0),  # 9.0
        ("html", "json", False, 6.3),  # 8.2
    ],
)
def test_memory_of_a_page(stored: Kind, wanted: Kind, own: bool, most: float) -> None:
    spec = TransformSpec(
        stored=stored,
        wanted=wanted,
        project="some-project",
        context=OWN if own else context(),
        shares_pypi_files=True,
        check=True,
    )
    body = page(stored)
    transform(body, spec)  # what is made once for all pages
    assert peak_of(body, spec) / len(body) < most


@pytest.mark.parametrize("kind", ["json", "html"])
def test_the_page_itself_is_let_go(kind: Kind) -> None:
    """As the process for large pages does: of the page and its text one is enough."""
    spec = TransformSpec(
        stored=kind, wanted=kind, project="some-project", context=OWN, shares_pypi_files=True, check=True
    )
    body = page(kind)
    transform(body, spec)
    assert peak_of(body, spec, lets_go=True) < peak_of(body, spec) + len(body) / 5


def peak_of(body: bytes, spec: TransformSpec, *, lets_go: bool = False) -> int:
    """The most bytes that a page takes: beside its own, or with them where it is let go."""
    tracemalloc.start()
    try:
        held: Any = bytearray(body) if lets_go else body
        transformed, table_of = transform(held, spec, held.clear if lets_go else lambda: None)
        del transformed
        table_of()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
