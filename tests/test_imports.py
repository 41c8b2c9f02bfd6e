"""Who may import whom: `proxy -> engine -> rules -> settings`, `web` and `cli` beside `proxy`, `__main__` above both, and never upward.

The same picture stands in the package's docstring and in the README; here it is held, by reading the code and not by running it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

from tests.support.names import FILES_HOST, INDEX_HOST

REPOSITORY: Final = Path(__file__).resolve().parents[1]
ADDON: Final = REPOSITORY / "addon"
PACKAGE: Final = ADDON / "pkgcache"

ALLOWED: Final[dict[str, frozenset[str]]] = {
    "__init__": frozenset(),
    "units": frozenset(),
    "option_values": frozenset({"units"}),
    "settings": frozenset({"option_values", "units"}),
    "rules": frozenset({"rules", "settings", "option_values", "units"}),
    "engine": frozenset({"engine", "rules", "settings", "units"}),
    "web": frozenset({"web", "engine", "rules", "settings", "units", "__init__"}),
    "__main__": frozenset({"cli", "proxy"}),
    "cli": frozenset({"cli", "engine", "rules", "settings", "units", "__init__"}),
    "proxy": frozenset({"proxy", "web", "engine", "rules", "settings", "option_values", "units", "__init__"}),
}
"""Which rooms of the house each room may import. `__init__` is the package itself (its version)."""

FLOORS: Final[dict[str, tuple[frozenset[str], ...]]] = {
    "engine": (
        frozenset({"service"}),
        frozenset({"files", "credentials", "gatekeeper", "pip_defaults"}),
        frozenset({"pages"}),
        frozenset({"fills"}),
        frozenset({"responses"}),
        frozenset({"caching", "advisories"}),
        frozenset({"caching"}),
        frozenset({"shared"}),
        frozenset({"store"}),
        frozenset({"runtime"}),
        frozenset({"upstream"}),
    ),
    "rules": (
        frozenset({"policy", "simple"}),
        frozenset({"http", "routing"}),
        frozenset({"memo", "proxy_header"}),
    ),
    "cli": (
        frozenset({"__main__"}),
        frozenset({"app"}),
        frozenset({"commands"}),
        frozenset({"checks"}),
        frozenset({"warming", "opening", "shared_tier"}),
        frozenset({"store_location"}),
        frozenset({"archive", "selection", "output", "progress_bar", "proxy_client"}),
        frozenset({"exits"}),
    ),
    "proxy": (
        frozenset({"serve", "next_ca"}),
        frozenset({"addon"}),
        frozenset({"known_connection", "workers"}),
        frozenset({"layers", "chunks"}),
        frozenset({"fast_path", "client_connections", "stopping", "loading"}),
        frozenset({"connect", "client_reader"}),
        frozenset({"held_bytes"}),
        frozenset({"retired"}),
        frozenset({"intake", "http1_server", "http1_client"}),
        frozenset({"ordinary_flows", "agents_without_ca"}),
        frozenset(
            {
                "request_checks",
                "authentication",
                "tunnels",
                "access_log",
                "chunked_body",
                "redaction",
                "forwarded",
                "log_lines",
                "proxy_protocol",
            }
        ),
        frozenset(
            {
                "addresses",
                "exchange",
                "mitmproxy_options",
                "option_changes",
                "certificates",
                "connection_limits",
                "dial",
                "read_pace",
                "streaming",
                "known_heads",
                "host_tls",
                "log_file",
                "mitmweb_sizes",
            }
        ),
        frozenset({"hook_table", "response_head", "new_ca"}),
    ),
}
"""Inside a room: its floors from the top. A file imports from its own folder and from the floors below, not from its neighbours."""

ONLY: Final[dict[str, frozenset[str]]] = {
    "mitmproxy": frozenset({"proxy"}),
    "OpenSSL": frozenset({"proxy"}),
    "aiohttp": frozenset(
        {f"engine/upstream/{name}.py" for name in ("bounded_reading", "client", "guard", "lenient_heads", "response")}
    ),
    "diskcache": frozenset({"engine/store/database.py"}),
    "obstore": frozenset({"engine/shared/bucket.py"}),
    "sqlite3": frozenset({"engine/store/database.py"}),
    "prometheus_client": frozenset(
        {f"engine/runtime/{name}.py" for name in ("metrics", "collectors", "shared_figures")}
    ),
    "pip": frozenset({"engine/pip_defaults.py", "cli/warming/pip_with_markers.py"}),
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli/progress_bar.py", "cli/commands/stats.py"}),
    "ruamel": frozenset({"cli/store_location.py"}),
}
"""Libraries that stand behind one door: a room, or one module of it."""

PURE: Final = frozenset(
    {
        "__future__", "base64", "binascii", "bisect", "calendar", "collections", "collections.abc", "contextlib", "dataclasses", "datetime",
        "email.utils", "enum", "fnmatch", "functools", "hashlib", "html", "html.entities", "html.parser", "http", "io", "ipaddress",
        "itertools", "json", "math", "operator", "posixpath", "re", "string", "typing", "types", "unicodedata",
        "urllib.parse", "zlib", "packaging", "packaging.utils", "packaging.version", "packaging.specifiers",
        "packaging.tags", "packaging.metadata", "multidict",
    }
)  # fmt: skip
"""What `rules` may import from outside: values and texts. No clock (time), no files (os, pathlib), no waiting, no logging."""


@cache
def modules() -> Sequence[Path]:
    """All of the house's modules."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


def shown(path: Path) -> str:
    """Such as `engine/store/store.py`."""
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    """The room that a module is in: a folder's name, or a module's own at the top."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


@cache
def nodes(path: Path) -> Sequence[ast.AST]:
    """Each node of a module's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text(), str(path))))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Each module that a module imports, anywhere in it (under TYPE_CHECKING and in functions too), with its line."""
    package = ("pkgcache", *path.relative_to(PACKAGE).parent.parts)
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module, node.lineno
            if module == "pkgcache":  # `from pkgcache import settings`: the name may be a room
                for alias in node.names:
                    if (PACKAGE / alias.name).is_dir() or (PACKAGE / f"{alias.name}.py").is_file():
                        yield f"pkgcache.{alias.name}", node.lineno


def floor(path: Path) -> tuple[int, str]:
    """The floor of its room that a module is on, counted from the top, and the folder or file of that name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    name = parts[1]
    for number, names in enumerate(FLOORS[parts[0]]):
        if name in names:
            return number, name
    raise AssertionError(f"{shown(path)}: {parts[0]}/{name} has no floor; give it one in FLOORS")


def file_of(module: str) -> Path | None:
    """The file of a module of the house, be it a package's `__init__.py`; None for what is not the house's."""
    if module != "pkgcache" and not module.startswith("pkgcache."):
        return None
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def files_imported(path: Path) -> set[Path]:
    """The files of the house that a file imports, in functions too."""
    found = set()
    package = ("pkgcache", *path.relative_to(PACKAGE).parent.parts)
    for node in nodes(path):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        found |= {file for name in names if (file := file_of(name)) is not None and file != path}
    return found


def circles(graph: dict[Path, set[Path]]) -> list[list[str]]:
    """The files of one circle of imports, if there is any."""
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        return [[shown(path) for path in error.args[1]]]
    return []


def rooms_imported(path: Path) -> set[tuple[str, int]]:
    """The rooms that a module imports from, with the line."""
    found = set()
    for name, line in imported(path):
        if name == "pkgcache" or name.startswith("pkgcache."):
            found.add((name.split(".")[1] if "." in name else "__init__", line))
    return found


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_the_direction(path: Path) -> None:
    upward = {(name, line) for name, line in rooms_imported(path) if name not in ALLOWED[room(path)]}
    assert not upward, f"{shown(path)} imports {upward}, and {room(path)} may import {sorted(ALLOWED[room(path)])}"


def test_every_room_is_known() -> None:
    """A new folder or top module gets its place in the picture first."""
    assert {room(path) for path in modules()} <= ALLOWED.keys()
    assert {"proxy", "engine", "rules", "web", "cli", "settings"} <= {room(path) for path in modules()}


def test_the_picture_has_no_circle() -> None:
    """`proxy -> engine -> rules -> settings`: no room imports one that may import it."""
    for above, below in ALLOWED.items():
        for name in below - {above}:
            assert above not in ALLOWED[name], f"{above} and {name} may import each other"


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if room(path) in FLOORS and path.parent.name + path.stem != room(path) + "__init__"],
    ids=shown,
)
def test_no_import_goes_up_a_floor(path: Path) -> None:
    here, name = floor(path)
    for target in files_imported(path):
        if room(target) != room(path) or target == PACKAGE / room(path) / "__init__.py":
            continue
        there, other = floor(target)
        assert other == name or there > here, f"{shown(path)} imports {shown(target)}, which is not on a floor below"


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_no_file_takes_anothers_private_name(path: Path) -> None:
    """`from pkgcache.… import _name` is refused: a name that crosses a file has no underscore."""
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pkgcache":
            private = [alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"]
            assert not private, f"{shown(path)}:{node.lineno} imports {private} from {node.module}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports in functions and under TYPE_CHECKING are counted."""
    assert not circles({path: files_imported(path) for path in modules()})


def test_a_circle_is_seen() -> None:
    """The test above can fail."""
    one, two = PACKAGE / "one.py", PACKAGE / "two.py"
    assert circles({one: {two}, two: {one}})


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_libraries_behind_one_door(path: Path) -> None:
    for name, line in imported(path):
        doors = ONLY.get(name.partition(".")[0])
        assert doors is None or {shown(path), room(path)} & doors, (
            f"{shown(path)}:{line} imports {name}, only for {doors}"
        )


@pytest.mark.parametrize("name", ONLY)
def test_a_door_that_is_used(name: str) -> None:
    """The line above about a library means something: it is imported there."""
    assert [path for path in modules() for found, _ in imported(path) if found.partition(".")[0] == name]


@pytest.mark.parametrize("path", [path for path in modules() if room(path) == "rules"], ids=shown)
def test_rules_are_pure(path: Path) -> None:
    """Time and settings are arguments; nothing is read, written, waited for or logged."""
    strange = {
        (name, line) for name, line in imported(path) if name.partition(".")[0] != "pkgcache" and name not in PURE
    }
    assert not strange, f"{shown(path)} imports {strange}"


@pytest.mark.parametrize("path", [path for path in modules() if room(path) == "rules"], ids=shown)
def test_rules_read_no_clock_and_no_file(path: Path) -> None:
    """What an allowed module could still do: `datetime.now()`, `open()`, `print()`; and nothing there is a coroutine."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            attribute = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert attribute not in {"now", "today", "utcnow", "open", "print", "input"}, f"{shown(path)}:{node.lineno}"
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{shown(path)}:{node.lineno}"


@pytest.mark.parametrize("path", [path for path in modules() if room(path) in {"settings", "option_values"}], ids=shown)
def test_settings_import_nothing_but_python(path: Path) -> None:
    for name, line in imported(path):
        assert (
            name in {"pkgcache.units", "pkgcache.option_values"} or name.partition(".")[0] in sys.stdlib_module_names
        ), f"{shown(path)}:{line} imports {name}"


def test_the_doctor_of_agents_needs_nothing_but_python() -> None:
    """It is one file, which an agent fetches and runs where pypi-cache is not installed."""
    strange = {name for name, _ in imported(PACKAGE / "cli/checks/agent.py")} - sys.stdlib_module_names
    assert strange == {"urllib.parse", "urllib.request"}


def test_addon_holds_exactly_two_entries() -> None:
    """mitmproxy leaves the script's folder on sys.path for good: whatever lies there could shadow somebody's module."""
    assert {path.name for path in ADDON.iterdir()} - {"__pycache__"} == {"pypi_cache.py", "pkgcache"}


def test_the_script_is_a_door() -> None:
    """A docstring, one import, `addons = [...]`: mitmproxy reloads the script alone, so nothing may live in it."""
    docstring, *rest = ast.parse((ADDON / "pypi_cache.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert [type(node) for node in rest] == [ast.ImportFrom, ast.Assign]
    assert isinstance(rest[1], ast.Assign)
    assert ast.unparse(rest[1].targets[0]) == "addons"


MUTABLE: Final = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


@pytest.mark.parametrize("path", [path for path in modules() if room(path) in {"proxy", "engine", "web"}], ids=shown)
def test_nothing_lives_at_module_level(path: Path) -> None:
    """A reload runs the script again and not the modules: state would survive `done()`. Tables are frozen or upper-case."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, MUTABLE):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            assert ast.unparse(target).isupper(), f"{shown(path)}:{node.lineno}: state at module level"
        assert not any(isinstance(inner, ast.Global) for inner in ast.walk(node)), f"{shown(path)}:{node.lineno}"


def test_no_registrys_host_name_is_written_anywhere() -> None:
    """Not in code, tests, documents or data: pip is asked (`tests/support/names.py`, `engine/defaults.py`)."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if git.returncode:
        pytest.skip("no git work tree here")
    hosts = [host.lower().encode() for host in (INDEX_HOST, FILES_HOST, FILES_HOST.partition(".")[2])]
    tracked = [REPOSITORY / name.decode() for name in git.stdout.split(b"\0") if name]
    assert len(tracked) > 40, tracked
    wrong = [
        f"{path.relative_to(REPOSITORY)}: {host.decode()}"
        for path in tracked
        if path.is_file()
        for host in hosts
        if re.search(rb"(?<![a-z0-9.-])([a-z0-9-]+\.)*" + re.escape(host), path.read_bytes().lower())
    ]
    assert not wrong, wrong
