"""Index pages made of release files: HTML (PEP 503, 592, 658, 714) and JSON (PEP 691, 700), in every form of link.

The forms are those that real servers use, and those that clients are known to trip over.
"""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from tests.support.wheels import ReleaseFile, normalise

JSON_TYPE: Final = "application/vnd.pypi.simple.v1+json"
HTML_TYPE: Final = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML_TYPE: Final = "text/html; charset=utf-8"


class LinkForm(Enum):
    """How a page names a file."""

    CANONICAL = "https://files.example/packages/…"
    """Absolute, to another origin, as the default index itself does."""
    RELATIVE = "../../packages/…"
    """As mirrors, Nexus and Artifactory do."""
    DEVPI = "../../+f/<3>/<13>/<file>"
    """By SHA-256 and not by BLAKE2b, as devpi does."""
    DOTTED = "https://host/pypi/simple/<project>/../../packages/…"
    """Absolute with dot segments inside, which pip keeps."""
    PERCENT_DOTTED = "%2e%2e/%2e%2e/packages/…"
    ROOT_RELATIVE = "/pypi/packages/…"
    BASE_HREF = '<base href="…"> and packages/…'
    """HTML only; a JSON page has no base and gets RELATIVE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageStyle:
    """What a page looks like, whatever is on it."""

    form: LinkForm = LinkForm.RELATIVE
    files_origin: str = "https://files.example"
    """Where CANONICAL and BASE_HREF point: scheme, host, port, perhaps a prefix; no final slash."""
    hashes: Sequence[str] = ("sha256",)
    """Digests that the page gives; HTML has room for the first only."""
    core_metadata: bool = True
    """PEP 658 and 714: say that `.metadata` is there, and its digest."""
    details: bool = True
    """JSON only, PEP 700: versions, size and upload-time."""


def href(release: ReleaseFile, page_url: str, style: PageStyle, *, page_is_html: bool = True) -> str:
    """The link to a file, without a fragment. `page_url` is the page's own absolute address, with its final slash."""
    path = release.quoted_path
    match style.form:
        case LinkForm.CANONICAL:
            return f"{style.files_origin}/{path}"
        case LinkForm.DEVPI:
            filename = path.rpartition("/")[2]
            return f"../../+f/{release.sha256[:3]}/{release.sha256[3:16]}/{filename}"
        case LinkForm.DOTTED:
            return f"{page_url}../../{path}"
        case LinkForm.PERCENT_DOTTED:
            return f"%2e%2e/%2e%2e/{path}"
        case LinkForm.ROOT_RELATIVE:
            prefix = "/" + page_url.split("://", 1)[1].partition("/")[2]
            return f"{prefix.rstrip('/').rsplit('/', 2)[0]}/{path}"
        case LinkForm.BASE_HREF if page_is_html:
            return path
        case LinkForm.RELATIVE | LinkForm.BASE_HREF:
            return f"../../{path}"


def project_html(project: str, releases: Iterable[ReleaseFile], page_url: str, style: PageStyle | None = None) -> bytes:
    """A project's page as PEP 503 has it."""
    style = style or PageStyle()
    lines = ["<!DOCTYPE html>", "<html>", "  <head>", '    <meta name="pypi:repository-version" content="1.1">']
    if style.form is LinkForm.BASE_HREF:
        lines.append(f'    <base href="{html.escape(style.files_origin)}/">')
    lines += [f"    <title>Links for {html.escape(project)}</title>", "  </head>", "  <body>"]
    lines.append(f"    <h1>Links for {html.escape(project)}</h1>")
    lines += [f"    {_anchor(release, page_url, style)}<br />" for release in releases]
    lines += ["  </body>", "</html>", ""]
    return "\n".join(lines).encode()


def project_json(project: str, releases: Iterable[ReleaseFile], page_url: str, style: PageStyle | None = None) -> bytes:
    """A project's page as PEP 691 and PEP 700 have it."""
    style = style or PageStyle()
    releases = list(releases)
    page: dict[str, Any] = {
        "meta": {"api-version": "1.1", "_last-serial": len(releases)},
        "name": normalise(project),
        "files": [_entry(release, page_url, style) for release in releases],
    }
    if style.details:
        page["versions"] = sorted({release.version for release in releases})
    return json.dumps(page).encode()


def root_html(projects: Iterable[str]) -> bytes:
    """The list of all projects as PEP 503 has it."""
    lines = ["<!DOCTYPE html>", "<html>", "  <head><title>Simple index</title></head>", "  <body>"]
    lines += [f'    <a href="{normalise(name)}/">{html.escape(name)}</a>' for name in projects]
    return "\n".join([*lines, "  </body>", "</html>", ""]).encode()


def root_json(projects: Iterable[str]) -> bytes:
    """The list of all projects as PEP 691 has it."""
    return json.dumps({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in projects]}).encode()


def _anchor(release: ReleaseFile, page_url: str, style: PageStyle) -> str:
    link = href(release, page_url, style)
    if style.hashes:
        link += f"#{style.hashes[0]}={release.digest(style.hashes[0])}"
    attributes = [f'href="{html.escape(link)}"']
    if release.requires_python:
        attributes.append(f'data-requires-python="{html.escape(release.requires_python)}"')
    if style.core_metadata and release.is_wheel:
        # PEP 714: the new name first, PEP 658's own name for older clients
        attributes.append(f'data-core-metadata="sha256={release.metadata_sha256}"')
        attributes.append(f'data-dist-info-metadata="sha256={release.metadata_sha256}"')
    if release.yanked is not False:
        reason = release.yanked if isinstance(release.yanked, str) else ""
        attributes.append(f'data-yanked="{html.escape(reason)}"')
    return f"<a {' '.join(attributes)}>{html.escape(release.filename)}</a>"


def _entry(release: ReleaseFile, page_url: str, style: PageStyle) -> dict[str, Any]:
    core_metadata = {"sha256": release.metadata_sha256} if style.core_metadata and release.is_wheel else False
    entry: dict[str, Any] = {
        "core-metadata": core_metadata,
        "data-dist-info-metadata": core_metadata,
        "filename": release.filename,
        "hashes": {name: release.digest(name) for name in style.hashes},
        "requires-python": release.requires_python or None,
        "url": href(release, page_url, style, page_is_html=False),
        "yanked": release.yanked,
    }
    if style.details:
        entry |= {"size": release.size, "upload-time": release.upload_time}
    return entry
