"""Which entries a command means: by globs of project names, by kind, by digest."""

import pytest

from pkgcache.cli.selection import Globs, digest_of, kinds_of
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
