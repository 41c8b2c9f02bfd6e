"""Project-name globs, as operators write them: `acme-*`, `py[0-9]`. Compared in normalised form (PEP 503), and kept as written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

# An item of a set such as `[a-z_]`: a range, or one character. A separator stands for all three of them.
_ITEM: Final = re.compile(r"[a-z0-9]-[a-z0-9]|[a-z0-9._-]")
_CLASS: Final = re.compile(r"\[([a-z0-9._-]+)\]")
_GLOB: Final = re.compile(rf"(?:[a-z0-9._*?-]|{_CLASS.pattern})++")
_FOLDED: Final = re.compile(rf"{_CLASS.pattern}|[-_.]+")


def parse_globs(values: Sequence[str]) -> tuple[str, ...]:
    """Read project-name globs, separated by spaces or commas, as written but each once. ValueError says what is expected.

    >>> parse_globs(["Acme.*, numpy", "numpy"])
    ('Acme.*', 'numpy')
    """
    globs = dict.fromkeys(words_of(values))
    for glob in globs:
        check_glob(glob)
    return tuple(globs)


def words_of(values: Sequence[str]) -> Iterator[str]:
    """The words of an option's values, which are separated by spaces or commas."""
    return (word for value in values for word in re.split(r"[\s,]+", value) if word)


def check_glob(glob: str) -> None:
    """Raise ValueError for what is no glob, and for one that no project's name can match, which must be a mistake."""
    if not glob.isascii() or not _GLOB.fullmatch(glob.lower()):
        raise ValueError(f"project names of letters, digits and - _ . with * ? [a-z], such as acme-*, not {glob!r}")
    # PEP 508: a name begins and ends with a letter or digit.
    if glob[0] in "-_." or glob[-1] in "-_.":
        raise ValueError(
            f"a glob that begins and ends as names do, with a letter or digit (or a wildcard), not {glob!r}"
        )
    for inside in _CLASS.findall(glob.lower()):
        if any(len(item) > 1 and item[0] > item[-1] for item in _ITEM.findall(inside)):
            raise ValueError(f"ranges in [ ] that go upwards, such as [a-z], not {glob!r}")


def first_match(globs: tuple[str, ...], name: str) -> str | None:
    """The first glob, as written, that matches a normalised name; whole names go before patterns."""
    names, patterns = _names_and_patterns(globs)
    return names.get(name) or next((glob for pattern, glob in patterns if fnmatchcase(name, pattern)), None)


@lru_cache(maxsize=16)
def _names_and_patterns(globs: tuple[str, ...]) -> tuple[Mapping[str, str], tuple[tuple[str, str], ...]]:
    """Split globs into whole names and patterns, each normalised and as written.

    So a company's list of a thousand approved names costs one look-up, and not a thousand comparisons for each request.
    """
    names: dict[str, str] = {}
    patterns: list[tuple[str, str]] = []
    for glob in globs:
        normalised = normalise(glob)
        if any(wildcard in normalised for wildcard in "*?["):
            patterns.append((normalised, glob))
        else:
            names.setdefault(normalised, glob)
    return names, tuple(patterns)


@lru_cache(maxsize=1024)
def normalise(glob: str) -> str:
    """Normalise a glob like a name (PEP 503): lower case, and `-` for each run of separators; in sets last, where it is no range."""
    return _FOLDED.sub(_fold, glob.lower())


def _fold(match: re.Match[str]) -> str:
    if match[1] is None:
        return "-"
    items = _ITEM.findall(match[1])
    others = "".join(item for item in items if item not in {"-", "_", "."})
    return f"[{others}-]" if {"-", "_", "."} & set(items) else f"[{others}]"
