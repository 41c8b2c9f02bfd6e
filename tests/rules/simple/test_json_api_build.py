"""Documents of the older JSON API made of a page and a wheel's metadata."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pkgcache.rules.simple.json_api import read_document, rewrite_document
from pkgcache.rules.simple.json_api_build import build_document, find_release
from tests.rules.simple.pages import FILES, RELEASE, WHEEL, context


def page(*files: dict[str, Any]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "six", "files": list(files)}).encode()


def file(filename: str, **more: Any) -> dict[str, Any]:
    return {"filename": filename, "url": f"{FILES}{RELEASE}{filename}", "hashes": {"sha256": "00"}, **more}


def wheel(version: str, **more: Any) -> dict[str, Any]:
    return file(f"six-{version}-py3-none-any.whl", **more)


@pytest.mark.parametrize(
    ("files", "asked", "found"),
    [
        ([wheel("1.0"), wheel("2.0")], "1.0", "1.0"),
        ([wheel("1.0"), wheel("2.0")], "1.0.0", "1.0"),
        ([wheel("1.0"), wheel("2.0")], "v1", "1.0"),
        ([wheel("1.0"), wheel("2.0")], "3.0", None),
        ([wheel("1.0"), wheel("2.0")], "latest", None),
        ([wheel("1.0"), wheel("10.0"), wheel("9.0")], "", "10.0"),
        ([wheel("1.0"), wheel("2.0rc1")], "", "1.0"),
        ([wheel("1.0rc1"), wheel("2.0rc1")], "", "2.0rc1"),
        ([wheel("1.0"), wheel("2.0", yanked="bad")], "", "1.0"),
        ([wheel("1.0", yanked=True), wheel("2.0", yanked="bad")], "", "2.0"),
        ([wheel("1.0rc1"), wheel("2.0", yanked=True)], "", "1.0rc1"),
        ([file("six-1.0.tar.gz"), file("six-1.0.zip"), file("nonsense"), {"filename": "six-2.0.tar.gz"}], "", "1.0"),
        ([], "", None),
        ([file("nonsense")], "", None),
    ],
)
def test_which_release(files: list[dict[str, Any]], asked: str, found: str | None) -> None:
    release = find_release(page(*files), asked)
    assert (release and str(release.version)) == found
    assert release is None or all(Version(found or "") == release.version for each in release.files if each)


def test_which_wheel() -> None:
    """One whose metadata is there by itself, then one for any platform: it is the smallest, and all say the same."""
    platform, plain = "six-1.0-cp312-cp312-linux_x86_64.whl", "six-1.0-py3-none-any.whl"
    for files, chosen in (
        ([file("six-1.0.tar.gz")], None),
        ([file(platform), file(plain)], plain),
        ([file(platform, **{"core-metadata": {"sha256": "00"}}), file(plain)], platform),
        ([file(platform, **{"dist-info-metadata": True}), file(plain, **{"core-metadata": True})], plain),
        ([file(platform, **{"core-metadata": False, "dist-info-metadata": True}), file(plain)], plain),
        ([file(platform, **{"core-metadata": {}}), file(plain)], platform),
    ):
        release = find_release(page(*files), "1.0")
        assert release
        assert (release.wheel or {}).get("filename") == chosen


METADATA = b"""Metadata-Version: 2.1
Name: Six
Version: 1.0
Summary: Python 2 and 3
Requires-Python: >= 2.7, !=3.0.*
Requires-Dist: leaf (>=1)
Requires-Dist: more; extra == 'all'
Keywords: a,b
Classifier: Private :: x

Long words
"""


@pytest.mark.parametrize(
    ("metadata", "info"),
    [
        (
            METADATA,
            {
                "name": "Six",
                "summary": "Python 2 and 3",
                "requires_python": "!=3.0.*,>=2.7",
                "requires_dist": ["leaf (>=1)", "more; extra == 'all'"],
                "keywords": "a,b",
                "classifiers": ["Private :: x"],
            },
        ),
        (b"Metadata-Version: 2.1\nName: six\nVersion: 1.0\n", {"requires_dist": [], "requires_python": "<4,>=3.8"}),
        (b"Name: six\nRequires-Python: nonsense\n", {"requires_python": "nonsense"}),
        (b"", {"name": "six", "requires_dist": []}),
        (b"\xff\x00 garbage", {"name": "six", "requires_dist": []}),
        (None, {"name": "six", "requires_dist": None, "requires_python": "<4,>=3.8", "summary": None}),
    ],
)
def test_info(metadata: bytes | None, info: dict[str, Any]) -> None:
    release = find_release(page(wheel("1.0", **{"requires-python": ">=3.8, <4"})), "1.0")
    assert release
    made = json.loads(build_document("six", release, metadata))["info"]
    assert {name: made[name] for name in info} == info
    assert (made["version"], made["yanked"]) == ("1.0", False)


@pytest.mark.parametrize(
    ("files", "yanked", "reason"),
    [
        ([wheel("1.0", yanked="bad"), file("six-1.0.tar.gz", yanked=True)], True, "bad"),
        ([wheel("1.0", yanked="bad"), file("six-1.0.tar.gz")], False, None),
        ([wheel("1.0", yanked=True)], True, None),
        ([wheel("1.0", yanked="")], False, None),
    ],
)
def test_a_release_is_yanked_if_all_of_it_is(files: list[dict[str, Any]], yanked: bool, reason: str | None) -> None:
    release = find_release(page(*files), "1.0")
    assert release
    info = json.loads(build_document("six", release, None))["info"]
    assert (info["yanked"], info["yanked_reason"]) == (yanked, reason)


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ({"size": 7}, {"size": 7}),
        (
            {},
            {"size": None, "upload_time": None, "upload_time_iso_8601": None, "requires_python": None, "yanked": False},
        ),
        (
            {"upload-time": "2024-05-01T12:00:00.123456Z"},
            {"upload_time": "2024-05-01T12:00:00", "upload_time_iso_8601": "2024-05-01T12:00:00.123456Z"},
        ),
        ({"yanked": "bad"}, {"yanked": True, "yanked_reason": "bad"}),
        ({"yanked": True}, {"yanked": True, "yanked_reason": None}),
        (
            {"hashes": {"sha256": "11", "md5": "22", "x": 1}},
            {"digests": {"sha256": "11", "md5": "22"}, "md5_digest": "22"},
        ),
        ({"hashes": None}, {"digests": {}}),
        ({"requires-python": ">= 3.10"}, {"requires_python": ">=3.10"}),
        ({"filename": "six-1.0-2-cp39.cp310-abi3-linux_x86_64.whl"}, {"python_version": "cp39.cp310"}),
        ({"filename": "six-1.0.tar.gz"}, {"python_version": "source", "packagetype": "sdist"}),
        ({"filename": "six-1.0-py3-none-any.whl"}, {"python_version": "py3", "packagetype": "bdist_wheel"}),
    ],
)
def test_a_files_entry(said: dict[str, Any], made: dict[str, Any]) -> None:
    whole = page(wheel("1.0") | said)
    release = find_release(whole, "1.0")
    assert release
    document = json.loads(build_document("six", release, None, whole))
    (entry,) = document["urls"]
    assert {name: entry[name] for name in made} == made
    assert entry["url"] == f"{FILES}{WHEEL}"
    assert document["releases"] == {"1.0": [entry]}
    assert "releases" not in json.loads(build_document("six", release, None))


@given(
    st.binary(max_size=200),
    st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8)),
)
def test_anything_becomes_a_document(metadata: bytes, said: dict[str, Any]) -> None:
    """Whatever a page's files and a METADATA hold, and our own reader takes it."""
    whole = page({**said, **wheel("1.0")})
    release = find_release(whole, "")
    assert release
    body = build_document("six", release, metadata, whole)
    assert len(read_document(body).page.links) == 2
    assert rewrite_document(body, context()).body is body
