"""For whom `warm` fetches: versions, platforms, the wheels that run there (PEP 425, 600, 656) and the markers (PEP 508, 751)."""

import sys

import pytest
from packaging.tags import sys_tags

from pkgcache.cli.warming.environments import (
    Environment,
    environments,
    parse_platform,
    parse_python,
    this_machine,
    this_python,
)


def agent(python: str, platform: str) -> Environment:
    return environments([python], [platform])[0]


LINUX = agent("3.12", "manylinux_2_28_x86_64")


@pytest.mark.parametrize(
    ("text", "version"), [("3.12", (3, 12)), (" 3.9 ", (3, 9)), ("3.13.1", (3, 13)), ("3.6", (3, 6))]
)
def test_a_version(text: str, version: tuple[int, int]) -> None:
    assert parse_python(text) == version


@pytest.mark.parametrize("text", ["", "3", "2.7", "4.0", "cp312", "3.x", ">=3.12", "3.12.1.1", "3.123", "python3.12"])
def test_no_version(text: str) -> None:
    with pytest.raises(ValueError, match=r"a version of Python 3, such as 3\.12"):
        parse_python(text)


@pytest.mark.parametrize(
    ("text", "first", "holds", "lacks"),
    [
        ("manylinux_2_17_x86_64", "manylinux_2_17_x86_64", "manylinux1_x86_64", "manylinux_2_18_x86_64"),
        ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux2010_aarch64"),  # x86 only
        ("manylinux1_i686", "manylinux_2_5_i686", "manylinux1_i686", "manylinux2010_i686"),
        ("linux_x86_64", "manylinux_2_41_x86_64", "manylinux_2_28_x86_64", "musllinux_1_2_x86_64"),
        ("musllinux_1_2_x86_64", "musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "manylinux_2_17_x86_64"),
        ("macosx_14_0_arm64", "macosx_14_0_arm64", "macosx_11_0_universal2", "macosx_14_0_x86_64"),
        ("macosx-13.0-x86_64", "macosx_13_0_x86_64", "macosx_10_9_x86_64", "macosx_14_0_x86_64"),
        ("win_amd64", "win_amd64", "win_amd64", "win32"),
        ("WIN-AMD64", "win_amd64", "win_amd64", "win_arm64"),
    ],
)  # fmt: skip
def test_a_platform(text: str, first: str, holds: str, lacks: str) -> None:
    tags = parse_platform(text)
    assert tags[0] == first
    assert holds in tags
    assert lacks not in tags


@pytest.mark.parametrize("text", ["", "linux", "windows", "amiga", "manylinux_2", "manylinux_x86_64", "macosx_14_arm64"])  # fmt: skip
def test_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match="a platform such as linux_x86_64"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("x-1-py3-none-any.whl", "x-1-cp312-cp312-manylinux_2_17_x86_64.whl"),
        ("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", "x-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("x-1-cp39-abi3-manylinux_2_17_x86_64.whl", "x-1-cp312-cp312-manylinux_2_17_x86_64.whl"),
        ("x-1-cp39-abi3-manylinux_2_17_x86_64.whl", "x-1-cp311-abi3-manylinux_2_17_x86_64.whl"),
        ("x-1-py2.py3-none-any.whl", "x-1-py312-none-any.whl"),
    ],
)
def test_the_better_wheel(worse: str, better: str) -> None:
    """In pip's order: the closer to this Python and platform, the better."""
    ranks = LINUX.rank(worse), LINUX.rank(better)
    assert ranks[0] is not None
    assert ranks[1] is not None
    assert ranks[1] < ranks[0]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        (LINUX, "x-1-cp312-cp312-manylinux_2_34_x86_64.whl"),  # glibc is older
        (LINUX, "x-1-cp313-cp313-manylinux_2_17_x86_64.whl"),  # another Python
        (LINUX, "x-1-cp312-cp312-manylinux_2_17_aarch64.whl"),  # another processor
        (LINUX, "x-1-cp312-cp312-musllinux_1_2_x86_64.whl"),  # another libc
        (LINUX, "x-1-cp313-abi3-manylinux_2_17_x86_64.whl"),  # a stable ABI newer than this Python
        (LINUX, "x-1-cp312-cp312t-manylinux_2_17_x86_64.whl"),  # free threads
        (LINUX, "x-1-py2-none-any.whl"),
        (LINUX, "x-1-pp310-pypy310_pp73-manylinux_2_17_x86_64.whl"),
        (LINUX, "x-1.tar.gz"),
        (LINUX, "x.whl"),
        (agent("3.12", "win_amd64"), "x-1-cp312-cp312-win32.whl"),
        (agent("3.12", "macosx_12_0_arm64"), "x-1-cp312-cp312-macosx_13_0_arm64.whl"),
    ],
)
def test_no_wheel_for_it(environment: Environment, name: str) -> None:
    assert environment.rank(name) is None


def test_old_abi_names() -> None:
    """Up to 3.7 the ABI's name ends in m."""
    assert agent("3.7", "manylinux2014_x86_64").rank("x-1-cp37-cp37m-manylinux1_x86_64.whl") is not None
    assert agent("3.8", "manylinux2014_x86_64").rank("x-1-cp38-cp38-manylinux1_x86_64.whl") is not None


def test_this_machine_ranks_as_its_pip() -> None:
    """The same tags, in the same order, as packaging (and so pip) has them for the Python that runs this."""
    here = this_machine(this_python())
    names = [f"x-1-{tag}.whl" for tag in sys_tags() if tag.interpreter.startswith(("cp", "py"))]
    ranks = [rank for name in names if (rank := here.rank(name)) is not None]
    assert len(ranks) == len(names)
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("marker", "linux", "windows", "mac"),
    [
        ("", True, True, True),
        ("sys_platform == 'win32'", False, True, False),
        ("os_name == 'posix'", True, False, True),
        ("platform_system == 'Darwin' and platform_machine == 'arm64'", False, False, True),
        ("platform_machine == 'x86_64' or platform_machine == 'AMD64'", True, True, False),
        ("python_version >= '3.12'", True, True, False),
        ("python_full_version < '3.11.4'", False, False, True),
        ("implementation_name != 'cpython'", False, False, False),
        ("platform_python_implementation == 'CPython'", True, True, True),
        ("'main' in dependency_groups", True, True, True),
        ("'other' in dependency_groups", False, False, False),
        ("'more' in extras and sys_platform == 'linux'", True, False, False),
        ("extra == 'whatever'", True, True, True),  # uv's: some agent will want it
        ("extra == 'whatever' and sys_platform == 'linux'", True, False, False),
        ("extra != 'whatever'", True, True, True),
    ],
)
def test_markers(marker: str, linux: bool, windows: bool, mac: bool) -> None:
    agents = (LINUX, agent("3.12", "win_amd64"), agent("3.11", "macosx_14_0_arm64"))
    assert [each.meets(marker, extras=["more"], groups=["main"]) for each in agents] == [linux, windows, mac]


def test_each_version_on_each_platform() -> None:
    found = environments(["3.12", "3.13", "3.12"], ["win_amd64", "linux_x86_64"])
    assert [str(each) for each in found] == [
        "Python 3.12 on win_amd64",
        "Python 3.12 on linux_x86_64",
        "Python 3.13 on win_amd64",
        "Python 3.13 on linux_x86_64",
    ]
    assert not any(each.native for each in found)


def test_without_words_it_is_this_very_python() -> None:
    (found,) = environments([], [])
    assert found.native
    assert found.python == sys.version_info[:2]
    (other,) = environments(["3.99"], [])
    assert not other.native
    assert other.meets("python_version == '3.99'")
    assert other.meets(f"sys_platform == '{sys.platform}'")
