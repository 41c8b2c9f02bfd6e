"""Advisories: what is blocked and what is marked, by the index of all records that one text holds."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pkgcache.rules.policy import advisories as module
from pkgcache.rules.policy.admission import Admitted, RefusalReason, Refused
from pkgcache.rules.policy.advisories import Advice, Advisories, Blocking, readings, write_index
from pkgcache.rules.policy.osv import Affected, Range
from pkgcache.rules.routing.filenames import split_filename

ALL: Final = (Range(),)


def advisories(*found: Affected, block: Blocking = "malicious", yank: bool = True) -> Advisories:
    return Advisories(b"".join(write_index(found, {"records": len(found)})), block, yank=yank)


def mal(project: str, *versions: str, shown: str = "MAL-1", ranges: tuple[Range, ...] = ()) -> Affected:
    return Affected(project=project, id=shown, malicious=True, versions=frozenset(versions), ranges=ranges)


def ghsa(project: str, *versions: str, shown: str = "GHSA-1", ranges: tuple[Range, ...] = ()) -> Affected:
    return Affected(project=project, id=shown, malicious=False, versions=frozenset(versions), ranges=ranges)


BOTH: Final = (mal("six", "2"), ghsa("six", ranges=(Range("", "3"),)))
WHEELS: Final = {version: f"six-{version}-py3-none-any.whl" for version in ("1.0", "2.0", "3.0")}
NOTHING: Final = Advice()
BLOCKED: Final = Advice(blocked="MAL-1")
MARKED: Final = Advice(yanked="GHSA-1")


@pytest.mark.parametrize(
    ("block", "yank", "advice"),
    [
        ("malicious", True, [MARKED, BLOCKED, NOTHING]),
        ("malicious", False, [NOTHING, BLOCKED, NOTHING]),
        ("all", True, [Advice(blocked="GHSA-1"), BLOCKED, NOTHING]),
        ("none", True, [MARKED, Advice(yanked="MAL-1, GHSA-1"), NOTHING]),
        ("none", False, [NOTHING, NOTHING, NOTHING]),
    ],
)
def test_a_page(block: Blocking, yank: bool, advice: list[Advice]) -> None:
    found = advisories(*BOTH, block=block, yank=yank).of_page("six", WHEELS.values())
    assert [found.get(name, NOTHING) for name in WHEELS.values()] == advice


def test_many_ids_are_not_all_shown() -> None:
    many = [ghsa("six", "1", shown=f"GHSA-{number}") for number in range(9)]
    advice = advisories(*many).of_page("six", [WHEELS["1.0"]])[WHEELS["1.0"]]
    assert advice.yanked == "GHSA-0, GHSA-1, GHSA-2, GHSA-3 and 5 more"


OF_FILES: Final = {
    "six-2.0-py3-none-any.whl": True,
    "six-2-1-py3-none-any.whl": True,  # with a build number
    "SIX-2.0.0-py3-none-any.whl": True,
    "six-2.0-py3-none-any.whl.metadata": True,
    "six-2.0-py3-none-any.whl.asc": True,
    "six-2.0.tar.gz": True,
    "Six-2.0.zip": True,
    "six-2.0-py2.7.egg": True,
    "six-2.0.win32-py2.7.exe": True,
    "six-2.0.win-amd64.msi": True,
    "six-2.0+cpu-py3-none-any.whl": True,  # PEP 440: a local version counts as its public one
    "six__-2.0-py3-none-any.whl": True,  # which older installers take
    "six-2.0.1-py3-none-any.whl": False,
    "six-2.0rc1.tar.gz": False,
    "six-1.0.tar.gz": False,
    "six-extra-2.0.tar.gz": False,
    "sixteen-2.0.tar.gz": False,
    "six.zip": True,  # of no version that could be told: it may be any
    "SIX.tar.gz": True,
    "six.whl": True,
    "six.whl.metadata": True,
    "six.tar.gz.asc": True,
    "six-.zip": True,
    "six_1.0.zip": True,
    "six.1.0.tgz": True,
    "six-extra.zip": False,  # `extra` is a version that is none by PEP 440
    "sixteen.zip": False,
    "six16.zip": False,
    "six": False,  # no release file
    "six-": False,
    "-2.0.tar.gz": False,
}


@pytest.mark.parametrize(("filename", "blocked"), OF_FILES.items())
def test_a_file_by_its_name_alone(filename: str, blocked: bool) -> None:
    rules = advisories(*BOTH)
    verdicts = [rules.admit_version(*reading) for reading in readings(filename)]
    assert any(isinstance(verdict, Refused) for verdict in verdicts) is blocked


@pytest.mark.parametrize(
    "name", ["all-bad.zip", "all_bad.tar.gz", "All.Bad.whl", "all-bad.zip.metadata", "all-bad-1.0.zip", "all-bad.egg"]
)
@pytest.mark.parametrize("bad", ["all", "versions"])
def test_a_file_whose_name_has_no_version(name: str, bad: str) -> None:
    """On its page and asked for by itself it is refused alike: by what is about all versions, and by what is about some."""
    rules = advisories(mal("all-bad", ranges=ALL) if bad == "all" else mal("all-bad", "1"))
    refused = [isinstance(rules.admit_version(*reading), Refused) for reading in readings(name)]
    assert any(refused) is True
    filename, _ = split_filename(name)
    assert rules.of_page("all-bad", [filename])[filename].blocked
    assert not rules.of_page("other", [filename])


def test_another_projects_sdist_is_not_blocked_with_a_shorter_name() -> None:
    """`foo-bar-1.0.tar.gz` is not version `bar-1.0` of `foo`; but `foo-1-2.tar.gz` may be 1.post2 of it."""
    rules = advisories(mal("foo", ranges=ALL))
    blocked = {
        name: any(isinstance(rules.admit_version(*reading), Refused) for reading in readings(name))
        for name in (
            "foo-bar-1.0.tar.gz",
            "foo-1-2.tar.gz",
            "foo-1.0.tar.gz",
            "foo-bar.tar.gz",
            "foo_bar-1.0-py3-none-any.whl",
        )
    }
    assert blocked == {
        "foo-bar-1.0.tar.gz": False,
        "foo-1-2.tar.gz": True,
        "foo-1.0.tar.gz": True,
        "foo-bar.tar.gz": True,
        "foo_bar-1.0-py3-none-any.whl": False,
    }


def test_a_refusal_says_which_advisory() -> None:
    verdict = advisories(*BOTH).admit_version("six", Version("2.0"), "2.0")
    assert isinstance(verdict, Refused)
    assert verdict.reason is RefusalReason.ADVISORY
    assert verdict.text("six 2.0") == "six 2.0 is refused by advisory MAL-1 (pypi_cache_advisories_block=malicious)"
    assert verdict.detail == "advisory MAL-1"


@pytest.mark.parametrize(
    ("found", "block", "refused"),
    [
        (mal("six", ranges=ALL), "malicious", True),
        (mal("six", ranges=ALL), "none", False),
        (ghsa("six", ranges=ALL), "malicious", False),
        (ghsa("six", ranges=ALL), "all", True),
        (mal("six", "1"), "malicious", False),
        (mal("six", ranges=(Range("", "9"),)), "malicious", False),
        (mal("six", ranges=(Range("1"),)), "malicious", False),
        (mal("other", ranges=ALL), "malicious", False),
    ],
)
def test_a_project_of_which_nothing_may_be_had(found: Affected, block: Blocking, refused: bool) -> None:
    assert isinstance(advisories(found, block=block).admit_project("six"), Refused) is refused


def test_what_is_about_a_version() -> None:
    rules = advisories(*BOTH, ghsa("six", "2", shown="A-1"), block="none", yank=False)
    assert [each.id for each in rules.affecting("six", Version("2.0"), "2.0")] == ["MAL-1", "A-1", "GHSA-1"]
    assert rules.affecting("six", Version("3.0"), "3.0") == []


NAMES = st.text("abcyz019-", min_size=1, max_size=4)


@given(st.sets(NAMES, max_size=40), NAMES)
def test_each_project_is_found_and_no_other(projects: set[str], other: str) -> None:
    rules = advisories(*[mal(name, "1", shown=f"MAL-{name}") for name in projects])
    for name in projects | {other}:
        verdict = rules.admit_version(name, Version("1"), "1")
        assert verdict == Admitted() if name not in projects else isinstance(verdict, Refused)
        assert rules.names(name) is (name in projects)
        assert not isinstance(verdict, Refused) or verdict.advisory == f"MAL-{name}"


def test_a_line_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is left out, the malicious last; where one of these has none, all versions count."""
    monkeypatch.setattr(module, "MAX_LINE", 2000)
    many = [ghsa("six", f"1.{number}", shown=f"GHSA-{number:03}") for number in range(500)]
    rules = advisories(mal("six", "2"), *many)
    assert isinstance(rules.admit_version("six", Version("2"), "2"), Refused)
    assert isinstance(rules.admit_version("six", Version("3"), "3"), Admitted)
    rules = advisories(mal("six", *map(str, range(1000, 1500))), mal("other", "1"), *many)
    assert isinstance(rules.admit_version("six", Version("3"), "3"), Refused)
    assert isinstance(rules.admit_version("other", Version("3"), "3"), Admitted)
    # One record that is too long for itself took the room of all behind it.
    rules = advisories(ghsa("six", *map(str, range(1000, 1500)), shown="GHSA-000"), ghsa("six", "3", shown="GHSA-001"))
    assert [each.id for each in rules.affecting("six", Version("3"), "3")] == ["GHSA-001"]


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"x", b"[]\n", b"{}\n", b'{"format":2}\n', b'{"format":1', b"\xff\n", b"[" * 99999]
)
def test_another_text(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        Advisories(text, "malicious", yank=True)


@pytest.mark.parametrize(
    "line", [b"", b"six", b"six\t", b"six\t7", b"six\t[7]", b"six\t[[1,2,3]]", b"six\t" + b"[" * 9999, b"\xff\t[]"]
)
def test_a_line_that_somebody_else_has_written(line: bytes) -> None:
    rules = Advisories(b'{"format":1}\n' + line + b"\n", "malicious", yank=True)
    assert not rules.names("six")
    assert not rules.names("a")
    assert not rules.names("zzz")


@pytest.mark.parametrize("more", [{}, {"signature": "7"}, {"records": 99}])
def test_what_is_told_of_a_reading(more: dict[str, Any]) -> None:
    text = b"".join(write_index(BOTH, more))
    assert Advisories(text, "none", yank=False).about == {"format": 1, **more}
    assert json.loads(text.splitlines()[0]) == {"format": 1, **more}
