"""Packages of a lock in one form, and the values that lock files have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker

from pkgcache.cli.warming.environments import environments
from pkgcache.cli.warming.lock_model import (
    Lock,
    LockedFile,
    Package,
    WrongLock,
    checked_marker,
    either,
    file_of,
    files_of,
    marker_of,
    name_of,
    pythons_of,
    table_of,
    tables,
    text_of,
    texts_of,
    version_of,
)

LINUX, WINDOWS = environments(["3.12"], ["linux_x86_64", "win_amd64"])
WIN, MAC = "sys_platform == 'win32'", "sys_platform == 'darwin'"


@pytest.mark.parametrize(
    ("requires_python", "marker", "on_linux", "on_windows"),
    [
        ("", "", True, True),
        (">=3.12", "", True, True),
        (">=3.12.1", "", True, True),  # some 3.12
        ("<3.12", "", False, False),
        (">=3.13", "", False, False),
        ("^3.8", "", True, True),  # poetry's own, which says nothing to packaging
        ("", WIN, False, True),
        (">=3.13", WIN, False, False),
        ("", "'more' in extras", True, True),
        ("", "'less' in extras", False, False),
        ("", "'dev' in dependency_groups", True, True),
    ],
)
def test_who_a_package_is_for(requires_python: str, marker: str, on_linux: bool, on_windows: bool) -> None:
    package = Package(name="one", requires_python=requires_python, marker=marker)
    found = [package.is_for(each, extras=["more"], groups=["dev"]) for each in (LINUX, WINDOWS)]
    assert found == [on_linux, on_windows]


def test_a_graph_says_what_is_reachable() -> None:
    """And markers of the packages count beside it."""
    one, two = Package(name="one", marker=WIN), Package(name="two")
    assert Lock(kind="x", packages=(one, two)).of(WINDOWS) == [one, two]
    assert Lock(kind="x", packages=(one, two), reachable=lambda _: [one]).of(WINDOWS) == [one]
    assert Lock(kind="x", packages=(one, two), reachable=lambda _: [one]).of(LINUX) == []


@pytest.mark.parametrize(
    ("markers", "either_of_them"),
    [
        ([], ""),
        ([""], ""),
        ([WIN, ""], ""),
        ([WIN], f"({WIN})"),
        ([WIN, MAC, WIN], f"({WIN}) or ({MAC})"),
    ],
)
def test_either(markers: list[str], either_of_them: str) -> None:
    assert either(markers) == either_of_them


@given(st.lists(st.sampled_from(["", WIN, MAC, "os_name == 'nt'", "python_version < '3'"]), min_size=1, max_size=4))
def test_either_holds_where_one_does(markers: list[str]) -> None:
    for environment in (LINUX, WINDOWS):
        assert environment.meets(either(markers)) == any(environment.meets(each) for each in markers)


def test_values() -> None:
    table = {"name": "One.Two", "version": "1", "list": ["a"], "table": {"x": 1}, "tables": [{}], "any": "*"}
    assert (name_of(table), version_of(table), text_of(table, "none", "d")) == ("one-two", "1", "d")
    assert (texts_of(table, "list"), texts_of(table, "none")) == (("a",), ())
    assert (table_of(table, "table"), table_of(table, "none")) == ({"x": 1}, {})
    assert (tables(table, "tables"), tables(table, "none")) == ([{}], [])
    assert (pythons_of(table, "any"), pythons_of({"any": ">=3"}, "any")) == ("", ">=3")
    assert Marker(marker_of({"m": WIN}, "m")) == Marker(WIN)
    assert marker_of({}, "m") == ""


@pytest.mark.parametrize(
    ("table", "filename", "url", "hashes"),
    [
        ({"file": "a.whl", "hash": "sha256:1"}, "a.whl", "", ("sha256:1",)),
        ({"filename": "a.whl"}, "a.whl", "", ()),
        ({"url": "https://f.example/p/a%2Bb.whl?x#y"}, "a+b.whl", "https://f.example/p/a%2Bb.whl?x#y", ()),
        ({"file": "a.whl", "url": "https://f.example/b.whl"}, "a.whl", "https://f.example/b.whl", ()),
    ],
)
def test_a_file(table: dict[str, str], filename: str, url: str, hashes: tuple[str, ...]) -> None:
    assert file_of(table, "") == LockedFile(filename=filename, url=url, hashes=hashes)


@pytest.mark.parametrize(
    ("read", "reason", "where"),
    [
        (lambda: tables({"x": 3}, "x"), "'x' is not a list of tables", "x"),
        (lambda: tables({"x": [3]}, "x"), "'x' is not a list of tables", "x"),
        (lambda: table_of({"x": []}, "x"), "x = []; expected a table", "x"),
        (lambda: text_of({"name": "one", "x": 3}, "x"), "package one: x = 3; expected a text", "one"),
        (lambda: text_of({"x": True}, "x"), "x = True; expected a text", "x"),
        (lambda: texts_of({"x": "a"}, "x"), "x = 'a'; expected a list of texts", "x"),
        (lambda: name_of({}), "a package has no name; expected a text", "[[package"),
        (lambda: version_of({"name": "one"}), "package one: no version; expected a text", "one"),
        (lambda: files_of({"name": "one", "f": [{}]}, "f"), "package one: a file without a name and a URL", ""),
        (lambda: file_of({"url": "http://[x"}, ""), "'http://[x' is not a URL", "http://[x"),
        (lambda: checked_marker("linux", "package one: "), "package one: ", "linux"),
    ],
)  # fmt: skip
def test_a_wrong_value(read: object, reason: str, where: str) -> None:
    """What is wrong, what would be right, and a text of the file near it."""
    assert callable(read)
    with pytest.raises(WrongLock) as caught:
        read()
    assert str(caught.value).startswith(reason)
    assert caught.value.where == where
    assert "\n" not in str(caught.value)
