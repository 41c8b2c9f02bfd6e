"""rules/routing/filenames.py."""

from __future__ import annotations

import contextlib
import re
from typing import Final

from packaging.utils import (
    InvalidName,
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version


def projects_of(filename: str) -> list[str]:
    """The projects that a release file may belong to, the likeliest first.

    A wheel's name ends at its first hyphen (PEP 427), an sdist's at some hyphen before its version (PEP 625; older ones hold more).
    """
    parts = filename.split("-")
    ends = [1] if filename.endswith((".whl", ".whl.metadata")) else range(len(parts) - 1, 0, -1)
    names: list[str] = []
    for end in ends:
        try:
            names.append(canonicalize_name("-".join(parts[:end]), validate=True))
        except InvalidName:
            continue
    return list(dict.fromkeys(names))


def project_of(filename: str) -> str:
    """The project that a release file belongs to, as far as its name tells: in odd names up to what looks like a version."""
    with contextlib.suppress(InvalidWheelFilename):
        return parse_wheel_filename(filename)[0]
    with contextlib.suppress(InvalidSdistFilename):
        return parse_sdist_filename(filename)[0]
    name = re.split(r"-v?[0-9]", filename, maxsplit=1, flags=re.IGNORECASE)[0]
    return canonicalize_name(name) if name != filename else next(iter(projects_of(filename)), filename)


_DISTRIBUTION: Final = r"\.(?:whl|tar\.(?:gz|bz2|xz|lzma|lz|Z|zst)|tar|tgz|tbz|txz|tlz|zip|egg|exe|msi|rpm|deb|dmg)"


_FILE_ITSELF: Final = re.compile(rf".+{_DISTRIBUTION}", re.IGNORECASE | re.DOTALL)


# What follows a distribution's extension, or one of the known companions where there is no such extension.
_COMPANION: Final = re.compile(
    rf"(.+{_DISTRIBUTION})(\..+)|(.+?)((?:\.(?:metadata|asc|sig|provenance|sigstore|attestation))+)",
    re.IGNORECASE | re.DOTALL,
)


def is_distribution(name: str) -> bool:
    """Whether a file name is a wheel's, an sdist's or an egg's, or what came before them, by its ending."""
    return _FILE_ITSELF.fullmatch(name) is not None


def split_filename(name: str) -> tuple[str, str]:
    """A distribution's file name and what stands behind it: '' for itself, '.metadata' (PEP 658), '.asc' and the like.

    >>> split_filename("six-1.0-py3-none-any.whl.metadata")
    ('six-1.0-py3-none-any.whl', '.metadata')
    """
    if _FILE_ITSELF.fullmatch(name) or (match := _COMPANION.fullmatch(name)) is None:
        return name, ""
    return (match[1], match[2]) if match[1] else (match[3], match[4])


def version_of(filename: str, known: dict[str, Version]) -> Version | None:
    """The version of a file, None where it cannot be read. `known`: those of wheels, by `name-version`."""
    is_wheel = filename.endswith(".whl")
    stem = "-".join(filename.split("-", 2)[:2])
    if is_wheel and stem in known:
        return known[stem]
    try:
        if not is_wheel:
            return parse_sdist_filename(filename)[1]
        known[stem] = parse_wheel_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return known[stem]
