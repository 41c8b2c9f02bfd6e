"""Decides what may be installed, by the operator's options: projects allowed and denied, private names, a cooldown for new files.

Projects are compared by their normalised names (PEP 503), files by their upload time (PEP 700). A private name is never asked of
another index, where anybody could have registered it (dependency confusion).

Leaves out: rules for single versions or files, where an upload time comes from (the caller reads it from the index page), and what a
refusal looks like in HTTP.
"""

import enum
import math
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

from packaging.utils import canonicalize_name

from pkgcache.rules.policy.cooldown import cooldown_end
from pkgcache.rules.policy.globs import check_glob, first_match, normalise, parse_globs, words_of
from pkgcache.rules.routing.indexes import Index
from pkgcache.settings import SettingError, Settings
from pkgcache.units import shown_duration

ALLOW: Final = "pypi_cache_allow"
DENY: Final = "pypi_cache_deny"
DENY_STATUS: Final = "pypi_cache_deny_status"
PRIVATE: Final = "pypi_cache_private"
COOLDOWN: Final = "pypi_cache_cooldown"
EXCEPT: Final = "pypi_cache_cooldown_except"

_INDEX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z


class RefusalReason(enum.StrEnum):
    """Why something is refused. The value is the label in metrics."""

    DENIED = "denied"
    NOT_ALLOWED = "not-allowed"
    PRIVATE_NAME = "private-name"
    TOO_YOUNG = "too-young"
    UNKNOWN_AGE = "unknown-age"
    ADVISORY = "advisory"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may be installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It may not be installed, or not before `until` (seconds since the epoch)."""

    reason: RefusalReason
    rule: str  # as the operator wrote it: 'pypi_cache_deny=evil*'
    until: float | None = None
    advisory: str = ""  # its id, where the reason is ADVISORY

    @property
    def detail(self) -> str:
        """The reason in a few words, for Cache-Status and the access log."""
        return f"{self.reason} {self.advisory}" if self.advisory else self.reason

    def text(self, what: str) -> str:
        """One line for the client that asked for `what`: the rule, and until when it applies (RFC 3339, UTC, whole seconds).

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
    RefusalReason.ADVISORY: "",
    RefusalReason.STATUS: ": so its index marks the project",
    RefusalReason.UNKNOWN_AGE: ": its index does not say when it was uploaded",
}


@dataclass(frozen=True, slots=True)
class Admission:
    """The operator's rules. Globs and names are compared in normalised form; globs are kept as written, for messages."""

    allow: tuple[str, ...] = ()  # empty: all are allowed
    deny: tuple[str, ...] = ()  # goes before `allow`
    cooldown: float = 0  # in seconds; 0: off
    private: tuple[tuple[str, str], ...] = ()  # (glob, index name)
    cooldown_except: tuple[tuple[str, str], ...] = ()  # (glob, index name, or '' for all indexes)
    deny_status: tuple[str, ...] = ()  # PEP 792

    def admit_project(self, project: str, index_name: str) -> Admitted | Refused:
        """Whether `project`, in any spelling, may be fetched from an index. The name of a mirror, `corp@<url>`, counts as `corp`.

        A project that several globs assign to several indexes belongs to all of them: with `*=corp` and `numpy=pypi` only numpy may come
        from the public index.
        """
        name = canonicalize_name(project)
        if (glob := first_match(self.deny, name)) is not None:
            return Refused(reason=RefusalReason.DENIED, rule=f"{DENY}={glob}")
        if self.allow and first_match(self.allow, name) is None:
            return Refused(reason=RefusalReason.NOT_ALLOWED, rule=ALLOW)
        owners = self._owners(name)
        if owners and all(owner.lower() != _base_name(index_name) for _, owner in owners):
            return Refused(reason=RefusalReason.PRIVATE_NAME, rule=f"{PRIVATE}={owners[0][0]}={owners[0][1]}")
        return Admitted()

    def is_private(self, project: str, index_name: str) -> bool:
        """Whether a project is an index's own: by `private`, and not that of the public index."""
        asked = _base_name(index_name)
        return asked != "pypi" and any(owner.lower() == asked for _, owner in self._owners(canonicalize_name(project)))

    def _owners(self, name: str) -> list[tuple[str, str]]:
        return [(glob, owner) for glob, owner in self.private if fnmatchcase(name, normalise(glob))]

    def has_cooldown(self, project: str, index_name: str) -> bool:
        """Whether new files of a project have to wait, and so `admit_file` is to be asked."""
        if self.cooldown <= 0:
            return False
        name, index = canonicalize_name(project), _base_name(index_name)
        return not any(
            owner in {"", index} and fnmatchcase(name, normalise(glob)) for glob, owner in self.cooldown_except
        )

    def keeps_private(self, project: str) -> bool:
        """Whether an operator has given this name to an index (`pypi_cache_private`): it is then nobody else's to know."""
        name = canonicalize_name(project)
        return any(fnmatchcase(name, normalise(glob)) for glob, _ in self.private)

    def admit_status(self, status: str) -> Admitted | Refused:
        """Whether a project may be fetched, by the status that its page gives (PEP 792); '' where it gives none: it is active."""
        if (word := status.strip().lower()) in self.deny_status:
            return Refused(reason=RefusalReason.STATUS, rule=f"{DENY_STATUS}={word}")
        return Admitted()

    def admit_file(self, upload_time: str, now: float) -> Admitted | Refused:
        """Whether a file is old enough, by its PEP 700 `upload-time`. An unknown one ('') is not. See `has_cooldown`."""
        if self.cooldown <= 0:
            return Admitted()
        rule = f"{COOLDOWN}={shown_duration(self.cooldown)}"
        until = cooldown_end(upload_time, self.cooldown)
        if until is None:
            return Refused(reason=RefusalReason.UNKNOWN_AGE, rule=rule)
        if until > now:
            return Refused(reason=RefusalReason.TOO_YOUNG, rule=rule, until=until)
        return Admitted()


def parse_private(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `GLOB=INDEX` pairs, separated by spaces or commas; the index's name in lower case, as in `Index.name`.

    >>> parse_private(["acme-*=Corp"])
    (('acme-*', 'corp'),)
    """
    pairs = []
    for word in words_of(values):
        glob, _, index = word.partition("=")
        if not _INDEX.fullmatch(index):
            raise ValueError(f"GLOB=INDEX with an index's name, such as acme-*=corp, not {word!r}")
        check_glob(glob)
        pairs.append((glob, index.lower()))
    return tuple(dict.fromkeys(pairs))


def parse_exceptions(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read `GLOB` or `GLOB=INDEX`, separated by spaces or commas; the index is '' where none is given, for all of them.

    >>> parse_exceptions(["acme-* *=Corp"])
    (('acme-*', ''), ('*', 'corp'))
    """
    pairs: list[tuple[str, str]] = []
    for word in words_of(values):
        if "=" in word:
            pairs += parse_private([word])
        else:
            check_glob(word)
            pairs.append((word, ""))
    return tuple(dict.fromkeys(pairs))


def _base_name(index_name: str) -> str:
    """An index's name; that of a mirror, `corp@<url>`, counts as `corp`."""
    return index_name.partition("@")[0].lower()


def _rfc3339(time: float) -> str:
    """Write a time, rounded up so that a file is admitted by then. RFC 3339 ends with the year 9999."""
    moment = datetime.fromtimestamp(math.ceil(min(time, _LAST_SECOND)), UTC)
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def build_admission(settings: Settings, indexes: tuple[Index, ...]) -> Admission:
    """Build the operator's rules. Raises SettingError for a wrong glob, and for the name of an index that does not exist."""
    names = {index.name for index in indexes if "@" not in index.name}
    shown = ""
    try:
        shown = f"pypi_cache_allow={' '.join(settings.allow)!r}"
        allow = parse_globs(settings.allow)
        shown = f"pypi_cache_deny={' '.join(settings.deny)!r}"
        deny = parse_globs(settings.deny)
        shown = f"pypi_cache_private={' '.join(settings.private)!r}"
        private = parse_private(settings.private)
        _check_indexes(private, names)
        shown = f"{EXCEPT}={' '.join(settings.cooldown_except)!r}"
        exceptions = parse_exceptions(settings.cooldown_except)
        _check_indexes(exceptions, names | {""})
    except ValueError as error:
        raise SettingError(f"{shown}: expected {error}") from None
    return Admission(
        allow=allow,
        deny=deny,
        cooldown=settings.cooldown,
        private=private,
        cooldown_except=exceptions,
        deny_status=settings.deny_status,
    )


def _check_indexes(pairs: Sequence[tuple[str, str]], names: AbstractSet[str]) -> None:
    for _, index in pairs:
        if index not in names:
            there = ", ".join(sorted(names - {""}))
            raise ValueError(f"the name of an index that is there ({there}), not {index!r}")
