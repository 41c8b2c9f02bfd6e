"""No regular expression of the house backtracks: on whatever is made of a pattern's own pieces, its steps grow as the text does.

A list of projects of 128 kB of `<a ` froze the process for 17 s. The steps are counted (`tests/support/backtracking`), not timed.
"""

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import pkgcache
from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.project_list import ProjectListEditor
from tests.support.backtracking import MOST, Counter

PACKAGE: Final = Path(pkgcache.__file__).parent
SHORT, LONG = 80, 320
MOST_STEPS: Final = 14
"""For each character of a short text; only those that take more are tried on a long one."""
MOST_GROWTH: Final = 6
"""Of the steps, where the text is four times as long: of a quadratic pattern they grow by sixteen."""
SEARCHES: Final = ("search", "finditer", "findall", "sub", "split")

type Pattern = re.Pattern[str] | re.Pattern[bytes]


@functools.cache
def sources() -> dict[str, str]:
    """The text of each module by its name."""
    return {
        ".".join(("pkgcache", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path.read_text()
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__main__.py"
    }


def used(name: str, module: str, ways: tuple[str, ...]) -> bool:
    """Whether a pattern is used in one of these ways, in its own module or, if its name is public, in any."""
    texts = [sources()[module]] if name.startswith("_") else sources().values()
    return any(re.search(rf"\b{re.escape(name)}\.(?:{'|'.join(ways)})\b", text) for text in texts)


def patterns() -> Iterator[tuple[str, Pattern, bool, bool]]:
    """Every pattern, with its name, whether it is searched for, and whether it is matched with a whole text."""
    for module, text in sources().items():
        if "import re\n" not in text:
            continue
        for name, value in vars(importlib.import_module(module)).items():
            for number, pattern in enumerate(value if isinstance(value, tuple) else (value,)):
                if isinstance(pattern, re.Pattern) and re.search(rf"^{name}\b", text, re.MULTILINE):
                    # TAG is searched for, but `tags` ends at the first tag that has no end: none is looked through twice.
                    scans = used(name, module, SEARCHES) and name != "TAG"
                    full = not scans and used(name, module, ("fullmatch",))
                    yield f"{module}.{name}.{number}", pattern, scans, full
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="re"), attr=attr), args=[ast.Constant(value=first), *_]
                ) if attr in {*SEARCHES, "match", "fullmatch"}:
                    yield f"{module}:{node.lineno}", re.compile(first), attr in SEARCHES, attr == "fullmatch"
    editor = ProjectListEditor(parse_url("https://mirror.test/pypi/simple/"))
    yield "ProjectListEditor._link", editor._link, True, False


def texts(counter: Counter, length: int) -> Iterator[str]:
    """Pieces of what the pattern looks for, repeated, behind what comes before them, and with what does not fit at the end."""
    seen = set()
    for variant in range(3):
        sample = counter.sample(variant)[:16]
        for start in range(len(sample)):
            for size in (1, 2, 3, len(sample)):
                for head in {"", sample[:start]}:
                    if (key := (head, sample[start : start + size])) not in seen:
                        seen.add(key)
                        body = (head + key[1] * (length // len(key[1])))[:length]
                        yield body + "\x01"


def grows(counter: Counter) -> list[str]:
    """The texts at which the steps of a pattern grow faster than the text."""
    short = [(text, counter.count(text)) for text in texts(counter, SHORT)]
    if max(steps for _, steps in short) <= MOST_STEPS * SHORT:
        return []
    found = []
    for (text, steps), long in zip(short, texts(counter, LONG), strict=True):
        if steps > MOST * SHORT or (steps > MOST_STEPS * SHORT and counter.count(long) > MOST_GROWTH * steps):
            found.append(text)
    return found


JUDGED: Final = frozenset({"pkgcache.units._RAW_BYTES.0"})
"""It refers back to its quote, which the counter does not know. Where it fails, no second such quote is in the line: twice at most."""

PATTERNS: Final = {name: (pattern, scans, full) for name, pattern, scans, full in patterns() if name not in JUDGED}


@pytest.fixture(autouse=True)
def deep() -> Iterator[None]:
    """The matcher has a few frames for each character."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("name", PATTERNS)
def test_steps_grow_as_the_text_does(name: str) -> None:
    pattern, scans, full = PATTERNS[name]
    assert grows(Counter(pattern, scans=scans, full=full)) == []


def test_there_are_patterns() -> None:
    assert len(PATTERNS) > 70
    assert sum(scans for _, scans, _ in PATTERNS.values()) > 20


@pytest.mark.parametrize(
    ("text", "scans"),
    [
        (r"<a\s[^>]*?href\s*=", True),
        (r"(a+)+b", False),
        (r"(?:a|aa)+b", False),
        (r"\s+x", True),
        (r"x*y", True),
        (r"\"(?:[^\"\\]|\\.)*\"\s*;", True),
        (r".*=.*;", True),
        (r"(\d+)*x", False),
        (r"a*a*b", False),
    ],
)
def test_what_backtracks_is_found(text: str, scans: bool) -> None:
    """The instrument itself."""
    assert grows(Counter(re.compile(text, re.DOTALL), scans=scans, full=not scans))


@pytest.mark.parametrize(
    ("text", "scans"),
    [
        (r"<a\s[^<>]*?href\s*+=", True),
        (r"a++b", False),
        (r"\"(?:[^\"\\]|\\.)*+\"", False),
        (r"[0-9]+(?:\.[0-9]+)*", False),
    ],
)
def test_what_does_not_is_not(text: str, scans: bool) -> None:
    assert not grows(Counter(re.compile(text, re.DOTALL), scans=scans, full=not scans))
