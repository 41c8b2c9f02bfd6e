"""Makes a document of the older JSON API for an index that has `simple/` alone: poetry asks for it, and locks what it says.

It is made of the project's page (PEP 691, 592, 700) and a wheel's core metadata (PEP 566, 658), with the members that poetry reads,
in the spelling of the default index. Nobody else gets it: pip-audit reads from such a document that there are no known vulnerabilities,
whether its `vulnerabilities` are empty or missing, and here nothing is known about them.

Leaves out: vulnerabilities, download figures, the web pages' addresses, the long description, and what no page tells (`md5_digest`
without an MD5). A release that has no wheel has `requires_dist: null`, which tells a client to look into the files itself.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from packaging.metadata import RawMetadata, parse_email
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pkgcache.rules.routing.filenames import version_of
from pkgcache.rules.simple.json_page import filename_of, is_file, read_hashes

_PACKAGE_TYPES: Final = {
    ".whl": "bdist_wheel",
    ".egg": "bdist_egg",
    ".exe": "bdist_wininst",
    ".msi": "bdist_msi",
    ".rpm": "bdist_rpm",
    ".dmg": "bdist_dmg",
}
_POETRY: Final = re.compile(r"(?:^|\s)poetry/", re.IGNORECASE)  # a product of RFC 9110 §10.1.5, wherever it stands
_MAX_SPECIFIERS: Final = 1000  # characters; longer ones are passed on as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The release that a document is about, and the objects of its files as its PEP 691 page has them."""

    version: Version
    files: tuple[Mapping[str, Any], ...]

    @property
    def wheel(self) -> Mapping[str, Any] | None:
        """The wheel whose metadata to read: preferably one with a metadata file of its own, then one for any platform."""
        wheels = [file for file in self.files if filename_of(file).endswith(".whl")]
        # `max` gives the first of equals
        return max(
            wheels,
            key=lambda file: (has_metadata(file), filename_of(file).endswith("-none-any.whl")),
            default=None,
        )


def is_made_for(user_agent: str) -> bool:
    """Whether a client of this User-Agent gets a document that was made here.

    >>> is_made_for("poetry/2.2.1 CPython/3.13.0 Linux/6.1"), is_made_for("python-requests/2.32.5")
    (True, False)
    """
    return _POETRY.search(user_agent) is not None


def find_release(page: bytes, version: str) -> Release | None:
    """Find the release of a version on a PEP 691 page (one that `read_json` takes); None where there is none.

    For the version '' it is the latest: those not yanked before yanked ones, then final ones before pre-releases.
    """
    releases = _releases(page)
    try:
        asked = (
            Version(version) if version else max(releases, key=lambda each: _rank(each, releases[each]), default=None)
        )
    except ValueError:
        return None
    # 1.0 and 1.0.0 are equal: the document has the version as the page's files spell it.
    found = next((each for each in releases if each == asked), None)
    return Release(version=found, files=tuple(releases[found])) if found else None


def has_metadata(file: Mapping[str, Any]) -> bool:
    """Whether the page says that a file's metadata can be fetched alone (PEP 658; PEP 714: the new name wins).

    >>> has_metadata({"core-metadata": {}}), has_metadata({"core-metadata": None, "dist-info-metadata": True})
    (True, True)
    """
    metadata = file.get("core-metadata")
    return bool(file.get("dist-info-metadata") if metadata is None else metadata or metadata == {})


def build_document(project: str, release: Release, metadata: bytes | None, page: bytes | None = None) -> bytes:
    """Write the document of a release, or of the project where its whole `page` is given; the result is ASCII.

    `metadata` is a wheel's METADATA, None where the release has no wheel.
    """
    raw: RawMetadata = parse_email(metadata)[0] if metadata is not None else {}
    yanked = [file.get("yanked", False) for file in release.files]
    known = metadata is not None
    info = {
        **{name: raw.get(name) for name in ("author", "author_email", "maintainer", "maintainer_email", "home_page")},
        **{name: raw.get(name) for name in ("license", "license_expression", "download_url", "project_urls")},
        "classifiers": raw.get("classifiers", []),
        "keywords": ",".join(raw.get("keywords", [])),
        "name": raw.get("name", project),
        "provides_extra": raw.get("provides_extra"),
        "requires_dist": raw.get("requires_dist", []) if known else None,
        "requires_python": _specifiers(raw.get("requires_python")) or _requires_python(release.files),
        "summary": raw.get("summary", "") if known else None,
        "version": str(release.version),
        "yanked": bool(yanked) and all(yanked),
        "yanked_reason": next((reason for reason in yanked if isinstance(reason, str) and reason), None)
        if all(yanked)
        else None,
    }
    document: dict[str, Any] = {"info": info}
    if page is not None:
        document["releases"] = {
            str(version): [_file_entry(file) for file in files] for version, files in sorted(_releases(page).items())
        }
    document["urls"] = [_file_entry(file) for file in release.files]
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _releases(page: bytes) -> dict[Version, list[Mapping[str, Any]]]:
    """The page's files by version. Files whose names do not tell a version are left out."""
    files = [file for file in json.loads(page.removeprefix(b"\xef\xbb\xbf"))["files"] if is_file(file)]
    known: dict[str, Version] = {}
    releases: dict[Version, list[Mapping[str, Any]]] = {}
    for file in files:
        if version := version_of(filename_of(file), known):
            releases.setdefault(version, []).append(file)
    return releases


def _rank(version: Version, files: Iterable[Mapping[str, Any]]) -> tuple[bool, bool, Version]:
    return not all(file.get("yanked") for file in files), not version.is_prerelease, version


def _file_entry(file: Mapping[str, Any]) -> dict[str, Any]:
    """A file's object as the older API writes it."""
    filename, yanked = filename_of(file), file.get("yanked", False)
    uploaded = file.get("upload-time")
    digests = read_hashes(file.get("hashes"))
    return {
        "comment_text": "",
        "digests": digests,
        "downloads": -1,
        "filename": filename,
        "has_sig": bool(file.get("gpg-sig")),
        "md5_digest": digests.get("md5"),
        "packagetype": _PACKAGE_TYPES.get(filename[-4:], "sdist"),
        "python_version": _python_version(filename),
        "requires_python": _specifiers(file.get("requires-python")),
        "size": file.get("size"),
        "upload_time": uploaded.partition(".")[0].removesuffix("Z") if isinstance(uploaded, str) else None,
        "upload_time_iso_8601": uploaded,
        "url": file["url"],
        "yanked": bool(yanked),
        "yanked_reason": yanked if isinstance(yanked, str) and yanked else None,
    }


def _python_version(filename: str) -> str:
    """The Python tag of a wheel, as its name spells it; `source` for anything else, as the default index has it."""
    parts = filename.removesuffix(".whl").split("-")
    return parts[-3] if filename.endswith(".whl") and len(parts) > 4 else "source"


def _requires_python(files: Iterable[Mapping[str, Any]]) -> str | None:
    return next((text for file in files if (text := _specifiers(file.get("requires-python")))), None)


def _specifiers(text: object) -> str | None:
    """A specifier set as the default index spells it in documents (its pages have them as uploaded). None where there is none.

    >>> _specifiers(">= 3.10, !=3.9.1")
    '!=3.9.1,>=3.10'
    """
    if not isinstance(text, str) or not text:
        return None
    if len(text) > _MAX_SPECIFIERS:
        return text
    try:
        return str(SpecifierSet(text))
    except ValueError:
        return text
