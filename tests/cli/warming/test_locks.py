"""Lock files of five tools, as text: what an agent would want of each, and one line for each thing that can be wrong with one."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.cli.warming.environments import Environment, environments
from pkgcache.cli.warming.lock_formats import READERS
from pkgcache.cli.warming.lock_model import Lock, Package, WrongLock
from pkgcache.cli.warming.locks import LockError, read_lock

LINUX, WINDOWS = (environments(["3.12"], [platform])[0] for platform in ("manylinux_2_28_x86_64", "win_amd64"))
NEWER = environments(["3.14"], ["manylinux_2_28_x86_64"])[0]
DIGEST = "sha256:" + "a" * 64
INDEX = "https://index.example/simple"
WHEEL = "https://files.example/one-1.0-py3-none-any.whl"


def file(name: str) -> str:
    """A file's line, as poetry and pdm write it."""
    return f'{{file = "{name}", hash = "{DIGEST}"}}'


UV = f"""
version = 1
requires-python = ">=3.12"

[[package]]
name = "app"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "one" }}, {{ name = "win", marker = "sys_platform == 'win32'" }}, {{ name = "local" }}]

[package.optional-dependencies]
more = [{{ name = "two", extra = ["deep"] }}]

[package.dev-dependencies]
dev = [{{ name = "tested" }}]

[[package]]
name = "one"
version = "1.0"
source = {{ registry = "{INDEX}" }}
sdist = {{ url = "https://files.example/one-1.0.tar.gz", hash = "{DIGEST}" }}
wheels = [{{ url = "{WHEEL}", hash = "{DIGEST}" }}]

[[package]]
name = "two"
version = "2.0"
source = {{ registry = "{INDEX}" }}

[package.optional-dependencies]
deep = [{{ name = "deepest" }}]
deeper = [{{ name = "unwanted" }}]

[[package]]
name = "deepest"
version = "3.0"
source = {{ registry = "{INDEX}" }}
dependencies = [{{ name = "two" }}]

[[package]]
name = "unwanted"
version = "1.0"
source = {{ registry = "{INDEX}" }}

[[package]]
name = "win"
version = "1.0"
source = {{ registry = "{INDEX}" }}
dependencies = [{{ name = "under-win" }}]

[[package]]
name = "under-win"
version = "1.0"
source = {{ registry = "{INDEX}" }}

[[package]]
name = "tested"
version = "1.0"
source = {{ registry = "../folder" }}
wheels = [{{ path = "tested-1.0-py3-none-any.whl" }}]

[[package]]
name = "local"
version = "1.0"
source = {{ git = "https://git.example/local?rev=1" }}
"""

POETRY = f"""
[[package]]
name = "One"
version = "1.0"
optional = false
python-versions = "*"
files = [{file("one-1.0-py3-none-any.whl")}]

[[package]]
name = "two"
version = "2.0"
python-versions = ">=3.13"
files = []

[[package]]
name = "win"
version = "1.0"
python-versions = "^3.8"
markers = {{ main = "sys_platform == 'win32'", dev = "sys_platform == 'darwin'" }}
files = []

[package.source]
type = "legacy"
url = "{INDEX}"
reference = "corp"

[[package]]
name = "local"
version = "1.0"
python-versions = "*"
files = []

[package.source]
type = "git"
url = "https://git.example/local"

[metadata]
lock-version = "2.1"
python-versions = ">=3.12"
content-hash = "0"
"""

POETRY_1_4 = f"""
[[package]]
name = "one"
version = "1.0"
python-versions = "*"

[metadata]
lock-version = "1.1"
python-versions = ">=3.12"

[metadata.files]
one = [{file("one-1.0-py3-none-any.whl")}]
"""

PDM = f"""
[metadata]
groups = ["default", "more"]
lock_version = "4.5.0"

[[package]]
name = "one"
version = "1.0"
marker = "sys_platform == 'win32'"
files = [{file("one-1.0-py3-none-any.whl")}]

[[package]]
name = "one"
version = "1.0"
extras = ["more"]
marker = "sys_platform == 'linux'"
files = [{file("one-1.0-py3-none-any.whl")}]

[[package]]
name = "two"
version = "2.0"
requires_python = ">=3.13"
files = [{{url = "https://files.example/two-2.0.tar.gz", hash = "{DIGEST}"}}]

[[package]]
name = "local"
version = "1.0"
path = "./local"
"""

PYLOCK = f"""
lock-version = "1.0"
created-by = "somebody"
extras = ["more"]
dependency-groups = ["dev"]
default-groups = ["main"]

[[packages]]
name = "one"
version = "1.0"
index = "{INDEX}"
marker = "'main' in dependency_groups"
wheels = [{{ url = "{WHEEL}", hashes = {{ sha256 = "{"a" * 64}" }} }}]

[[packages]]
name = "two"
version = "2.0"
marker = "'more' in extras or 'dev' in dependency_groups"
requires-python = ">=3.12"
sdist = {{ name = "two-2.0.tar.gz", url = "https://files.example/x", hashes = {{ sha256 = "{"a" * 64}" }} }}

[[packages]]
name = "win"
version = "1.0"
marker = "sys_platform == 'win32'"
wheels = [{{ path = "win-1.0-py3-none-any.whl", hashes = {{ sha256 = "{"a" * 64}" }} }}]

[[packages]]
name = "local"
directory = {{ path = "." }}
"""

PIPFILE = json.dumps(
    {
        "_meta": {"sources": [{"name": "main", "url": INDEX}, {"name": "corp", "url": "https://corp.example/simple"}]},
        "default": {
            "one": {"version": "==1.0", "hashes": [DIGEST]},
            "two": {"version": "==2.0", "index": "corp", "markers": "python_version >= '3.13'"},
            "local": {"git": "https://git.example/local", "ref": "1"},
        },
        "develop": {"win": {"version": "==1.0", "markers": "sys_platform == 'win32'"}},
    }
)
ALL = {
    "uv.lock": UV,
    "poetry.lock": POETRY,
    "pdm.lock": PDM,
    "pylock.toml": PYLOCK,
    "Pipfile.lock": PIPFILE,
}


def names(lock: Lock, environment: Environment) -> list[str]:
    return sorted(each.name for each in lock.of(environment))


@pytest.mark.parametrize(
    ("name", "text", "linux", "windows", "newer"),
    [
        ("uv.lock", UV, "deepest one tested two", "deepest one tested two under-win win", "deepest one tested two"),
        ("poetry.lock", POETRY, "one", "one win", "one two"),
        ("poetry.lock", POETRY_1_4, "one", "one", "one"),
        ("pdm.lock", PDM, "one", "one", "one two"),
        ("pylock.toml", PYLOCK, "one two", "one two win", "one two"),
        ("Pipfile.lock", PIPFILE, "one", "one win", "one two"),
    ],
    ids=["uv", "poetry", "poetry 1.4", "pdm", "pylock", "pipenv"],
)
def test_who_wants_what(name: str, text: str, linux: str, windows: str, newer: str) -> None:
    """By markers and versions of Python, with all extras and groups of the lock's own, and only wanted ones of others."""
    lock = read_lock(name, text)
    assert [names(lock, each) for each in (LINUX, WINDOWS, NEWER)] == [linux.split(), windows.split(), newer.split()]


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("uv.lock", "local (git)"),
        ("poetry.lock", "local (git)"),
        ("pdm.lock", "local (path)"),
        ("pylock.toml", "local (directory)"),
        ("Pipfile.lock", "local (git)"),
    ],
)
def test_what_comes_from_no_index(name: str, skipped: str) -> None:
    assert read_lock(name, ALL[name]).skipped == (skipped,)


def package(name: str, of: str) -> Package:
    return next(each for each in read_lock(of, ALL[of]).packages if each.name == name)


@pytest.mark.parametrize(
    ("found", "index", "files"),
    [
        (package("one", "uv.lock"), INDEX, [("one-1.0-py3-none-any.whl", WHEEL), ("one-1.0.tar.gz", "https://files.example/one-1.0.tar.gz")]),
        (package("tested", "uv.lock"), "", []),  # a folder of files: nothing to fetch, and what the index has is asked for
        (package("one", "poetry.lock"), "", [("one-1.0-py3-none-any.whl", "")]),
        (package("win", "poetry.lock"), INDEX, []),
        (package("two", "pdm.lock"), "", [("two-2.0.tar.gz", "https://files.example/two-2.0.tar.gz")]),
        (package("one", "pylock.toml"), INDEX, [("one-1.0-py3-none-any.whl", WHEEL)]),
        (package("two", "pylock.toml"), "", [("two-2.0.tar.gz", "https://files.example/x")]),  # its name wins over its URL's
        (package("win", "pylock.toml"), "", []),
        (package("one", "Pipfile.lock"), INDEX, [("", "")]),  # a hash alone: the index's page tells the rest
        (package("two", "Pipfile.lock"), "https://corp.example/simple", []),
    ],
    ids=lambda value: f"{value.name} {value.version}" if isinstance(value, Package) else "",
)  # fmt: skip
def test_where_its_files_are(found: Package, index: str, files: list[tuple[str, str]]) -> None:
    assert found.index == index
    assert [(each.filename, each.url) for each in found.files] == files
    assert {each.hashes for each in found.files} <= {(DIGEST,), ()}


def test_a_uv_script_has_no_project_of_its_own() -> None:
    """Then all that is locked is wanted: nothing says by whom."""
    text = f'version = 1\n[[package]]\nname = "one"\nversion = "1"\nsource = {{ registry = "{INDEX}" }}\n'
    assert names(read_lock("script.py.lock", text), LINUX) == ["one"]


def test_uvs_conflicting_extras() -> None:
    """`extra == 'extra-3-app-cpu'` in a marker: some agent will choose it."""
    marker = "(extra == 'extra-3-app-cpu' and sys_platform == 'linux') or extra == 'extra-3-app-gpu'"
    text = UV.replace("""marker = "sys_platform == 'win32'\"""", f'marker = "{marker}"')
    assert "win" in names(read_lock("uv.lock", text), LINUX)


def test_uvs_versions_by_platform() -> None:
    """A package that is there twice: the edge's version says which."""
    twice = UV.replace('{ name = "one" }', '{ name = "one", version = "1.1" }') + (
        f'[[package]]\nname = "one"\nversion = "1.1"\nsource = {{ registry = "{INDEX}" }}\n'
    )
    assert {each.version for each in read_lock("uv.lock", twice).of(LINUX) if each.name == "one"} == {"1.1"}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a/b/uv.lock", UV, "uv"),
        ("tool.py.lock", UV, "uv"),
        ("renamed.lock", UV, "uv"),
        ("renamed.lock", POETRY, "poetry"),
        ("renamed.lock", PDM, "pdm"),
        ("renamed.toml", PYLOCK, "pylock"),
        ("pylock.dev.toml", PYLOCK, "pylock"),
        ("renamed.json", PIPFILE, "pipfile"),
        ("renamed", PIPFILE, "pipfile"),
    ],
)
def test_which_kind(name: str, text: str, kind: str) -> None:
    """By its name, else by what only this tool writes."""
    assert read_lock(name, text).kind == kind


# Wrong ones

DEEP = 100_000
NESTED = [
    *((name, "a = " + "[" * DEEP) for name in ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "pylock.dev.toml")),
    ("uv.lock", "a = " + "{a=" * DEEP),
    ("uv.lock", "a = " + "[" * DEEP + "]" * DEEP),
    ("Pipfile.lock", "[" * DEEP),
    ("Pipfile.lock", '{"a":' * DEEP),
    ("Pipfile.lock", '{"default": ' + "[" * DEEP + "]" * DEEP + "}"),
    ("x.json", "[" * DEEP),
    ("x.lock", '{"_meta": ' + '{"a":' * DEEP),
]
POETRY_MARKER = """[[package]]
name = "x"
version = "1"
markers = "%s"
[metadata]
python-versions = "*"
"""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("uv.lock", "version = 1\n<<<<<<< HEAD\n", "uv.lock, line 2: not TOML"),
        ("uv.lock", 'version = "', "uv.lock, at its end: not TOML"),
        ("Pipfile.lock", '{"_meta": {},\n"default": }', "Pipfile.lock, line 2: not JSON (Expecting value)"),
        ("Pipfile.lock", "[]", "Pipfile.lock: a list or a single value"),
        ("x.lock", "a = 1", "not a known lock file; expected uv.lock, poetry.lock, pdm.lock, pylock.toml or Pipfile.lock"),
        ("package.json", "{}", "not a known lock file"),
        *((name, text, f"{name}: nested too deeply") for name, text in NESTED),
        ("uv.lock", "version = " + "9" * 5000, "uv.lock: Exceeds the limit (4300 digits)"),
        ("poetry.lock", "a = [1, -" + "9" * 5000 + "]", "poetry.lock: Exceeds the limit (4300 digits)"),
        ("Pipfile.lock", '{"_meta": ' + "9" * 5000 + "}", "Pipfile.lock: Exceeds the limit (4300 digits)"),
        ("uv.lock", "version = 1\n" + "a." * 101 + "a = 1", "uv.lock, line 2: a key of more than 100 parts"),
        ("pdm.lock", "[" + "a . " * 5000 + "a]", "pdm.lock, line 1: a key of more than 100 parts"),
        ("pylock.toml", "'b.c'." + '"a.\\"".' * 150 + "a = 1", "pylock.toml, line 1: a key of more than 100 parts"),
        ("uv.lock", "x = { " + "a." * 101 + "a = 1 }", "uv.lock, line 1: a key of more than 100 parts"),
        ("poetry.lock", POETRY_MARKER % ("(" * 101 + "os_name == 'nt'" + ")" * 101), "a marker with 101 parentheses"),
        ("uv.lock", "package = 3", "uv.lock, line 1: 'package' is not a list of tables"),
        ("uv.lock", "[[package]]\nversion = '1'", "uv.lock, line 1: a package has no name"),
        ("uv.lock", "[[package]]\nname = 'x'\nsource = 'y'", "source = 'y'; expected a table"),
        ("uv.lock", "[[package]]\nname = 'x'\nsource = { registry = 'i' }\nversion = 3", "version = 3; expected a text"),
        ("uv.lock", UV.replace("sys_platform == 'win32'", "sys_platform = 'win32'"), "line 9: package win: "),
        ("uv.lock", UV.replace('extra = ["deep"]', "extra = 3"), "extra = 3; expected a list of texts"),
        ("poetry.lock", "[[package]]\nname = 'x'", "poetry.lock, line 2: package x: no version; expected a text"),
        ("poetry.lock", "[[package]]\nname = 'x'\nversion = '1'\nfiles = [{}]", "package x: a file without a name and a URL"),
        ("poetry.lock", "[[package]]\nname = 'x'\nversion = '1'\nmarkers = 3", "package x: markers = 3; expected a text"),
        ("pdm.lock", "[[package]]\nname = 'x'\nversion = '1'\nmarker = 'linux'", "package x: "),
        ("pylock.toml", "packages = []", "Missing required value in 'lock-version'; expected a lock of version 1.0 (PEP 751)"),
        ("pylock.toml", PYLOCK.replace('"1.0"', '"2.0"', 1), "line 2: pylock version 2.0 is not supported"),
        ("pylock.toml", PYLOCK.replace('["more"]', '"x"'), "line 4: Unexpected type str (expected Sequence) in 'extras'"),
        ("pylock.toml", PYLOCK.replace("'main' in", "main in"), "line 9: Expected a marker variable or quoted string"),
        ("pylock.toml", PYLOCK.replace(WHEEL, "http://[x"), "line 9: Invalid IPv6 URL in 'packages[0]'"),
        ("pylock.toml", PYLOCK.replace('"one"', '"One"'), "line 9: Name 'One' is not normalized"),
        ("pylock.toml", PYLOCK.replace('created-by = "somebody"', ""), "Missing required value in 'created-by'"),
        ("pylock.toml", PYLOCK.replace("sha256 =", "sha256x = 3, sha256 ="), "strings in 'packages[0].wheels[0].hashes'"),
        ("Pipfile.lock", '{"default": []}', "default = []; expected a table"),
        ("Pipfile.lock", '{"default": {"x": {"version": "==1", "hashes": [1]}}}', "hashes = [1]; expected a list of texts"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it(name: str, text: str, said: str) -> None:
    with pytest.raises(LockError) as caught:
        read_lock(name, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_points_in_texts_are_no_parts_of_a_key() -> None:
    files = ", ".join("{file = \"x-1.0.0.post1-py3-none-any.whl\", hash = 'sha256:a.b'}" for _ in range(200))
    read_lock("poetry.lock", f'[[package]]\nname = "x"\nversion = "1.0"\nfiles = [{files}]\n')


def test_no_credentials_in_what_is_said() -> None:
    text = "[[package]]\nname = 'x'\nsource = 'https://user:secret@i.example'"
    with pytest.raises(LockError, match=r"https://\*\*\*@i.example"):
        read_lock("uv.lock", text)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _places(inner, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    if isinstance(value, dict):
        return {key: _replaced(inner, path[1:], by) if key == path[0] else inner for key, inner in value.items()}
    return [_replaced(inner, path[1:], by) if key == path[0] else inner for key, inner in enumerate(value)]


def _datas() -> dict[str, Any]:
    texts = {"uv": UV, "poetry": POETRY, "pdm": PDM, "pylock": PYLOCK}
    return {kind: tomllib.loads(text) for kind, text in texts.items()} | {"pipfile": json.loads(PIPFILE)}


DATAS = _datas()
ODD = [None, True, 3, 0.5, "", "x", "http://[", [], ["x"], [3], {}, {"x": 3}, [{}], [{"name": 3}], {"x": {"y": "z"}}]


@given(st.sampled_from(sorted(DATAS)), st.integers(min_value=0), st.sampled_from(ODD))
def test_anything_anywhere_is_read_or_refused(kind: str, where: int, odd: Any) -> None:
    """Whatever stands in the place of a value: a lock, or a WrongLock; and what was read can be asked for any environment."""
    data = DATAS[kind]
    places = [path for path in _places(data) if path]
    try:
        lock = READERS[kind](_replaced(data, places[where % len(places)], odd))
    except WrongLock:
        return
    for environment in (LINUX, WINDOWS):
        assert all(isinstance(each, Package) for each in lock.of(environment))
