"""Admission: names, globs and times, by tables and against a plain reading of PEP 503 and PEP 700."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from pkgcache.engine.pip_defaults import pip_defaults
from pkgcache.rules.policy.admission import (
    Admission,
    Admitted,
    RefusalReason,
    Refused,
    build_admission,
    parse_exceptions,
    parse_private,
)
from pkgcache.rules.policy.globs import parse_globs
from pkgcache.rules.routing.indexes import build_indexes
from pkgcache.settings import SettingError, make_settings
from pkgcache.units import parse_duration

DAY = 86400.0
NOW = datetime(2024, 6, 8, 12, tzinfo=UTC).timestamp()


def denies(glob: str, project: str) -> bool:
    return isinstance(Admission(deny=parse_globs([glob])).admit_project(project, "pypi"), Refused)


# Globs


@pytest.mark.parametrize(
    ("glob", "project", "matches"),
    [
        ("six", "six", True),
        ("six", "sixteen", False),
        ("six", "asix", False),
        pytest.param("SIX", "Six", True, id="PEP 503 case"),
        pytest.param("foo.bar", "Foo__BAR", True, id="PEP 503 separators"),
        pytest.param("foo-_.bar", "foo-bar", True, id="PEP 503 a run of them"),
        pytest.param("foo.bar", "fooxbar", False, id="a dot is no wildcard"),
        ("acme-*", "acme_core", True),
        ("acme_*", "acme.core.x", True),
        pytest.param("acme-*", "acme", False, id="the separator is part of it"),
        ("acme*", "acme", True),
        ("*", "anything", True),
        ("*-internal", "Acme.Internal", True),
        ("?ix", "six", True),
        ("?ix", "ix", False),
        pytest.param("a?b", "a__b", True, id="? is one character of the normalised name"),
        ("py[0-9]", "py3", True),
        ("py[0-9]", "pyx", False),
        ("py[0-9]", "py33", False),
        ("[A-C]x", "bx", True),
        ("[abc]x", "dx", False),
        pytest.param("a[_x]b", "a.b", True, id="a separator in a set is all three"),
        pytest.param("a[._-]b", "a-b", True, id="only separators"),
        pytest.param("a[.-z]b", "ayb", False, id="a separator begins no range"),
        pytest.param("a[x-]b", "a-b", True, id="- at the end"),
        pytest.param("a[-x]b", "axb", True, id="- at the beginning"),
        pytest.param("a[a-c-e]b", "adb", False, id="- after a range"),
    ],
)
def test_globs(glob: str, project: str, matches: bool) -> None:
    assert denies(glob, project) is matches


@pytest.mark.parametrize(
    ("values", "globs"),
    [
        ([], ()),
        (["", " , "], ()),
        (["six"], ("six",)),
        (["six", "Foo.*"], ("six", "Foo.*")),
        (["six, foo-*\tbar", "x"], ("six", "foo-*", "bar", "x")),
        pytest.param(["six six", "six"], ("six",), id="each once"),
    ],
)
def test_parse_globs(values: list[str], globs: tuple[str, ...]) -> None:
    assert parse_globs(values) == globs


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        pytest.param("a/b", "letters, digits", id="no name has a slash"),
        pytest.param("a!b", "letters, digits", id="an exclamation mark"),
        pytest.param("[!a]x", "letters, digits", id="no negation: it would deny nearly everything"),
        pytest.param("é*", "letters, digits", id="names are ASCII"),
        pytest.param("ſix", "letters, digits", id="names are ASCII, in lower case too"),
        pytest.param("\u212a*", "letters, digits", id="the Kelvin sign's lower case is a plain k"),
        pytest.param("a==1.0", "letters, digits", id="a requirement is no name"),
        pytest.param("a[", "letters, digits", id="a set without an end"),
        pytest.param("a]", "letters, digits", id="a set without a beginning"),
        pytest.param("a[]", "letters, digits", id="an empty set"),
        pytest.param("a[*]", "letters, digits", id="a wildcard in a set"),
        pytest.param("a[[b]]", "letters, digits", id="a set in a set"),
        pytest.param("-a*", "begins and ends", id="no name begins so"),
        pytest.param("acme-", "begins and ends", id="no name ends so"),
        pytest.param(".", "begins and ends", id="only a separator"),
        pytest.param("a[z-a]", "upwards", id="a range that holds nothing"),
        pytest.param("a[Z-a]", "upwards", id="the same once in lower case"),
    ],
)
def test_no_globs(glob: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_globs(["fine", glob])
    assert repr(glob) in str(caught.value)
    with pytest.raises(ValueError, match=why):
        parse_private([f"{glob}=corp" if "=" not in glob else glob.replace("=", "!") + "=corp"])


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        ([], ()),
        (["acme-*=corp"], (("acme-*", "corp"),)),
        (["acme-*=corp, x=Corp.2", "y=z"], (("acme-*", "corp"), ("x", "corp.2"), ("y", "z"))),
        pytest.param(["a=b", "a=c", "a=b"], (("a", "b"), ("a", "c")), id="two owners"),
    ],
)
def test_parse_private(values: list[str], pairs: tuple[tuple[str, str], ...]) -> None:
    assert parse_private(values) == pairs


@pytest.mark.parametrize("value", ["acme-*", "acme-*=", "acme-*=a/b", "acme-*=a=b", "acme-*=https://corp.test/simple"])
def test_no_private_names(value: str) -> None:
    with pytest.raises(ValueError, match="GLOB=INDEX"):
        parse_private([value])
    with pytest.raises(ValueError, match="letters, digits"):
        parse_private(["=corp"])


NAMES = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,8}[a-zA-Z0-9])?", fullmatch=True)


@given(NAMES, NAMES)
def test_a_name_is_a_glob_for_itself_in_every_spelling(one: str, other: str) -> None:
    assert denies(one, other) is (canonicalize_name(one) == canonicalize_name(other))


@given(
    st.lists(NAMES | st.sampled_from(["*", "?"]), min_size=1, max_size=4).map("".join),
    NAMES,
)
def test_wildcards_mean_what_they_say(glob: str, project: str) -> None:
    folded = re.sub(r"[-_.]+", "-", glob.lower())
    pattern = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in folded)
    assert denies(glob, project) is bool(re.fullmatch(pattern, canonicalize_name(project)))


@given(st.text(alphabet="aZ5-_.*?[]! ,=/é", max_size=12))
def test_whatever_is_taken_can_be_asked(text: str) -> None:
    try:
        globs = parse_globs([text])
    except ValueError:
        return
    assert isinstance(Admission(deny=globs).admit_project("a", "pypi"), Admitted | Refused)


# Projects


@pytest.mark.parametrize(
    ("rules", "project", "index", "refused"),
    [
        pytest.param({}, "six", "pypi", None, id="no rules"),
        pytest.param({"deny": ("evil*",)}, "six", "pypi", None, id="another is denied"),
        pytest.param(
            {"deny": ("a", "Evil*")}, "EVIL.thing", "pypi", (RefusalReason.DENIED, "pypi_cache_deny=Evil*"), id="denied"
        ),
        pytest.param({"allow": ("six",)}, "six", "pypi", None, id="allowed"),
        pytest.param(
            {"allow": ("six",)}, "seven", "pypi", (RefusalReason.NOT_ALLOWED, "pypi_cache_allow"), id="all else is not"
        ),
        pytest.param(
            {"allow": ("six",), "deny": ("s*",)},
            "six",
            "pypi",
            (RefusalReason.DENIED, "pypi_cache_deny=s*"),
            id="deny wins",
        ),
        pytest.param({"private": (("acme-*", "corp"),)}, "acme-x", "corp", None, id="a private name, at home"),
        pytest.param({"private": (("acme-*", "corp"),)}, "acme-x", "Corp", None, id="an index's name, in any case"),
        pytest.param({"private": (("acme-*", "corp"),)}, "six", "pypi", None, id="a public name, in public"),
        pytest.param({"private": (("acme-*", "corp"),)}, "six", "corp", None, id="a public name, at the private index"),
        pytest.param(
            {"private": (("acme-*", "corp"),)},
            "Acme.X",
            "pypi",
            (RefusalReason.PRIVATE_NAME, "pypi_cache_private=acme-*=corp"),
            id="dependency confusion",
        ),
        pytest.param(
            {"private": (("acme-*", "corp"),)},
            "acme-x",
            "pypi@https://mirror.test/simple/",
            (RefusalReason.PRIVATE_NAME, "pypi_cache_private=acme-*=corp"),
            id="dependency confusion, by a mirror that the client named",
        ),
        pytest.param(
            {"private": (("acme-*", "corp"),)}, "acme-x", "corp@https://copy.test/simple/", None, id="its own mirror"
        ),
        pytest.param({"private": (("*", "corp"), ("numpy", "pypi"))}, "numpy", "pypi", None, id="an exception"),
        pytest.param({"private": (("*", "corp"), ("numpy", "pypi"))}, "numpy", "corp", None, id="of two owners each"),
        pytest.param(
            {"private": (("*", "corp"), ("numpy", "pypi"))},
            "six",
            "pypi",
            (RefusalReason.PRIVATE_NAME, "pypi_cache_private=*=corp"),
            id="all but the exception",
        ),
        pytest.param(
            {"private": (("acme-*", "corp"),), "deny": ("acme-old",)},
            "acme-old",
            "corp",
            (RefusalReason.DENIED, "pypi_cache_deny=acme-old"),
            id="deny wins at home too",
        ),
        pytest.param(
            {"private": (("acme-*", "corp"),), "allow": ("six",)},
            "acme-x",
            "corp",
            (RefusalReason.NOT_ALLOWED, "pypi_cache_allow"),
            id="a private name needs its place in allow",
        ),
    ],
)
def test_projects(rules: dict[str, Any], project: str, index: str, refused: tuple[RefusalReason, str] | None) -> None:
    answer = Admission(**rules).admit_project(project, index)
    assert answer == (Admitted() if refused is None else Refused(reason=refused[0], rule=refused[1]))


def test_a_long_list_costs_little() -> None:
    """A company's list of 10,000 approved projects: a look-up, not 10,000 comparisons."""
    admission = Admission(allow=parse_globs([f"project-{number}" for number in range(10_000)]))
    admission.admit_project("six", "pypi")
    started = time.process_time()
    for _ in range(100):
        assert isinstance(admission.admit_project("project-9999", "pypi"), Admitted)
    assert time.process_time() - started < 1


# Files


@pytest.mark.parametrize(
    ("cooldown", "upload_time", "answer"),
    [
        pytest.param(0, "", Admitted(), id="off"),
        pytest.param(0, "2099-01-01T00:00:00Z", Admitted(), id="off, whatever the time"),
        pytest.param(7 * DAY, "2024-06-01T12:00:00Z", Admitted(), id="exactly old enough"),
        pytest.param(7 * DAY, "2024-06-01T11:59:59.999999Z", Admitted(), id="older"),
        pytest.param(
            7 * DAY,
            "2024-06-01T12:00:01Z",
            Refused(reason=RefusalReason.TOO_YOUNG, rule="pypi_cache_cooldown=7d", until=NOW + 1),
            id="a second too young",
        ),
        pytest.param(
            DAY,
            "2024-06-09T12:00:00Z",
            Refused(reason=RefusalReason.TOO_YOUNG, rule="pypi_cache_cooldown=1d", until=NOW + 2 * DAY),
            id="from the future",
        ),
        pytest.param(
            DAY,
            "",
            Refused(reason=RefusalReason.UNKNOWN_AGE, rule="pypi_cache_cooldown=1d"),
            id="unknown counts as young",
        ),
        pytest.param(
            DAY,
            "yesterday",
            Refused(reason=RefusalReason.UNKNOWN_AGE, rule="pypi_cache_cooldown=1d"),
            id="what cannot be read is unknown",
        ),
    ],
)
def test_files(cooldown: float, upload_time: str, answer: Admitted | Refused) -> None:
    assert Admission(cooldown=cooldown).admit_file(upload_time, NOW) == answer


@given(
    st.floats(0.001, 1e9),
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    st.floats(0, 5e9),
)
def test_refused_until_then_and_admitted_from_then_on(cooldown: float, uploaded: datetime, now: float) -> None:
    admission = Admission(cooldown=cooldown)
    text = f"{uploaded.isoformat()}Z"
    answer = admission.admit_file(text, now)
    if isinstance(answer, Refused):
        assert answer.until is not None
        assert answer.until > now
        assert admission.admit_file(text, answer.until) == Admitted()
        told = re.search(r"until (\S+)", answer.text("x"))
        assert told
        assert admission.admit_file(text, datetime.fromisoformat(told[1]).timestamp()) == Admitted(), (
            "who waits as told gets it"
        )


# Texts


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (Refused(reason=RefusalReason.DENIED, rule="pypi_cache_deny=evil*"), "x is refused by pypi_cache_deny=evil*"),
        (
            Refused(reason=RefusalReason.NOT_ALLOWED, rule="pypi_cache_allow"),
            "x is refused by pypi_cache_allow, which does not name it",
        ),
        (
            Refused(reason=RefusalReason.PRIVATE_NAME, rule="pypi_cache_private=acme-*=corp"),
            "x is refused by pypi_cache_private=acme-*=corp: no other index is asked for it",
        ),
        (
            Refused(reason=RefusalReason.TOO_YOUNG, rule="pypi_cache_cooldown=7d", until=NOW),
            "x is refused until 2024-06-08T12:00:00Z by pypi_cache_cooldown=7d",
        ),
        pytest.param(
            Refused(reason=RefusalReason.TOO_YOUNG, rule="r", until=NOW + 0.001),
            "x is refused until 2024-06-08T12:00:01Z by r",
            id="never told too early",
        ),
        pytest.param(
            Refused(reason=RefusalReason.TOO_YOUNG, rule="r", until=float("inf")),
            "x is refused until 9999-12-31T23:59:59Z by r",
            id="beyond the last year",
        ),
        (
            Refused(reason=RefusalReason.UNKNOWN_AGE, rule="pypi_cache_cooldown=7d"),
            "x is refused by pypi_cache_cooldown=7d: its index does not say when it was uploaded",
        ),
    ],
)
def test_texts(refused: Refused, text: str) -> None:
    assert refused.text("x") == text


@given(st.sampled_from(RefusalReason), st.text())
@example(RefusalReason.DENIED, "a\r\nX-Header: b\x1b[31m\u2028")
def test_a_text_is_one_line(reason: RefusalReason, what: str) -> None:
    text = Refused(reason=reason, rule="pypi_cache_deny=x", until=NOW).text(what)
    assert len(text.splitlines()) == 1
    assert text.isprintable()


@given(st.floats(0.001, 1e12) | st.integers(1, 10_000).map(lambda days: days * DAY) | st.integers(1, 10**7))
@example(90 * 60.0)
@example(1.5)
def test_a_cooldown_is_told_as_the_option_takes_it(cooldown: float) -> None:
    answer = Admission(cooldown=cooldown).admit_file("", NOW)
    assert isinstance(answer, Refused)
    assert parse_duration(answer.rule.removeprefix("pypi_cache_cooldown=")) == pytest.approx(cooldown)


# Exceptions from the cooldown


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        ([], ()),
        (["acme-*"], (("acme-*", ""),)),
        (["acme-*, six\tx"], (("acme-*", ""), ("six", ""), ("x", ""))),
        (["*=Corp"], (("*", "corp"),)),
        (["acme-*=corp six"], (("acme-*", "corp"), ("six", ""))),
        pytest.param(["a", "a=b", "a"], (("a", ""), ("a", "b")), id="each once"),
    ],
)
def test_parse_exceptions(values: list[str], pairs: tuple[tuple[str, str], ...]) -> None:
    assert parse_exceptions(values) == pairs


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("acme-*=", "GLOB=INDEX"),
        ("=corp", "letters, digits"),
        ("acme-*=a/b", "GLOB=INDEX"),
        ("acme-", "begins and ends"),
        ("a/b", "letters, digits"),
        ("acme-*=nowhere", "not 'nowhere'"),
    ],
)
def test_no_exceptions(value: str, why: str) -> None:
    settings = make_settings(
        {"pypi_cache_index": ["corp=https://corp.test/simple/"], "pypi_cache_cooldown_except": [value]}
    )
    with pytest.raises(SettingError, match=why) as caught:
        build_admission(settings, build_indexes(settings.index, pip_defaults()))
    assert str(caught.value).startswith(f"pypi_cache_cooldown_except={value!r}: expected ")


@pytest.mark.parametrize(
    ("exceptions", "project", "index", "waits"),
    [
        ([], "six", "pypi", True),
        (["six"], "six", "pypi", False),
        (["six"], "sixteen", "pypi", True),
        pytest.param(["Acme_*"], "acme.core", "pypi", False, id="PEP 503: both are normalised"),
        pytest.param(["acme-*"], "ACME__Core", "other", False, id="everywhere"),
        (["acme-*=corp"], "acme-core", "corp", False),
        (["acme-*=corp"], "acme-core", "pypi", True),
        (["acme-*=corp"], "six", "corp", True),
        pytest.param(["*=corp"], "six", "corp", False, id="all of an index"),
        pytest.param(["*=corp"], "six", "corp@https://mirror.test/simple/", False, id="a mirror is its index"),
        pytest.param(["*=CORP"], "six", "Corp", False, id="case of an index"),
        pytest.param(["*=corp"], "six", "corporate", True, id="a longer name"),
        pytest.param(["*=corp"], "six", "pypi@https://corp.test/", True, id="a mirror of another"),
        (["*"], "anything", "pypi", False),
        pytest.param(["a=corp", "a=pypi"], "a", "pypi", False, id="of several the one that is right"),
    ],
)
def test_has_cooldown(exceptions: list[str], project: str, index: str, waits: bool) -> None:
    admission = Admission(cooldown=DAY, cooldown_except=parse_exceptions(exceptions))
    assert admission.has_cooldown(project, index) is waits
    assert not Admission(cooldown_except=parse_exceptions(exceptions)).has_cooldown(project, index)


@pytest.mark.parametrize(
    ("denied", "status", "admitted"),
    [
        ((), "quarantined", True),
        (("quarantined",), "quarantined", False),
        (("quarantined",), " Quarantined ", False),
        (("quarantined",), "archived", True),
        (("quarantined", "archived"), "archived", False),
        pytest.param(("archived",), "", True, id="PEP 792: without a status it is active"),
        (("archived",), "active", True),
        (("archived",), "archived-by-another-word", True),
    ],
)
def test_a_projects_status(denied: tuple[str, ...], status: str, admitted: bool) -> None:
    verdict = Admission(deny_status=denied).admit_status(status)
    assert isinstance(verdict, Admitted) is admitted
    assert isinstance(verdict, Admitted) or verdict.text("six") == (
        f"six is refused by pypi_cache_deny_status={status.strip().lower()}: so its index marks the project"
    )


def test_reasons_are_names_for_metrics() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in RefusalReason)
