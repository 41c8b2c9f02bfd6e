"""Converts a project page between HTML (PEP 503) and JSON (PEP 691), for an upstream that offers only one of them.

It is done before links are edited, so relative links stay relative. All that both forms can express is carried over: file, hash,
`requires-python` and signature (PEP 503), yanked (PEP 592), core metadata (PEP 658, 714), tracks and alternate locations (PEP 708),
provenance (PEP 740), project status (PEP 792). Nothing is invented: JSON made from HTML has version 1.0, because HTML does not give
sizes, upload times and `versions` (PEP 700).

Leaves out: unknown keys and attributes, all hashes but one in HTML, and the list of projects. HTML clients take a file's name from the
last segment of its URL, so a file that JSON gives another name has the URL's name in HTML.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from packaging.utils import canonicalize_name

from pkgcache.rules.routing.filenames import is_distribution
from pkgcache.rules.routing.urls import Url, parse_url, resolve_reference
from pkgcache.rules.simple.html_page import read_html
from pkgcache.rules.simple.html_tags import Attributes, read_attributes, tags
from pkgcache.rules.simple.json_page import is_file, json_or_broken, link_of, read_page, text_of
from pkgcache.rules.simple.limits import max_growth
from pkgcache.rules.simple.page_model import BrokenPage, Page, PageLink, check_base

# PEP 503: "The current recommendation is to use sha256"; else the strongest, of those that pip and uv know first.
_HASHES: Final = (
    *("sha256", "sha512", "sha384", "blake2b", "sha224"),
    *("sha3_512", "sha3_384", "sha3_256", "blake2b_256", "sha1", "md5"),
)
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_ODD: Final = re.compile(r"[^\x20-\x7e]|`")
_TO_ESCAPE: Final = re.compile(rf"{_ODD.pattern}|[&<>\"']")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_STRIPPED: Final = "".join(map(chr, range(0x21)))
_SCHEME: Final = re.compile(r"(?!https?:)[a-z][a-z0-9+.\-]*:", re.IGNORECASE)


def json_to_html(body: bytes, project: str) -> bytes:
    """Convert a PEP 691 page to a PEP 503 page; the result is ASCII. BrokenPage for another version than 1.x (PEP 629)."""
    _, (model, anchors) = json_or_broken(body, lambda text: read_page(text, _read_anchor))
    title = f"Links for {_escape(canonicalize_name(project))}"
    metas = "".join(
        f'    <meta name="pypi:{name}" content="{_escape(content)}">\n' for name, content in _metas_of_json(model)
    )
    head = f"<!DOCTYPE html>\n<html>\n  <head>\n{metas}    <title>{title}</title>\n  </head>\n  <body>\n    <h1>{title}</h1>\n"
    return b"".join([head.encode("ascii"), *anchors, b"  </body>\n</html>\n"])


def html_to_json(body: bytes, project: str, page_url: Url) -> bytes:
    """Convert a PEP 503 page to a PEP 691 page of version 1.0; the result is ASCII. BrokenPage for another version than 1.x (PEP 629).

    `page_url` is the upstream's final URL. It matters only where the page has a `<base href>`, which JSON cannot express: links are
    then made absolute. Anchors whose links do not name a release file are left out.
    """
    page = read_html(body)
    base = _base(page, page_url)
    room = max_growth(len(body))
    links = {link.start: link for link in page.links}
    files: list[bytes] = []
    metas: dict[str, list[str]] = {}
    for tag in tags(page.text):
        name = tag[1].lower() if tag[1] else ""
        if name == "a":
            # `PageLink` has no requires-python, signature and provenance, so the attributes are read once more.
            attributes = read_attributes(page.text, tag)
            href = attributes.get("href")
            if href and (link := links.get(href[1])) and (file := _file_of_anchor(link, attributes, base)):
                files.append(_written(file))
                room -= max(0, len(file["url"]) - len(href[0]))
                if room < 0:
                    raise BrokenPage("its links, made absolute, would be many times the page")
        elif name == "meta":
            attributes = read_attributes(page.text, tag)
            metas.setdefault(_value(attributes, "name").lower(), []).append(_value(attributes, "content"))
    _check_version("pypi:repository-version", metas.get("pypi:repository-version", ["1.0"])[0])
    known = _metas_to_json(metas)
    meta = {"api-version": "1.0"} | ({"tracks": tracks} if (tracks := known.pop("tracks", None)) else {})
    model = {"meta": meta, "name": canonicalize_name(project), **known}
    return b"".join([_written(model)[:-1], b',"files":[', b",".join(files), b"]}"])


def _check_version(name: str, version: str) -> None:
    """PEP 629: what a page of another major version means is not known here."""
    if version.strip().partition(".")[0] != "1":
        raise BrokenPage(f"page has {name} {version!r:.80}, not 1.x")


# To HTML


def _metas_of_json(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and contents of the `<meta>` elements for what JSON says of the page as a whole."""
    meta = model.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    version = str(meta.get("api-version", "1.0"))
    _check_version("meta.api-version", version)
    yield "repository-version", version
    # PEP 792: "pypi:project-status" and "pypi:project-status-reason"
    status = model.get("project-status")
    if isinstance(status, dict):
        if text := text_of(status.get("status")):
            yield "project-status", text
        if text := text_of(status.get("reason")):
            yield "project-status-reason", text
    # PEP 708: one element for each URL
    for name, urls in (("tracks", meta.get("tracks")), ("alternate-locations", model.get("alternate-locations"))):
        for url in urls if isinstance(urls, list) else ():
            if text := text_of(url):
                yield name, text


def _read_anchor(_text: str, _start: int, _end: int, file: Any) -> bytes:
    """The anchor of a file's object, and its line; empty for what is no file, or has no name."""
    if not is_file(file) or not (link := link_of(file, 0, 0)).filename:
        return b""
    url, _, fragment = link.href.partition("#")
    fragment = _hash(link.hashes) or fragment
    attributes = [("href", f"{url}#{fragment}" if fragment else url)]
    if requires := text_of(file.get("requires-python")):
        attributes.append(("data-requires-python", requires))
    if link.core_metadata is not False:
        # PEP 714: both names; "true" where no hash is known
        metadata = ("" if link.core_metadata is True else _hash(link.core_metadata)) or "true"
        attributes += (("data-dist-info-metadata", metadata), ("data-core-metadata", metadata))
    if link.yanked is not False:
        attributes.append(("data-yanked", "" if link.yanked is True else link.yanked))
    if isinstance(signed := file.get("gpg-sig"), bool):
        attributes.append(("data-gpg-sig", "true" if signed else "false"))
    if provenance := text_of(file.get("provenance")):
        attributes.append(("data-provenance", provenance))
    written = " ".join(f'{name}="{_escape(value)}"' for name, value in attributes)
    return f"    <a {written}>{_escape(link.filename)}</a><br />\n".encode("ascii")


def _hash(hashes: Mapping[str, str]) -> str:
    """One hash in the form of a URL's fragment, `sha256=…`, or ''."""
    return next((f"{name}={hashes[name]}" for name in _HASHES if name in hashes and _HEX.fullmatch(hashes[name])), "")


def _escape(value: str) -> str:
    """Escape a text or a quoted attribute, readably and in ASCII (`escape_html` also fits attributes without quotes)."""
    if not _TO_ESCAPE.search(value):
        return value
    return _ODD.sub(lambda match: f"&#{ord(match[0])};", html.escape(value))


# To JSON


def _base(page: Page, page_url: Url) -> Url | None:
    """What links are relative to if not to the page: its `<base href>`. None too where that is no http(s) URL. Raises BrokenPage."""
    check_base(page)
    try:
        return parse_url(resolve_reference(page_url, page.base_href)) if page.base_span else None
    except ValueError:
        return None


def _file_of_anchor(link: PageLink, attributes: Attributes, base: Url | None) -> dict[str, Any] | None:
    """The object of the release file that an anchor links to; None if it links to something else."""
    filename = link.filename.strip()
    # URL Standard §4.4: white space around a URL and line ends and tabs inside it do not count.
    href = re.sub(r"[\t\n\r]", "", link.href.strip(_STRIPPED))
    if not is_distribution(filename) or _UNSAFE.search(filename) or href[:1] in {"", "#", "?"} or _SCHEME.match(href):
        return None
    if base is not None:
        try:
            href = resolve_reference(base, href)
        except ValueError:
            return None
    file: dict[str, Any] = {
        "filename": filename,
        "url": href.partition("#")[0] if link.hashes else href,
        "hashes": dict(link.hashes),
    }
    if requires := _value(attributes, "data-requires-python"):
        file["requires-python"] = requires
    if link.core_metadata is not False:
        metadata = True if link.core_metadata is True else dict(link.core_metadata)
        file |= {"core-metadata": metadata, "dist-info-metadata": metadata}  # PEP 714
    if link.yanked is not False:
        file["yanked"] = link.yanked
    if (signed := _value(attributes, "data-gpg-sig")) in {"true", "false"}:
        file["gpg-sig"] = signed == "true"
    if provenance := _value(attributes, "data-provenance"):
        file["provenance"] = provenance
    return file


def _metas_to_json(metas: Mapping[str, list[str]]) -> dict[str, Any]:
    """What `<meta>` elements say of the page as a whole; `tracks` belongs into JSON's `meta`, all else into the page itself."""
    status = metas.get("pypi:project-status", [""])[0]
    reason = metas.get("pypi:project-status-reason", [""])[0]
    known: dict[str, Any] = {}
    if status:
        known["project-status"] = {"status": status} | ({"reason": reason} if reason else {})
    for name in ("tracks", "alternate-locations"):
        if urls := [url for url in metas.get(f"pypi:{name}", ()) if url]:
            known[name] = urls
    return known


def _written(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _value(attributes: Attributes, name: str) -> str:
    return found[0] if (found := attributes.get(name)) else ""
