"""What the command makes of a store's keys: those that the engine makes, and all else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.cli.selection import Globs, digest_of, kinds_of
from pkgcache.engine.store.keys import EntryKind, ParsedKey, file_key, parse_key

SPACE = "0123456789abcdef0123456789abcdef"
DIGEST = "blake2b:" + "a" * 64


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (
            f"file|-|{DIGEST}|one-1.0-py3-none-any.whl",
            ParsedKey(kind="file", project="one", identity=DIGEST, name="one-1.0-py3-none-any.whl"),
        ),
        (
            f"file|-|{DIGEST}|one-1.0-py3-none-any.whl.metadata",
            ParsedKey(kind="file", project="one", identity=DIGEST, name="one-1.0-py3-none-any.whl.metadata"),
        ),
        (
            f"file|{SPACE}|https://f.example/a%7Cb|Big.Name-1.0.tar.gz",
            ParsedKey(
                kind="file",
                space=SPACE,
                project="big-name",
                identity="https://f.example/a%7Cb",
                name="Big.Name-1.0.tar.gz",
            ),
        ),
        (
            f"part|-|{DIGEST}|one-1.0-py3-none-any.whl",
            ParsedKey(kind="part", project="one", identity=DIGEST, name="one-1.0-py3-none-any.whl"),
        ),
        ("page|-|pypi|one|json", ParsedKey(kind="page", index="pypi", project="one", name="json")),
        ("page|-|pypi|one/1.0/json|json", ParsedKey(kind="page", index="pypi", project="one", name="1.0/json")),
        (
            f"page|{SPACE}|corp|one|html",
            ParsedKey(kind="page", space=SPACE, index="corp", project="one", name="html"),
        ),
        (
            "view|index|json|page|-|pypi|one|html",
            ParsedKey(kind="view", index="pypi", project="one", name="index json", page="page|-|pypi|one|html"),
        ),
        ("root|-|pypi|json", ParsedKey(kind="root", index="pypi", name="json")),
        ("hosts", ParsedKey(kind="other", name="hosts")),
        ("probe", ParsedKey(kind="other", name="probe")),
        ("", ParsedKey(kind="other")),
        ("file|-|x", ParsedKey(kind="other", name="file|-|x")),
        ("view|a|b|c|d|e|f", ParsedKey(kind="other", name="view|a|b|c|d|e|f")),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_key(key: str, named: ParsedKey) -> None:
    assert parse_key(key) == named


@given(
    st.sampled_from(["-", SPACE]),
    st.sampled_from([DIGEST, "https://f.example/x"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
def test_any_files_name_comes_back(space: str, identity: str, name: str) -> None:
    """The engine's own keys, whatever a file is called."""
    named = parse_key(file_key(space, identity, name))
    assert (named.kind, named.space, named.identity, named.name) == ("file", space, identity, name)


@given(st.text(max_size=60))
def test_anything_is_a_key_of_some_kind(text: str) -> None:
    assert parse_key(text).kind in {"file", "part", "page", "view", "root", "other"}


def test_a_space_is_shown_in_part() -> None:
    """Enough to tell two apart, and nothing to make a key with."""
    assert ParsedKey(kind="other", space=SPACE).shown_space == "private:01234567"
    assert ParsedKey(kind="other").shown_space == "public"


@pytest.mark.parametrize(
    ("words", "project", "meant"),
    [
        ([], "anything", True),
        ([], "", True),  # the proxy's own notes
        (["one"], "one", True),
        (["One.Two"], "one-two", True),  # PEP 503
        (["acme-*"], "acme-x", True),
        (["acme-*"], "acme", False),
        (["*"], "", False),  # of no project
        (["a", "b"], "b", True),
        (["[ab]*"], "bcd", True),
    ],
)
def test_globs(words: list[str], project: str, meant: bool) -> None:
    assert Globs.parse(words).match(ParsedKey(kind="file", project=project)) is meant


@pytest.mark.parametrize("word", ["a/b", "", " ", "a|b", "[", "{a,b}"])
def test_no_glob(word: str) -> None:
    """`purge "$NAME"` with an empty variable must not purge everything."""
    with pytest.raises(ValueError):
        Globs.parse([word])


@pytest.mark.parametrize(
    ("files", "pages", "kinds"),
    [
        (False, False, {"file", "page"}),
        (True, True, {"file", "page"}),
        (True, False, {"file"}),
        (False, True, {"page"}),
    ],
)
def test_kinds(files: bool, pages: bool, kinds: set[EntryKind]) -> None:
    assert kinds_of(files=files, pages=pages) == kinds


def test_what_tells_one_content_from_another() -> None:
    file = ParsedKey(kind="file", identity=DIGEST)
    assert digest_of(file, {"digest": "sha256:b"}) == "sha256:b"  # as it was hashed when it came in
    assert digest_of(ParsedKey(kind="page"), {"of": "c"}) == "c"
    assert digest_of(file, {}) == DIGEST
    assert digest_of(ParsedKey(kind="other"), {}) == ""
