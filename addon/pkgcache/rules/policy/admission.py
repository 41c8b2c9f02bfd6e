"""What may be installed at all, by the operator's word: projects allowed and denied, private names, a cooldown for new files.

Decides by project name (PEP 503: compared in normalised form) and by a file's upload time (PEP 700). A name that belongs to a
private index is never asked of another one, where anybody could have registered it (dependency confusion).

Leaves out: versions and single files by name, whose upload time is meant (the caller reads it from the index page), and what a
refusal looks like in HTTP.
"""

import enum
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from packaging.utils import canonicalize_name

from pkgcache.rules.routing.indexes import Index
from pkgcache.settings import SettingError, Settings
from pkgcache.units import shown_duration

ALLOW: Final = "pypi_cache_allow"
DENY: Final = "pypi_cache_deny"
PRIVATE: Final = "pypi_cache_private"
COOLDOWN: Final = "pypi_cache_cooldown"

# In a set: a range, or one character, of which a separator stands for all three.
_ITEM: Final = re.compile(r"[a-z0-9]-[a-z0-9]|[a-z0-9._-]")
_CLASS: Final = re.compile(r"\[([a-z0-9._-]+)\]")
_GLOB: Final = re.compile(rf"(?:[a-z0-9._*?-]|{_CLASS.pattern})++")
_FOLDED: Final = re.compile(rf"{_CLASS.pattern}|[-_.]+")
_INDEX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# PEP 700 has `yyyy-mm-ddThh:mm:ss.ffffffZ`; offsets and longer fractions are written by others.
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z


class RefusalReason(enum.StrEnum):
    """Why something may not be installed; the value is its name in metrics."""

    DENIED = "denied"
    NOT_ALLOWED = "not-allowed"
    PRIVATE_NAME = "private-name"
    TOO_YOUNG = "too-young"
    UNKNOWN_AGE = "unknown-age"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It may not be installed, or not before `until` (seconds since the epoch)."""

    reason: RefusalReason
    rule: str  # as the operator wrote it: 'pypi_cache_deny=evil*'
    until: float | None = None

    def text(self, what: str) -> str:
        """One line for the one who asked for `what`: which rule, and until when (RFC 3339, UTC, whole seconds).

        >>> Refused(reason=RefusalReason.TOO_YOUNG, rule="pypi_cache_cooldown=7d", until=604799.5).text("six-1.0.tar.gz")
        'six-1.0.tar.gz is refused until 1970-01-08T00:00:00Z by pypi_cache_cooldown=7d'
        """
        what = "".join(character if character.isprintable() else "?" for character in what)
        until = "" if self.until is None else f" until {_rfc3339(self.until)}"
        return f"{what} is refused{until} by {self.rule}{_EXPLANATIONS[self.reason]}"


_EXPLANATIONS: Final = {
    RefusalReason.DENIED: "",
    RefusalReason.NOT_ALLOWED: ", which does not name it",
    RefusalReason.PRIVATE_NAME: ": no other index is asked for it",
    RefusalReason.TOO_YOUNG: "",
    RefusalReason.UNKNOWN_AGE: ": its index does not say when it was uploaded",
}


@dataclass(frozen=True, slots=True)
class Admission:
    """The operator's rules. Globs match PEP 503 names, both sides normalised; they are kept as written, for messages."""

    allow: tuple[str, ...] = ()  # none: everything is allowed
    deny: tuple[str, ...] = ()  # wins over `allow`
    cooldown: float = 0  # seconds; 0: off
    private: tuple[tuple[str, str], ...] = ()  # (glob, index name)

    def admit_project(self, project: str, index_name: str) -> Admitted | Refused:
        """Whether `project`, in any spelling, may be asked of an index; a mirror's name `corp@<url>` counts as `corp`.

        A name that several globs give to several indexes belongs to all of these: `*=corp` and `numpy=pypi` together
        leave one name to the public index.
        """
        name = canonicalize_name(project)
        if (glob := _first_match(self.deny, name)) is not None:
            return Refused(reason=RefusalReason.DENIED, rule=f"{DENY}={glob}")
        if self.allow and _first_match(self.allow, name) is None:
            return Refused(reason=RefusalReason.NOT_ALLOWED, rule=ALLOW)
        owners = [(glob, owner) for glob, owner in self.private if fnmatchcase(name, _normalise(glob))]
        asked = index_name.partition("@")[0].lower()
        if owners and all(owner.lower() != asked for _, owner in owners):
            return Refused(reason=RefusalReason.PRIVATE_NAME, rule=f"{PRIVATE}={owners[0][0]}={owners[0][1]}")
        return Admitted()

    def admit_file(self, upload_time: str, now: float) -> Admitted | Refused:
        """Whether a file is old enough, by its PEP 700 `upload-time` ('' if unknown: it then counts as young)."""
        if self.cooldown <= 0:
            return Admitted()
        rule = f"{COOLDOWN}={shown_duration(self.cooldown)}"
        uploaded = parse_upload_time(upload_time)
        if uploaded is None:
            return Refused(reason=RefusalReason.UNKNOWN_AGE, rule=rule)
        if uploaded + self.cooldown > now:
            return Refused(reason=RefusalReason.TOO_YOUNG, rule=rule, until=uploaded + self.cooldown)
        return Admitted()


def parse_upload_time(text: str) -> float | None:
    """Seconds since the epoch of a PEP 700 `upload-time`; None for what is none.

    PEP 700: "the upload time MUST use the UTC timezone", so a time without its `Z` is taken for UTC.

    >>> parse_upload_time("1970-01-01T00:01:00.250000Z")
    60.25
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # no such day or hour
        return None


def parse_globs(values: Sequence[str]) -> tuple[str, ...]:
    """Project-name globs, blanks and commas between; as written, but each once. ValueError says what would be right.

    >>> parse_globs(["Acme.*, numpy", "numpy"])
    ('Acme.*', 'numpy')
    """
    globs = dict.fromkeys(_words(values))
    for glob in globs:
        _check_glob(glob)
    return tuple(globs)


def parse_private(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`GLOB=INDEX` each, blanks and commas between; the index's name in lower case, as index options have it.

    >>> parse_private(["acme-*=Corp"])
    (('acme-*', 'corp'),)
    """
    pairs = []
    for word in _words(values):
        glob, _, index = word.partition("=")
        if not _INDEX.fullmatch(index):
            raise ValueError(f"GLOB=INDEX with an index's name, such as acme-*=corp, not {word!r}")
        _check_glob(glob)
        pairs.append((glob, index.lower()))
    return tuple(dict.fromkeys(pairs))


def _words(values: Sequence[str]) -> Iterator[str]:
    return (word for value in values for word in re.split(r"[\s,]+", value) if word)


def _check_glob(glob: str) -> None:
    """Refuse what is no glob, and what no normalised name can match: a rule that never holds is a mistake."""
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


def _first_match(globs: tuple[str, ...], name: str) -> str | None:
    """The glob, as written, that a normalised name matches."""
    names, patterns = _sorted_out(globs)
    return names.get(name) or next((glob for pattern, glob in patterns if fnmatchcase(name, pattern)), None)


@lru_cache(maxsize=16)
def _sorted_out(globs: tuple[str, ...]) -> tuple[Mapping[str, str], tuple[tuple[str, str], ...]]:
    """Whole names and patterns, each normalised and as written: a list of all that a company approves is one look-up."""
    names: dict[str, str] = {}
    patterns: list[tuple[str, str]] = []
    for glob in globs:
        normalised = _normalise(glob)
        if any(wildcard in normalised for wildcard in "*?["):
            patterns.append((normalised, glob))
        else:
            names.setdefault(normalised, glob)
    return names, tuple(patterns)


@lru_cache(maxsize=1024)
def _normalise(glob: str) -> str:
    """A glob for PEP 503 names: lower case, `-` for each run of separators, in sets `-` last (where it is no range)."""
    return _FOLDED.sub(_fold, glob.lower())


def _fold(match: re.Match[str]) -> str:
    if match[1] is None:
        return "-"
    items = _ITEM.findall(match[1])
    kept = "".join(item for item in items if item not in {"-", "_", "."})
    return f"[{kept}-]" if {"-", "_", "."} & set(items) else f"[{kept}]"


def _rfc3339(time: float) -> str:
    """The first whole second that is not before `time`; later than the year 9999 there is no such text."""
    moment = datetime.fromtimestamp(math.ceil(min(time, _LAST_SECOND)), UTC)
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def build_admission(settings: Settings, indexes: tuple[Index, ...]) -> Admission:
    """The operator's rules of what may be installed. Raises SettingError."""
    names = {index.name for index in indexes if "@" not in index.name}
    shown = ""
    try:
        shown = f"pypi_cache_allow={' '.join(settings.allow)!r}"
        allow = parse_globs(settings.allow)
        shown = f"pypi_cache_deny={' '.join(settings.deny)!r}"
        deny = parse_globs(settings.deny)
        shown = f"pypi_cache_private={' '.join(settings.private)!r}"
        private = parse_private(settings.private)
        for _, index in private:
            if index not in names:
                raise ValueError(f"the name of an index that is there ({', '.join(sorted(names))}), not {index!r}")
    except ValueError as error:
        raise SettingError(f"{shown}: expected {error}") from None
    return Admission(allow=allow, deny=deny, cooldown=settings.cooldown, private=private)
