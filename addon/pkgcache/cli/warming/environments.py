"""The environments to fetch for: a Python version on a platform, with the wheel tags and markers that an installer there would use.

By PEP 425 (tags), 600 (manylinux), 656 (musllinux), 508 and 751 (markers). A Linux platform stands for the glibc (or musl) version in its
name and all older ones; plain `linux_x86_64` for the newest that wheels require. Left out: PyPy and free-threaded CPython.
Pure, except for `this_machine`, which asks `packaging` about the machine that it runs on.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName, default_environment
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms, platform_tags
from packaging.utils import parse_wheel_filename

NEWEST_GLIBC = 41
"""glibc 2.41 (2025): the version that plain `linux_x86_64` stands for."""

_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_PYTHON = re.compile(r"3\.(\d{1,2})(?:\.\d+)?")
_MANYLINUX = re.compile(r"manylinux_2_(\d{1,2})_(\w+)")
_LEGACY_NAME = re.compile(r"(manylinux2014|manylinux2010|manylinux1)_(\w+)")
_MUSLLINUX = re.compile(r"musllinux_1_(\d{1,2})_(\w+)")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_MOST_TAGS = 10_000  # combinations of a wheel's tags; packaging makes a value for each
_LINUX = re.compile(r"linux_(\w+)")
_MACOS = re.compile(r"macosx_(\d{2})_(\d{1,2})_(x86_64|arm64)")
_WINDOWS = {"win_amd64": "AMD64", "win_arm64": "ARM64", "win32": "x86"}

PLATFORMS = "linux_x86_64, manylinux_2_28_x86_64, musllinux_1_2_x86_64, macosx_14_0_arm64 or win_amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python on a platform, with its platform tags (best first) and marker values.

    `native`: it is the Python that runs this code, for which pip can build what has no wheel.
    """

    python: tuple[int, int]
    platform: str
    platforms: tuple[str, ...]
    markers: tuple[tuple[str, str], ...]
    native: bool = False

    def __str__(self) -> str:
        return f"Python {self.python[0]}.{self.python[1]} on {self.platform}"

    def rank(self, filename: str) -> int | None:
        """Rank a wheel by its tags, 0 being the best as for pip; None if it does not run here, or is not a wheel."""
        compressed = [part.count(".") + 1 for part in filename.removesuffix(".whl").split("-")[-3:]]
        if math.prod(compressed) > _MOST_TAGS:
            return None
        try:
            tags = parse_wheel_filename(filename)[3]
        except ValueError:
            return None
        ranks = _ranks(self)
        return min((ranks[tag] for tag in tags if tag in ranks), default=None)

    def meets(self, marker: str, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> bool:
        """Whether a marker holds here, with all these extras and dependency groups. Raises ValueError if it is not a marker."""
        if not marker:
            return True
        values: dict[str, str | frozenset[str]] = dict(self.markers)
        parsed = Marker(marker)
        try:
            return parsed.evaluate(
                values | {"extras": frozenset(extras), "dependency_groups": frozenset(groups)}, "lock_file"
            )
        except (UndefinedEnvironmentName, UndefinedComparison):
            # uv writes `extra == "x"` where extras conflict: fetch it, since some agent will choose that extra.
            choices = ("", *extras, *_EXTRA.findall(marker))
            return any(parsed.evaluate({**dict(self.markers), "extra": extra}) for extra in choices)


def parse_python(text: str) -> tuple[int, int]:
    """Read `3.12` or `3.12.4`. Raises ValueError, whose message says what would be right.

    >>> parse_python("3.12.4")
    (3, 12)
    """
    match = _PYTHON.fullmatch(text.strip())
    if match is None:
        raise ValueError("a version of Python 3, such as 3.12")
    return 3, int(match[1])


def parse_platform(text: str) -> tuple[str, ...]:
    """The platform tags that an installer accepts on a platform, best first. Raises ValueError, whose message says what would be right.

    >>> parse_platform("manylinux_2_17_aarch64")
    ('manylinux_2_17_aarch64', 'manylinux2014_aarch64', 'linux_aarch64')
    """
    text = text.strip().lower().replace("-", "_").replace(".", "_")
    if text in _WINDOWS:
        return (text,)
    if match := _MANYLINUX.fullmatch(text):
        return tuple(_manylinux(int(match[1]), match[2]))
    if match := _LEGACY_NAME.fullmatch(text):
        return tuple(_manylinux(next(minor for minor, name in _LEGACY.items() if name == match[1]), match[2]))
    if match := _MUSLLINUX.fullmatch(text):
        return (*(f"musllinux_1_{minor}_{match[2]}" for minor in range(int(match[1]), -1, -1)), f"linux_{match[2]}")
    if match := _MACOS.fullmatch(text):
        return tuple(mac_platforms((int(match[1]), int(match[2])), match[3]))
    if match := _LINUX.fullmatch(text):
        return tuple(_manylinux(NEWEST_GLIBC, match[1]))
    raise ValueError(f"a platform such as {PLATFORMS}")


def _manylinux(minor: int, machine: str) -> Iterator[str]:
    """Tags of a glibc 2 and all older ones (PEP 600), each legacy name after its new one. Below 2.17 only x86 has wheels."""
    oldest = 5 if machine in {"x86_64", "i686"} else 17
    for each in range(minor, oldest - 1, -1):
        yield f"manylinux_2_{each}_{machine}"
        if each in _LEGACY:
            yield f"{_LEGACY[each]}_{machine}"
    yield f"linux_{machine}"


def environments(pythons: Sequence[str], platforms: Sequence[str]) -> list[Environment]:
    """Each version on each platform; if none is given, this machine's. Raises ValueError."""
    versions = list(dict.fromkeys(map(parse_python, pythons))) or [this_python()]
    found = []
    for python in versions:
        if not platforms:
            found.append(this_machine(python))
        for platform in dict.fromkeys(platforms):
            tags = parse_platform(platform)
            found.append(Environment(python=python, platform=platform, platforms=tags, markers=_markers(python, tags)))
    return found


def this_python() -> tuple[int, int]:
    """The version of the Python that runs this code."""
    return sys.version_info[0], sys.version_info[1]


def this_machine(python: tuple[int, int]) -> Environment:
    """A Python of this version on this machine, which may or may not have it."""
    native = python == this_python() and sys.implementation.name == "cpython"
    markers = {name: str(value) for name, value in default_environment().items()}
    if not native:
        markers |= _python_markers(python)
    return Environment(
        python=python,
        platform="this machine",
        platforms=tuple(platform_tags()),
        markers=tuple(markers.items()),
        native=native,
    )


def _markers(python: tuple[int, int], platforms: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Values of PEP 508's variables. The operating system's version is not known, so it is empty."""
    first = platforms[0]
    if first in _WINDOWS:
        system = {
            "os_name": "nt",
            "sys_platform": "win32",
            "platform_system": "Windows",
            "platform_machine": _WINDOWS[first],
        }
    elif match := _MACOS.fullmatch(first):
        system = {
            "os_name": "posix",
            "sys_platform": "darwin",
            "platform_system": "Darwin",
            "platform_machine": match[3],
        }
    else:
        machine = platforms[-1].removeprefix("linux_")
        system = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    return tuple({**_python_markers(python), **system, "platform_release": "", "platform_version": ""}.items())


def _python_markers(python: tuple[int, int]) -> dict[str, str]:
    version = f"{python[0]}.{python[1]}"
    return {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_version": f"{version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


@functools.lru_cache(maxsize=64)
def _ranks(environment: Environment) -> Mapping[Tag, int]:
    """The rank of each tag, in pip's order; of a tag that comes twice, the better."""
    tags = (
        *cpython_tags(environment.python, platforms=environment.platforms, abis=_abis(environment.python)),
        *compatible_tags(
            environment.python,
            interpreter=f"cp{environment.python[0]}{environment.python[1]}",
            platforms=environment.platforms,
        ),
    )
    return {tag: number for number, tag in reversed(list(enumerate(tags)))}


def _abis(python: tuple[int, int]) -> list[str]:
    return [f"cp{python[0]}{python[1]}" + ("m" if python < (3, 8) else "")]
