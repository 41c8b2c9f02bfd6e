"""rules/simple/json_page.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pkgcache.rules.simple.html_page import _HARMLESS
from pkgcache.rules.simple.json_spans import (
    Element,
    check_end,
    following,
    parse_key,
    read_elements,
    read_value,
    skip_blank,
    string_span,
)
from pkgcache.rules.simple.page_model import BrokenPage, Page


def read_json(body: bytes) -> Page:
    """Find the links of a PEP 691 page; BrokenPage if it is none. Spans count characters of the UTF-8 text."""
    text, files = json_or_broken(body, _read_top)
    links = [
        _File(file["url"], *string_span(text, start, end, "url"), file)
        for start, end, file in files
        if isinstance(file, dict) and isinstance(file.get("url"), str) and file["url"]
    ]
    return Page(text=text, encoding="utf-8", links=tuple(links))


def json_or_broken[T](body: bytes, read: Callable[[str], T]) -> tuple[str, T]:
    """A body's text and what `read` makes of it; what reading JSON raises, as BrokenPage."""
    try:
        text = body.decode("utf-8")
        return text, read(text)
    except UnicodeDecodeError:
        raise BrokenPage("page is not UTF-8") from None
    except BrokenPage:
        raise
    except (ValueError, RecursionError) as error:
        raise BrokenPage(f"page is not JSON: {str(error)[:200]}") from None
    except IndexError:
        raise BrokenPage("page is not JSON: it is cut short") from None


def escape_json(value: str) -> str:
    """Write the content of a JSON string, without its quotes; ASCII."""
    return value if _HARMLESS.fullmatch(value) else json.dumps(value)[1:-1]


def _read_top(text: str) -> list[Element]:
    """Walk the top-level object; give the elements of `files` with their spans."""
    position = skip_blank(text, 1 if text.startswith("\ufeff") else 0)
    if text[position] != "{":
        read_value(text, position)
        raise BrokenPage("page is JSON, but no object")
    page: dict[str, Any] = {}
    position = skip_blank(text, position + 1)
    while text[position] != "}":
        key, position = parse_key(text, position)
        if key == "files" and text[position] == "[":
            page[key], position = read_elements(text, position)
        else:
            value, position = read_value(text, position)
            page[key] = None if key == "files" else value
        position = following(text, position, "}")
    check_end(text, position + 1)
    # PEP 629: a page that does not say has version 1.0.
    version = meta.get("api-version", "1.0") if isinstance(meta := page.get("meta", {}), dict) else meta
    if str(version).partition(".")[0] != "1":
        raise BrokenPage(f"page has meta.api-version {version!r:.80}, not 1.x")
    if page.get("files") is None:
        raise BrokenPage("page has no array 'files'")
    files: list[Element] = page["files"]
    return files


class _File(NamedTuple):
    """A PageLink of JSON."""

    href: str
    start: int
    end: int
    file: Mapping[str, Any]

    @property
    def filename(self) -> str:
        return _text(self.file.get("filename"))

    @property
    def hashes(self) -> Mapping[str, str]:
        return read_hashes(self.file.get("hashes"))

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        # PEP 714: the new name wins where it is there.
        metadata = self.file.get("core-metadata")
        if metadata is None:
            metadata = self.file.get("dist-info-metadata")
        return (read_hashes(metadata) or True) if metadata or metadata == {} else False

    @property
    def size(self) -> int | None:
        size = self.file.get("size")
        return size if type(size) is int else None

    @property
    def upload_time(self) -> str:
        return _text(self.file.get("upload-time"))

    @property
    def yanked(self) -> bool | str:
        yanked = self.file.get("yanked")
        return yanked if isinstance(yanked, str) and yanked else bool(yanked)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def read_hashes(value: object) -> Mapping[str, str]:
    """Digests by name, as JSON has them; what is no text is left out."""
    if not isinstance(value, dict):
        return {}
    for digest in value.values():
        if not isinstance(digest, str):
            return {name: digest for name, digest in value.items() if isinstance(digest, str)}
    return value
