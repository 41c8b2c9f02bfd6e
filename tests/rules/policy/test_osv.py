"""OSV records: which versions are affected, by tables and against the schema's own pseudocode ("Evaluation")."""

from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.version import Version

from pkgcache.rules.policy.affected_versions import AffectedVersions
from pkgcache.rules.policy.osv import (
    MAX_COMPARED,
    MAX_EVENTS,
    Affected,
    BrokenRecord,
    Range,
    read_range,
    read_record,
    read_records,
)

type Json = dict[str, Any]


def record(*, versions: Any = None, ranges: Any = None, **more: Any) -> Json:
    """A record about the project `six`."""
    affected: Json = {"package": {"ecosystem": "PyPI", "name": "six"}}
    affected |= {} if versions is None else {"versions": versions}
    affected |= {} if ranges is None else {"ranges": ranges}
    return {"id": "GHSA-1", "affected": [affected], **more}


def ecosystem(*events: Any) -> list[Json]:
    return [{"type": "ECOSYSTEM", "events": [dict([each]) if isinstance(each, tuple) else each for each in events]}]


def affects(given_record: Json, version: str) -> bool:
    found = read_record(given_record)
    parsed = Version(version)
    plain = any(each.affects(parsed, version) for each in found)
    assert bool(AffectedVersions(found).about(parsed, version)) is plain
    return plain


IN: Final = "introduced"
F: Final = "fixed"
L: Final = "last_affected"
X: Final = "limit"

RANGES: Final[list[tuple[list[Any], list[str], list[str]]]] = [
    # events → affected, not affected
    ([(IN, "0")], ["0", "1", "99!1", "0.dev0", "0a1", "1.0+local"], []),
    ([(IN, "0"), (F, "1.0.2")], ["0.dev1", "1.0.1", "1.0.2.dev0", "1.0.2a1", "1.0.2rc1"], ["1.0.2", "1.0.2.post1", "1.0.2+x", "2"]),
    ([(IN, "1.0")], ["1", "1.0.0", "1.0.post1", "1.0+cpu", "2"], ["1.0rc1", "1.0.dev1", "0.9"]),
    ([(IN, "1.0.0"), (F, "1.0.2"), (IN, "3.0.0"), (F, "3.2.5")], ["1.0", "1.0.1", "3", "3.2.4"], ["0.9", "1.0.2", "2", "3.2.5", "4"]),
    ([(IN, "0"), (L, "2.1.214")], ["0", "2.1.214", "2.1.214rc1"], ["2.1.215", "2.1.214.post1", "3"]),
    ([(IN, "1"), (L, "1")], ["1", "1.0.0"], ["0.9", "1.0.1", "1.0.post1", "1rc1"]),
    ([(IN, "1"), (F, "1")], [], ["0.9", "1", "1.1"]),  # nothing
    ([(L, "1"), (IN, "1")], ["1"], ["0.9", "1.1"]),  # the order in the record does not matter
    ([(F, "2"), (IN, "1")], ["1", "1.9"], ["0.9", "2", "3"]),
    ([(F, "3.2.5"), (IN, "3"), (F, "1.0.2"), (IN, "0")], ["1", "3.1"], ["1.0.2", "2", "3.2.5"]),
    ([(IN, "0"), (F, "1.0"), (IN, "1.0"), (F, "2")], ["0.5", "1.0", "1.5"], ["2"]),  # fixed, and broken again
    ([(IN, "0"), (L, "1"), (IN, "1"), (L, "2")], ["1", "1.5", "2"], ["2.1"]),
    ([(IN, "1"), (IN, "2"), (F, "3")], ["1", "1.5", "2.5"], ["0.9", "3"]),  # introduced twice
    ([(IN, "1"), (F, "2"), (F, "3")], ["1.5"], ["2", "2.5", "3"]),  # fixed in two branches
    ([(IN, "0"), (F, "2"), (L, "3")], ["1"], ["2", "2.5", "3", "4"]),  # both is against the schema: the first one ends it
    ([(F, "1.0")], [], ["0.5", "1", "2"]),  # "must be at least one introduced"
    ([(L, "1.0")], [], ["0.5", "1", "2"]),
    ([(X, "1.0")], [], ["0.5", "1"]),
    ([], [], ["1"]),
    # limit: "BeforeLimits"
    ([(IN, "0"), (X, "2")], ["0", "1.9", "2rc1"], ["2", "3"]),
    ([(IN, "0"), (X, "*")], ["0", "99"], []),
    ([(IN, "0"), (X, "1.*")], ["0", "99"], []),  # "containing the string *"
    ([(IN, "1"), (X, "2"), (X, "4")], ["1", "2", "3.9"], ["0.9", "4"]),  # any of them
    ([(IN, "1"), (X, "4"), (X, "*")], ["1", "5"], ["0.9"]),
    ([(IN, "1"), (F, "2"), (X, "9")], ["1"], ["2", "8"]),
    ([(IN, "1"), (F, "9"), (X, "2")], ["1"], ["2", "8"]),
    ([(IN, "1"), (L, "2"), (X, "2")], ["1", "1.9"], ["2"]),
    ([(IN, "3"), (X, "2")], [], ["1", "3"]),
    # PEP 440
    ([(IN, "1!0"), (F, "1!2")], ["1!1"], ["1", "2024.1", "1!2"]),
    ([(IN, "0"), (F, "1.0.post2")], ["1.0", "1.0.post1", "1.0.post2.dev1"], ["1.0.post2", "1.1"]),
    ([(IN, "0"), (L, "1.0")], ["1.0+cpu", "1.0+evil.2"], ["1.0.1+cpu"]),  # a local version counts as its public one
    ([(IN, "0"), (L, "1.0+cpu")], ["1.0", "1.0+abc", "1.0+cpu"], ["1.0+cu118", "1.1"]),  # unless the bound has one
    ([(IN, "0"), (F, "1.0+cpu.1")], ["1.0", "1.0+cpu"], ["1.0+cpu.1", "1.0+cu118"]),
    ([(IN, "v1.0"), (F, " 2.0.0-RC1 ")], ["1.0", "2.0b9"], ["2.0rc1", "2.0"]),  # spelt otherwise
    ([(IN, "1.0.0.0"), (F, "1.1.0"), (IN, "1.1")], ["1", "1.1", "5"], ["0.9"]),  # one version in two spellings
    ([(IN, "01"), (F, "1.00")], [], ["1"]),
    ([(IN, "0.0.0"), (F, "1")], ["0", "0.0"], ["0.dev0", "0a1"]),  # only "0" itself sorts before all
    ([(IN, " 0 "), (F, "1")], ["0.dev0"], ["1"]),
    # What cannot be read counts as affected
    ([(IN, "nonsense"), (F, "2")], ["0.dev0", "1"], ["2"]),
    ([(IN, "1"), (F, "nonsense")], ["1", "99"], ["0.9"]),
    ([(IN, "1"), (L, "a" * 40)], ["1", "99"], ["0.9"]),
    ([(IN, "1"), (X, "nonsense")], ["1", "99"], ["0.9"]),
    ([(IN, "1"), (F, "1" * 5000)], ["1", "99"], ["0.9"]),  # more digits than Python reads
    # Wrong types say nothing
    ([{IN: 0}, (F, "2")], [], ["1"]),
    ([(IN, "0"), {F: 2}], ["1", "3"], []),
    ([(IN, "0"), {F: None}, "x", 7, [], {}], ["1"], []),
    ([{IN: "1", F: "2"}], ["1.5"], ["2"]),  # both in one object is against the schema
    ([{"unknown": "1"}, (IN, "0")], ["1"], []),
]  # fmt: skip


@pytest.mark.parametrize(("events", "affected", "not_affected"), RANGES)
def test_a_range(events: list[Any], affected: list[str], not_affected: list[str]) -> None:
    given_record = record(ranges=ecosystem(*events))
    assert [version for version in affected if not affects(given_record, version)] == []
    assert [version for version in not_affected if affects(given_record, version)] == []


VERSIONS: Final[list[tuple[Any, list[str], list[str]]]] = [
    (["1.0"], ["1.0", "1", "1.0.0", "1.0+cpu"], ["1.0.1", "1.0rc1", "1.0.post1", "0.1"]),
    (["1.0.0", "2.0RC1"], ["1", "2.0rc1", "2.0.0c1"], ["2.0"]),
    (["v1.0-1"], ["1.0.post1"], ["1.0"]),
    (["1.0+cpu"], ["1.0+cpu", "1.0+CPU"], ["1.0", "1.0+cu118"]),
    (["1!1.0"], ["1!1"], ["1.0"]),
    ([], [], ["1.0"]),
    (None, [], ["1.0"]),
    ("1.0", [], ["1.0"]),  # a text is no array
    ({"1.0": 1}, [], ["1.0"]),
    ([1.0, None, ["1.0"], "2"], ["2"], ["1.0"]),
    (["*"], [], ["1.0"]),
]


@pytest.mark.parametrize(("versions", "affected", "not_affected"), VERSIONS)
def test_versions(versions: Any, affected: list[str], not_affected: list[str]) -> None:
    given_record = record(versions=versions)
    assert [version for version in affected if not affects(given_record, version)] == []
    assert [version for version in not_affected if affects(given_record, version)] == []


NOT_ABOUT_SIX: Final[dict[str, Json]] = {
    "withdrawn": record(versions=["1.0"], withdrawn="2024-01-01T00:00:00Z"),
    "another ecosystem": {"id": "X", "affected": [{"package": {"ecosystem": "npm", "name": "six"}, "versions": ["1.0"]}]},
    "an ecosystem's derivative": {"id": "X", "affected": [{"package": {"ecosystem": "Root:PyPI", "name": "six"}, "versions": ["1.0"]}]},
    "an ecosystem in lower case": {"id": "X", "affected": [{"package": {"ecosystem": "pypi", "name": "six"}, "versions": ["1.0"]}]},
    "another project": {"id": "X", "affected": [{"package": {"ecosystem": "PyPI", "name": "sixteen"}, "versions": ["1.0"]}]},
    "no project": {"id": "X", "affected": [{"versions": ["1.0"]}]},
    "a project without a name": {"id": "X", "affected": [{"package": {"ecosystem": "PyPI"}, "versions": ["1.0"]}]},
    "a name that is none": {"id": "X", "affected": [{"package": {"ecosystem": "PyPI", "name": "../six"}, "versions": ["1.0"]}]},
    "commits": record(ranges=[{"type": "GIT", "repo": "https://r.example", "events": [{"introduced": "0"}]}]),
    "semantic versions": record(ranges=[{"type": "SEMVER", "events": [{"introduced": "0"}]}]),
    "a range without a type": record(ranges=[{"events": [{"introduced": "0"}]}]),
    "a range that is none": record(ranges=[7, None, "ECOSYSTEM", []]),
    "ranges that are none": record(ranges={"type": "ECOSYSTEM"}),
    "events that are none": record(ranges=[{"type": "ECOSYSTEM", "events": {"introduced": "0"}}]),
    "nothing affected": {"id": "X"},
    "affected is null": {"id": "X", "affected": None},
    "affected is empty": {"id": "X", "affected": []},
    "neither versions nor ranges": record(),
}  # fmt: skip


@pytest.mark.parametrize("given_record", NOT_ABOUT_SIX.values(), ids=NOT_ABOUT_SIX)
def test_what_says_nothing(given_record: Json) -> None:
    assert not [each for each in read_record(given_record) if each.project == "six"]


@pytest.mark.parametrize("withdrawn", [None, "", False, 0])
def test_not_withdrawn(withdrawn: Any) -> None:
    assert affects(record(versions=["1.0"], withdrawn=withdrawn), "1.0")


@pytest.mark.parametrize(
    ("name", "normalised"), [("six", "six"), ("SIX", "six"), (" Six ", "six"), ("s-i_x", "s-i-x"), ("S.I__x", "s-i-x")]
)
def test_names_are_normalised(name: str, normalised: str) -> None:
    """PEP 503."""
    found = read_record({"id": "X", "affected": [{"package": {"ecosystem": "PyPI", "name": name}, "versions": ["1"]}]})
    assert [each.project for each in found] == [normalised]


@pytest.mark.parametrize(
    ("ids", "malicious"),
    [
        ({"id": "MAL-2024-1"}, True),
        ({"id": "GHSA-1", "aliases": ["CVE-1", "MAL-2024-1"]}, True),
        ({"id": "GHSA-1", "aliases": ["CVE-1"]}, False),
        ({"id": "PYSEC-MAL-1"}, False),
        ({"id": "mal-2024-1"}, False),
        ({"id": "GHSA-1", "related": ["MAL-2024-1"]}, False),
        ({"id": "GHSA-1", "upstream": ["MAL-2024-1"]}, False),
        ({"id": "GHSA-1", "aliases": "MAL-2024-1"}, False),
        ({"id": "GHSA-1", "aliases": [7, None, ["MAL-1"]]}, False),
        ({"id": "GHSA-1", "aliases": None}, False),
    ],
)
def test_malicious(ids: Json, malicious: bool) -> None:
    (found,) = read_record({**record(versions=["1.0"]), **ids})
    assert found.malicious is malicious


@pytest.mark.parametrize(
    "broken",
    [
        *[None, 7, "x", [], {}, {"id": ""}, {"id": 7}, {"id": None}, {"affected": []}],
        *[{"id": "X", "affected": {}}, {"id": "X", "affected": "six"}],
    ],
)
def test_no_record(broken: Any) -> None:
    with pytest.raises(BrokenRecord):
        read_record(broken)


def test_an_id_is_shown_as_it_may_be() -> None:
    """It goes into headers, pages and logs."""
    (found,) = read_record({**record(versions=["1"]), "id": 'MAL-1\r\n"<b>é' + "x" * 200})
    assert found.id.startswith("MAL-1????b??x")
    assert len(found.id) == 100
    assert found.malicious


def test_several_of_one_project() -> None:
    """The schema allows it "in rare cases": any of them counts."""
    two = record(versions=["1"])
    two["affected"] += record(ranges=ecosystem((IN, "3"), (F, "4")))["affected"]
    assert [affects(two, version) for version in ("1", "2", "3", "4")] == [True, False, True, False]


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (record(versions=["1"]), ["GHSA-1"]),
        ([record(versions=["1"]), {**record(versions=["2"]), "id": "B"}], ["GHSA-1", "B"]),
        ({"vulns": [record(versions=["1"])]}, ["GHSA-1"]),  # as the API answers
        ({"vulns": []}, []),
        ([], []),
        ([7, record(versions=["1"]), None], ["broken", "GHSA-1", "broken"]),
        ({"vulns": 7}, ["broken"]),
        ("text", ["broken"]),
        (None, ["broken"]),
    ],
)
def test_read_records(value: Any, ids: list[str]) -> None:
    assert ["broken" if isinstance(each, BrokenRecord) else each.id for each in read_records(value)] == ids


def test_a_listed_version_within_a_range_is_not_kept() -> None:
    """A database lists all versions of its ranges, hundreds for each of its records."""
    (found,) = read_record(record(versions=["0.1", "0.2", "7"], ranges=ecosystem((IN, "0"), (F, "1"))))
    assert found.versions == {"7"}


def test_too_many_events() -> None:
    with pytest.raises(BrokenRecord, match="events"):
        read_record(record(ranges=ecosystem(*[(IN, str(number)) for number in range(MAX_EVENTS + 1)])))
    (broken,) = read_records([record(ranges=ecosystem(*[(F, "1")] * (MAX_EVENTS + 1)))])
    assert isinstance(broken, BrokenRecord)


def test_versions_and_ranges_that_would_take_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 ranges and a million versions of one record used all the time there is for a whole database."""
    compared = 0
    holds = Range.holds

    def counted(self: Range, version: Version) -> bool:
        nonlocal compared
        compared += 1
        return holds(self, version)

    monkeypatch.setattr(Range, "holds", counted)
    events = [event for number in range(300) for event in ((IN, f"{number}.5"), (F, f"{number}.6"))]
    (found,) = read_record(record(ranges=ecosystem(*events), versions=[f"{number}.1" for number in range(400)]))
    assert compared <= MAX_COMPARED
    assert found.affects(Version("7.1"), "7.1")
    assert found.affects(Version("7.5.3"), "7.5.3")
    assert not found.affects(Version("7.2"), "7.2")


@pytest.mark.parametrize(
    ("text", "listed", "events", "affected"),
    [
        ("2004d-custom", ["2004D-Custom"], [], True),
        ("2004d", ["2004c"], [], False),
        ("anything", [], [(IN, "0")], True),
        ("anything", [], [(IN, "0"), (F, "1")], True),  # it sorts before all that are versions
        ("anything", [], [(IN, "1")], False),
    ],
)
def test_what_is_no_version(text: str, listed: list[str], events: list[Any], affected: bool) -> None:
    found = read_record(record(versions=listed, ranges=ecosystem(*events)))
    assert any(each.affects(None, text) for each in found) is affected
    assert bool(AffectedVersions(found).about(None, text)) is affected


NUMBERS = [f"{major}{suffix}" for major in range(4) for suffix in (".dev1", "rc1", "", "+cpu", ".post1")]
EVENTS = st.lists(
    st.tuples(st.sampled_from([IN, F, X]), st.sampled_from(["0", "1", "1.0", "2", "2rc1", "3"])), max_size=6
)


def by_the_pseudocode(events: list[tuple[str, str]], version: str) -> bool:
    """`IncludedInRanges` of one range. Events at one version are sorted as `read_range` has them, which the schema leaves open."""
    parsed = Version(version)
    limits = [Version(text) for kind, text in events if kind == X]
    if limits and not any(parsed < limit for limit in limits):
        return False
    vulnerable = any(kind == IN and text == "0" for kind, text in events)
    for bound in sorted({Version(text) for kind, text in events if (kind, text) != (IN, "0")}):
        here = {kind for kind, text in events if Version(text) == bound and (kind, text) != (IN, "0")}
        order = [F, IN] if vulnerable else [IN, F]
        for kind in (each for each in order if each in here):
            if parsed >= bound:
                vulnerable = kind == IN
    return vulnerable


@given(EVENTS, st.sampled_from(NUMBERS))
@example([(IN, "1"), (F, "1.0")], "1")
@example([(IN, "0"), (F, "1"), (IN, "1.0"), (F, "2")], "1+cpu")
def test_ranges_are_the_schemas_pseudocode(events: list[tuple[str, str]], version: str) -> None:
    assert affects(record(ranges=ecosystem(*events)), version) is by_the_pseudocode(events, version)


@given(st.lists(EVENTS, max_size=4), st.lists(st.sampled_from(NUMBERS), max_size=3), st.sampled_from(NUMBERS))
def test_looking_up_quickly_finds_the_same(
    ranges: list[list[tuple[str, str]]], listed: list[str], version: str
) -> None:
    records = [
        {**record(ranges=ecosystem(*events), versions=listed), "id": f"G-{n}"} for n, events in enumerate(ranges)
    ]
    found = [each for one in records for each in read_record(one)]
    parsed = Version(version)
    assert AffectedVersions(found).about(parsed, version) == [each for each in found if each.affects(parsed, version)]


@given(EVENTS)
def test_stretches_do_not_overlap(events: list[tuple[str, str]]) -> None:
    found = read_range([{kind: text} for kind, text in events])
    one = Affected(project="six", id="X", malicious=False, ranges=tuple(found))
    assert one.is_all is (
        ("" in [each.start for each in found]) and any(not each.start and not each.end for each in found)
    )
    for number in NUMBERS:
        assert sum(each.holds(Version(number)) for each in found) <= 1
