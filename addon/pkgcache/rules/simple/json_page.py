"""Reads a project page in JSON (PEP 691): its links with their spans, and what each file's object says.

Fields are those of PEP 592 (yanked), 658 and 714 (core metadata), 700 (size, upload time). A field of the wrong type counts as absent.

Leaves out: keys that no rule here needs, which survive in the bytes, and the page's version, which is the client's to judge: pip and uv
take any.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

from pkgcache.rules.simple.json_spans import (
    ElementReader,
    MemberReader,
    check_end,
    read_elements,
    read_value,
    skip_blank,
    string_span,
    walk_object,
)
from pkgcache.rules.simple.page_model import NEEDS_NO_ESCAPE, BrokenPage, Page

_USUAL_HASH: Final = "sha256"


def read_json(body: bytes) -> Page:
    """Find the links of a PEP 691 page. Spans count characters of the UTF-8 text. Raises BrokenPage."""
    text, (model, links) = json_or_broken(body, lambda text: read_page(text, _read_link))
    status = model.get("project-status")
    marked = text_of(status.get("status")) if isinstance(status, dict) else ""
    return Page(text=text, encoding="utf-8", links=tuple(filter(None, links)), status=marked)


def json_or_broken[T](body: bytes, read: Callable[[str], T]) -> tuple[str, T]:
    """Return a body's text and what `read` makes of it. All that reading JSON raises becomes BrokenPage."""
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


def walk_page(text: str, read_member: MemberReader) -> None:
    """Walk the members of the one object that a page consists of. BrokenPage for another value; else as `json_spans` raises."""
    position = skip_blank(text, 1 if text.startswith("\ufeff") else 0)
    if text[position] != "{":
        read_value(text, position)  # raises first where this is no JSON at all
        raise BrokenPage("page is JSON, but no object")
    check_end(text, walk_object(text, position, read_member))


def escape_json(value: str) -> str:
    r"""Write the content of a JSON string, without its quotes; the result is ASCII.

    >>> escape_json('é"')
    '\\u00e9\\"'
    """
    return value if NEEDS_NO_ESCAPE.fullmatch(value) else json.dumps(value)[1:-1]


def is_file(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether an element of `files` (or of the older API's `urls`) is a file that can be fetched: an object with a URL."""
    return isinstance(value, dict) and isinstance(value.get("url"), str) and value["url"] != ""


def filename_of(file: object) -> str:
    """The name of a file's object; '' where it has none, or is no object."""
    return text_of(file.get("filename")) if isinstance(file, dict) else ""


def text_of(value: object) -> str:
    """The value if it is a text, else ''."""
    return value if isinstance(value, str) else ""


def read_hashes(value: object) -> Mapping[str, str]:
    """Digests by algorithm, as JSON has them. Values that are no text are left out.

    >>> read_hashes({"sha256": "0a", "md5": None})
    {'sha256': '0a'}
    """
    if not isinstance(value, dict):
        return {}
    for digest in value.values():
        if not isinstance(digest, str):
            return {name: digest for name, digest in value.items() if isinstance(digest, str)}
    return value  # the object itself, since nearly all are right and a page may have 8,000 of them


def read_page[T](text: str, read_file: ElementReader[T]) -> tuple[Mapping[str, Any], list[T]]:
    """The members of a page, and what `read_file` keeps of each element of `files`.

    A file's object is let go at once: 48,000 of them take 130 MB.
    """
    page: dict[str, Any] = {}

    def read_member(name: str, position: int) -> int:
        if name == "files" and text[position] == "[":
            page[name], end = read_elements(text, position, read_file)
        else:
            value, end = read_value(text, position)
            page[name] = None if name == "files" else value
        return end

    walk_page(text, read_member)
    if page.get("files") is None:
        raise BrokenPage("page has no array 'files'")
    return page, page["files"]


class JsonLink(NamedTuple):
    """A file's object as a `PageLink`."""

    href: str
    start: int
    end: int
    filename: str
    digests: str | Mapping[str, str]
    metadata: str | Mapping[str, str] | bool
    size: int | None
    upload_time: str
    yanked: bool | str

    @property
    def hashes(self) -> Mapping[str, str]:
        """Digests by algorithm."""
        return {_USUAL_HASH: self.digests} if isinstance(self.digests, str) else self.digests

    @property
    def core_metadata(self) -> Mapping[str, str] | bool:
        """Digests of the metadata file, True where it is there without one."""
        return {_USUAL_HASH: self.metadata} if isinstance(self.metadata, str) else self.metadata


def _packed(hashes: Mapping[str, str]) -> str | Mapping[str, str]:
    """Hashes as a link keeps them: of the usual one alone its digest, since 96,000 objects take 17 MB."""
    return (len(hashes) == 1 and hashes.get(_USUAL_HASH)) or hashes


def link_of(file: Mapping[str, Any], start: int, end: int) -> JsonLink:
    """The link of a file that `is_file`, whose URL is at `start` to `end`."""
    # PEP 714: the new name wins where it is there. `{}` says that the metadata exists and no digest is known.
    metadata = file.get("core-metadata")
    if metadata is None:
        metadata = file.get("dist-info-metadata")
    size = file.get("size")
    yanked = file.get("yanked")
    return JsonLink(
        file["url"],
        start,
        end,
        text_of(file.get("filename")),
        _packed(read_hashes(file.get("hashes"))),
        (_packed(read_hashes(metadata)) or True) if metadata or metadata == {} else False,
        size if type(size) is int else None,  # `isinstance` would take True for 1
        text_of(file.get("upload-time")),
        yanked if isinstance(yanked, str) and yanked else bool(yanked),
    )


def _read_link(text: str, start: int, end: int, value: Any) -> JsonLink | None:
    return link_of(value, *string_span(text, start, end, "url")) if is_file(value) else None
