"""The names of objects: each key has one of its own that every object store takes, and the key can be had back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.engine.shared.bucket import is_outside
from pkgcache.engine.shared.object_names import key_of_object, named_by, object_name, shared_url
from pkgcache.engine.store.keys import (
    StoreKey,
    family_name,
    file_key,
    made_document,
    page_key,
    parse_key,
    project_list_key,
    range_key,
    variant_key,
)
from pkgcache.rules.simple.representations import Representation

SIX = f"file/-/six/sha256=3A{'ab' * 32}"
SHA, BLAKE = "sha256:" + "ab" * 32, "blake2b:" + "cd" * 32


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (file_key("-", SHA, "six-1.0.tar.gz"), f"{SIX}/six-1.0.tar.gz"),
        (file_key("-", BLAKE, "six-1.0-py3-none-any.whl"), f"file/-/six/blake2b=3A{'cd' * 32}/six-1.0-py3-none-any.whl"),
        (file_key("-", SHA, "six-1.0-py3-none-any.whl.metadata"), f"{SIX}/six-1.0-py3-none-any.whl.metadata"),
        (file_key("-", SHA, "torch-2.0+cpu-py3-none-any.whl"), f"file/-/torch/sha256=3A{'ab' * 32}/torch-2.0=2Bcpu-py3-none-any.whl"),
        (file_key("0f" * 16, SHA, "six-1.0.tar.gz"), f"file/{'0f' * 16}/six/sha256=3A{'ab' * 32}/six-1.0.tar.gz"),
        (file_key("-", SHA, ".hidden"), f"file/-/=2Ehidden/sha256=3A{'ab' * 32}/=2Ehidden"),
        (file_key("-", SHA, "é=%|1.tar.gz"), f"file/-/=C3=A9=3D=25=7C1.tar.gz/sha256=3A{'ab' * 32}/=C3=A9=3D=25=7C1.tar.gz"),
        (file_key("-", "https://files.example/six-1.0.tar.gz", "six-1.0.tar.gz"), None),
        (file_key("-", "md5:" + "ab" * 16, "six-1.0.tar.gz"), None),
        (file_key("-", "sha256:ab", "six-1.0.tar.gz"), None),
        (file_key("-", SHA, "x" * 300 + "-1.0.tar.gz"), None),
        (range_key(file_key("-", SHA, "six-1.0.tar.gz")), None),
        (page_key("-", "pypi", "six", Representation.JSON), "page/-/pypi/six/json"),
        (page_key("0f" * 16, "pypi", "six", Representation.HTML), f"page/{'0f' * 16}/pypi/six/html"),
        (page_key("-", "pypi", "six/1.0/json", Representation.JSON), "page/-/pypi/six=2F1.0=2Fjson/json"),
        (page_key("-", "pypi", family_name("six", "uv"), Representation.JSON), "page/-/pypi/six=2Ffor-uv/json"),
        (page_key("-", "pypi@https://mirror.example/simple/", "six", Representation.JSON),
         "page/-/pypi=40https=3A=2F=2Fmirror.example=2Fsimple=2F/six/json"),
        (page_key("-", "pypi", made_document("six/1.0/json"), Representation.JSON), None),
        (page_key("-", "a|b", "six", Representation.JSON), None),
        (page_key("-", "pypi", "x" * 300, Representation.JSON), None),
        (variant_key("slash", "json", page_key("-", "pypi", "six", Representation.JSON)), None),
        (project_list_key("pypi", Representation.JSON), None),
        (StoreKey("hosts"), None),
        (StoreKey("probe"), None),
    ],
)  # fmt: skip
def test_the_name_of_an_entry(key: StoreKey, name: str | None) -> None:
    assert object_name(key) == name
    if name is not None:
        assert key_of_object(name) == key
        assert re.fullmatch(r"[A-Za-z0-9._=/-]+", name)
        assert not any(part in {"", ".", ".."} for part in name.split("/"))
        assert named_by(str(shared_url(name))) == name


@given(st.text(min_size=1, max_size=40), st.sampled_from(["-", "0f" * 16]))
def test_any_file_name(filename: str, space: str) -> None:
    key = file_key(space, SHA, filename) if not re.search("[\ud800-\udfff]", filename) else file_key(space, SHA, "x")
    name = object_name(key)
    if name is not None:
        assert key_of_object(name) == key
        assert re.fullmatch(r"[A-Za-z0-9._=/-]+", name)
        assert parse_key(key).private == (space != "-")


@pytest.mark.parametrize(
    "name",
    [
        "", "file", "probe", "file/-/six", f"{SIX}", f"file/-/seven/sha256=3A{'ab' * 32}/six-1.0.tar.gz",
        f"file/-/six/sha256:{'ab' * 32}/six-1.0.tar.gz", f"file/-/six/sha256=3A{'AB' * 32}/six-1.0.tar.gz",
        "file/-/six/md5=3Aab/six-1.0.tar.gz",
        f"{SIX}/=FF", f"{SIX}/six-1.0.tar.gz#1",
        f"{SIX}/more/six-1.0.tar.gz", "é",
    ],
)  # fmt: skip
def test_what_is_no_object_of_ours(name: str) -> None:
    assert key_of_object(name) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://files.example/file/-/six", None),
        ("https://shared-tier.invalid.example/x", None),
        ("https://shared-tier.invalid", None),
        ("https://shared-tier.invalid/file/-/x", "file/-/x"),
    ],
)
def test_only_the_tiers_own_urls(url: str, name: str | None) -> None:
    assert named_by(url) == name


@pytest.mark.parametrize(
    ("wanted", "size", "outside"),
    [
        ((0, 1), 1, False), ((0, 10), 1, False), ((1, 2), 1, True), ((5, 6), None, True),
        ({"offset": 0}, 1, False), ({"offset": 1}, 1, True), ({"offset": 0}, 0, True),
        ({"suffix": 5}, 1, False), ({"suffix": 0}, 9, True), ({"suffix": 1}, 0, True), ({"suffix": 1}, None, True),
    ],
)  # fmt: skip
def test_what_lies_outside_of_an_object(
    wanted: tuple[int, int] | dict[str, int], size: int | None, *, outside: bool
) -> None:
    assert is_outside(wanted, size) is outside
