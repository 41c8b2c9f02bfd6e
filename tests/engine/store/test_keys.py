"""Keys as they stand in stores: each made and taken apart, to the letter, and anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.engine.store.keys import (
    HOSTS_KEY,
    ParsedKey,
    StoreKey,
    file_key,
    page_key,
    parse_key,
    project_list_key,
    range_key,
    variant_key,
)
from pkgcache.rules.simple.representations import Representation

SPACE = "0123456789abcdef0123456789abcdef"
DIGEST = "blake2b:" + "a" * 64
WHEEL = "one-1.0-py3-none-any.whl"
PAGE = page_key("-", "pypi", "one", Representation.HTML)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (file_key("-", DIGEST, WHEEL), f"file|-|{DIGEST}|{WHEEL}"),
        (file_key("-", DIGEST, "a b|c-1.tar.gz"), f"file|-|{DIGEST}|a%20b%7Cc-1.tar.gz"),
        (file_key(SPACE, "https://f.example/a%7Cb", "x.zip"), f"file|{SPACE}|https://f.example/a%7Cb|x.zip"),
        (range_key(file_key("-", DIGEST, WHEEL)), f"part|-|{DIGEST}|{WHEEL}"),
        (page_key("-", "pypi", "one", Representation.JSON), "page|-|pypi|one|json"),
        (page_key(SPACE, "corp", "one/1.0/json", Representation.JSON), f"page|{SPACE}|corp|one/1.0/json|json"),
        (page_key("-", "pypi", "one", Representation.HTML_V1), "page|-|pypi|one|html-v1"),
        (variant_key("slash", "json", PAGE), "view|slash|json|page|-|pypi|one|html"),
        (project_list_key("pypi", Representation.JSON), "root|-|pypi|json"),
        (HOSTS_KEY, "hosts"),
    ],
)
def test_a_key_that_is_made(key: StoreKey, text: str) -> None:
    """These texts are in stores on disk: a change here loses all of them."""
    assert key == text


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (f"file|-|{DIGEST}|{WHEEL}", ParsedKey(kind="file", project="one", identity=DIGEST, name=WHEEL)),
        (
            f"file|-|{DIGEST}|{WHEEL}.metadata",
            ParsedKey(kind="file", project="one", identity=DIGEST, name=f"{WHEEL}.metadata"),
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
        (f"part|-|{DIGEST}|{WHEEL}", ParsedKey(kind="part", project="one", identity=DIGEST, name=WHEEL)),
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
def test_a_key_that_is_taken_apart(key: str, parsed: ParsedKey) -> None:
    assert parse_key(key) == parsed


@given(
    st.sampled_from(["-", SPACE]),
    st.sampled_from([DIGEST, "https://f.example/x"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
def test_any_files_name_comes_back(space: str, identity: str, name: str) -> None:
    """Whatever a file is called."""
    for key, kind in ((file_key(space, identity, name), "file"), (range_key(file_key(space, identity, name)), "part")):
        parsed = parse_key(key)
        assert (parsed.kind, parsed.space, parsed.identity, parsed.name) == (kind, space, identity, name)


@given(st.text(max_size=60))
def test_anything_is_a_key_of_some_kind(text: str) -> None:
    assert parse_key(text).kind in {"file", "part", "page", "view", "root", "other"}


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (f"file|-|{DIGEST}|{WHEEL}", f"one {WHEEL}"),
        (f"part|-|{DIGEST}|{WHEEL}", f"one part {WHEEL}"),
        ("page|-|pypi|one|json", "one page json"),
        ("view|slash|json|page|-|pypi|one|html", "one view slash json"),
        ("root|-|pypi|json", "root json"),
        ("hosts", "hosts"),
    ],
)
def test_a_key_for_people(key: str, shown: str) -> None:
    assert str(parse_key(key)) == shown


def test_a_space_is_shown_in_part() -> None:
    """Enough to tell two apart, and nothing to make a key with."""
    assert ParsedKey(kind="other", space=SPACE).shown_space == "private:01234567"
    assert ParsedKey(kind="other").shown_space == "public"
