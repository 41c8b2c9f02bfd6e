"""Which entries a command means: by globs of project names, by kind, by digest."""

import click
import pytest

from pkgcache.cli.commands.purge import purge
from pkgcache.cli.selection import Globs, digest_of, kinds_of, read_duration
from pkgcache.engine.store.keys import EntryKind, ParsedKey

SPACE = "0123456789abcdef0123456789abcdef"
DIGEST = "blake2b:" + "a" * 64


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


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], True),
        (["*"], True),
        (["six", "**"], True),
        (["six *"], True),
        (["?*"], True),
        (["s*"], False),
        (["six"], False),
    ],
)
def test_lists_of_all_projects(words: list[str], meant: bool) -> None:
    """They are of no project; `purge '*'` left them, and `ls` did not know them."""
    assert Globs.parse(words).match(ParsedKey(kind="root", index="pypi")) is meant
    assert Globs.parse(words).every is (meant and bool(words))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("5 m", 300), ("1.5h", 5400), ("30d", 2592000), ("2w", 1209600), ("0s", 0), ("30D", 2592000)],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert read_duration(click.Context(purge), click.Option(["--older-than"]), text) == seconds


@pytest.mark.parametrize("text", ["5", "0", "1.5", " 30 ", "30 ", "1e3", "", "d", "5y"])
def test_a_duration_without_a_unit(text: str) -> None:
    """`--older-than 5` meant seconds, and purged nearly everything."""
    with pytest.raises(click.BadParameter, match="expected a time"):
        read_duration(click.Context(purge), click.Option(["--older-than"]), text)


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
