"""What a release file's name tells: whether it is one, its project, its version, and what is appended for a companion file.

By PEP 427 (wheels) and PEP 625 (sdists), and leniently for the names of older files, which index pages still list.

Leaves out: tags and build numbers of wheels.
"""

import contextlib
import re
from typing import Final

from packaging.utils import InvalidName, canonicalize_name, parse_sdist_filename
from packaging.version import Version

_DISTRIBUTION: Final = r"\.(?:whl|tar\.(?:gz|bz2|xz|lzma|lz|Z|zst)|tar|tgz|tbz|txz|tlz|zip|egg|exe|msi|rpm|deb|dmg)"
_PROJECT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")  # PEP 508's names
_FILE_ITSELF: Final = re.compile(rf".+{_DISTRIBUTION}", re.IGNORECASE | re.DOTALL)
_COMPANION: Final = re.compile(rf"(.+{_DISTRIBUTION})(\..+)", re.IGNORECASE | re.DOTALL)
_ENDING: Final = re.compile(rf"{_DISTRIBUTION}\Z", re.IGNORECASE)
_PLATFORM: Final = re.compile(r"\.(?:win|linux|macosx|noarch|src|x86|i[3-6]86|amd64).*\Z", re.IGNORECASE)
# In a name without such an extension only the companions that are known.
_COMPANIONS: Final = frozenset({"metadata", "asc", "sig", "provenance", "sigstore", "attestation"})
_VERSION_PART: Final = re.compile(r"-v?[0-9]", re.IGNORECASE)
_UNHYPHENATED: Final = re.compile(r"[._]v?(?=[0-9])", re.IGNORECASE)
_WHEEL_NAME: Final = re.compile(r"[\w.]+")
_MOST_PROJECTS: Final = 8


def is_distribution(name: str) -> bool:
    """Whether a file name has the ending of a wheel, an sdist, an egg, or one of the formats before them."""
    return _FILE_ITSELF.fullmatch(name) is not None


def is_project_name(name: str) -> bool:
    """Whether a text may be a project's name, normalised or not."""
    return _PROJECT.fullmatch(name) is not None


def split_filename(name: str) -> tuple[str, str]:
    """Split a file name into the distribution's own name and what is appended: '', '.metadata' (PEP 658), '.asc' and the like.

    >>> split_filename("six-1.0-py3-none-any.whl.metadata")
    ('six-1.0-py3-none-any.whl', '.metadata')
    """
    if _FILE_ITSELF.fullmatch(name):
        return name, ""
    if match := _COMPANION.fullmatch(name):
        return match[1], match[2]
    end = len(name)
    while (dot := name.rfind(".", 0, end)) > 0 and name[dot + 1 : end].lower() in _COMPANIONS:
        end = dot
    return name[:end], name[end:]


def projects_of(filename: str) -> list[str]:
    """The projects that a release file may belong to, normalised, the likeliest first.

    A wheel's project ends at the first hyphen (PEP 427). An sdist's ends at the hyphen before its version (PEP 625), and older names
    may have hyphens on both sides of that one. At most eight: for each of them a page is looked for. A name without a hyphen is the
    project's, up to what looks like a version.

    >>> projects_of("zope-interface-5.0.tar.gz"), projects_of("six.zip")
    (['zope-interface', 'zope'], ['six'])
    """
    if "-" not in filename:
        filename = _UNHYPHENATED.split(_ENDING.sub("", split_filename(filename)[0]), maxsplit=1)[0] + "-"
    parts = filename.split("-")
    ends = [1] if filename.endswith((".whl", ".whl.metadata")) else range(len(parts) - 1, 0, -1)[:_MOST_PROJECTS]
    names: list[str] = []
    for end in ends:
        try:
            names.append(canonicalize_name("-".join(parts[:end]), validate=True))
        except InvalidName:
            continue
    return list(dict.fromkeys(names))


def project_of(filename: str) -> str:
    """The project that a release file most likely belongs to, normalised.

    Of an odd name all up to what looks like a version; the whole name if nothing stands before that.

    >>> project_of("Zope.Interface-5.0.win32-py2.7.exe"), project_of("six_-1.0-py3-none-any.whl")
    ('zope-interface', 'six')
    """
    return _project_part(filename).strip("-") or filename


def judged_projects(filename: str) -> list[str]:
    """The projects by whose rules a file is judged by its name alone: the likeliest; without anything like a version the whole name, too.

    >>> judged_projects("foo-bar-1.0.tar.gz"), judged_projects("foo-bar.zip")
    (['foo-bar'], ['foo', 'foo-bar'])
    """
    likeliest = project_of(filename)
    stem = _ENDING.sub("", split_filename(filename)[0])
    whole = [] if _VERSION_PART.search(stem) or not is_project_name(stem) else [canonicalize_name(stem)]
    return list(dict.fromkeys([likeliest, *whole]))


def _project_part(filename: str) -> str:
    with contextlib.suppress(ValueError):
        return _parse_wheel(filename)[0]
    with contextlib.suppress(ValueError):
        return parse_sdist_filename(filename)[0]
    name = _VERSION_PART.split(filename, maxsplit=1)[0]
    return canonicalize_name(name) if name != filename else next(iter(projects_of(filename)), filename)


def version_of(filename: str, known: dict[str, Version]) -> Version | None:
    """The version of a wheel or sdist; None where it cannot be read.

    `known` is the caller's memory of wheels' versions by `name-version`: a release may have 50 wheels, and parsing is slow.
    """
    is_wheel = filename.endswith(".whl")
    stem = "-".join(filename.split("-", 2)[:2])
    if is_wheel and stem in known:
        return known[stem]
    try:
        if not is_wheel:
            return parse_sdist_filename(filename)[1]
        known[stem] = _parse_wheel(filename)[1]
    except ValueError:  # also from `int`: a number of more than 4,300 digits
        return None
    return known[stem]


def version_in(filename: str, project: str, known: dict[str, Version]) -> Version | None:
    """The version of a file that is on the page of `project`, of formats from before wheels too; None where it cannot be read.

    Clients lock all files of a version. `known` is as in `version_of`.

    >>> version_in("Foo.Bar-1.0.win32-py2.7.exe", "foo-bar", {}), version_in("foo-bar-1.0-2.tar.bz2", "foo-bar", {})
    (<Version('1.0')>, <Version('1.0.post2')>)
    """
    if filename.endswith(".whl"):
        return version_of(filename, known) or _old_wheel_version(filename)
    parts = _ENDING.sub("", filename).split("-")
    ends = range(1, min(len(parts), _MOST_PROJECTS + 1))
    start = next((end for end in ends if canonicalize_name("-".join(parts[:end])) == project), None)
    if start is None:
        return version_of(filename, known)
    # Behind the version an egg or an installer names its Python and its platform.
    for text in ("-".join(parts[start:]), parts[start], _PLATFORM.sub("", parts[start])):
        with contextlib.suppress(ValueError):
            return Version(text)
    return None


def _old_wheel_version(filename: str) -> Version | None:
    """The version in a name that PEP 427 does not allow, and older installers take: `a__b-1.0-…`, or `a-1.0_1-…` for 1.0-1."""
    parts = filename.split("-")
    with contextlib.suppress(ValueError):
        return Version(parts[1].replace("_", "-")) if len(parts) in {5, 6} else None
    return None


def version_text(filename: str, project: str) -> str:
    """A file's version as its name has it, also where that is no version by PEP 440: all behind the project's name.

    >>> version_text("pytz-2004d-custom.tar.gz", "pytz")
    '2004d-custom'
    """
    if filename.endswith(".whl"):
        return filename.split("-")[1] if "-" in filename else ""
    parts = _ENDING.sub("", filename).split("-")
    ends = range(1, min(len(parts), _MOST_PROJECTS + 1))
    return next(("-".join(parts[end:]) for end in ends if canonicalize_name("-".join(parts[:end])) == project), "")


def _parse_wheel(filename: str) -> tuple[str, Version]:
    """A wheel's project and version, by PEP 427. Raises ValueError.

    As `packaging.utils.parse_wheel_filename`, which also makes a value for each combination of tags: 10^9 of them for a name of 8 kB.
    """
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in {5, 6} or (len(parts) == 6 and not parts[2][:1].isdecimal()):
        raise ValueError("not a wheel's name")
    if "__" in parts[0] or _WHEEL_NAME.fullmatch(parts[0]) is None:
        raise ValueError("not a project's name in a wheel's")
    return canonicalize_name(parts[0]), Version(parts[1])
