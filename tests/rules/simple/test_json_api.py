"""The older JSON API's documents: links found and edited, files left out, and documents made of a page and a wheel's metadata."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.json_api import read_document, remove_files_of_document, rewrite_document
from pkgcache.rules.simple.json_api_build import build_document, find_release
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage

FILES = "https://files.example"
RELEASE = f"/packages/aa/bb/{'c' * 60}/"
WHEEL = f"{RELEASE}six-1.0-py3-none-any.whl"
CONTEXT = PageContext(
    upstream=parse_url("https://mirror.test/pypi/six/1.0/json"),
    client_url=parse_url("https://index.example/pypi/six/1.0/json"),
    canonical_files=FILES,
    own_prefix="",
)


def edited(text: str) -> str:
    return rewrite_document(text.encode(), CONTEXT).body.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('{"info":{},"urls":[{"url":"@"}]}', '{"info":{},"urls":[{"url":"#"}]}', id="urls"),
        pytest.param(
            '{ "info" : {} , "releases" : { "1.0" : [ { "n" : 1.50 , "url" : "@" } , {"url":"@"} ] , "2" : [] } }\n',
            '{ "info" : {} , "releases" : { "1.0" : [ { "n" : 1.50 , "url" : "#" } , {"url":"#"} ] , "2" : [] } }\n',
            id="releases, and white space",
        ),
        pytest.param(
            '{"urls":[{"url":"@"}],"info":{"url":"@"},"x":{"urls":[{"url":"@"}]}}',
            '{"urls":[{"url":"#"}],"info":{"url":"@"},"x":{"urls":[{"url":"@"}]}}',
            id="no others",
        ),
        pytest.param(
            '{"info":{},"urls":[{"a":{"url":"@"},"url":"@"}]}',
            '{"info":{},"urls":[{"a":{"url":"@"},"url":"#"}]}',
            id="not that of an object inside",
        ),
        pytest.param(
            '{"info":{},"ur\\u006cs":[{"\\u0075rl":"@"}]}', '{"info":{},"ur\\u006cs":[{"\\u0075rl":"#"}]}', id="escapes"
        ),
        *(
            pytest.param(same, same, id=why)
            for same, why in (
                ('{"info":{},"urls":null,"releases":[]}', "other types"),
                ('{"info":{},"urls":[1,null,"@",[],{},{"url":1},{"url":""}]}', "other files"),
                ('{"info":{},"releases":{"1.0":null,"2.0":{"url":"@"}}}', "releases that are no arrays"),
                (f'{{"info":{{}},"urls":[{{"url":"{FILES}{WHEEL}"}}]}}', "right already"),
                ('\ufeff{"info":{},"urls":[]}', "a byte order mark"),
            )
        ),
    ],
)
def test_links(before: str, after: str) -> None:
    for link in (f"../../../packages{WHEEL.removeprefix('/packages')}", f"../../packages/packages{WHEEL[9:]}"):
        text = before.replace("@", link)
        wanted = after.replace("@", link).replace("#", FILES + WHEEL)
        assert edited(text) == wanted
        assert edited(wanted) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cut short"),
        ("{", "cut short"),
        ('{"info":{}', "cut short"),
        ('{"info":{}}x', "text after"),
        ('{"urls":[]}', "no project's document"),
        ("[]", "no object"),
        ('"info"', "no object"),
        ("<html>", "not JSON"),
        ('{"info":{},"urls":[{}{}]}', "expected"),
        ('{"info":{},"urls":[{},]}', "expected"),
    ],
)
def test_what_is_no_document(text: str, why: str) -> None:
    with pytest.raises(BrokenPage, match=why):
        read_document(text.encode())
    with pytest.raises(BrokenPage, match="UTF-8"):
        read_document(b"\xff")


def test_what_a_file_says() -> None:
    file = {
        "url": "x",
        "filename": "six.whl",
        "digests": {"sha256": "00", "md5": None},
        "upload_time_iso_8601": "2024-01-01T00:00:00Z",
        "size": 7,
        "yanked": True,
        "yanked_reason": "bad",
    }
    (link,) = read_document(json.dumps({"info": {}, "urls": [file]}).encode()).page.links
    said = (link.href, link.filename, link.hashes, link.upload_time, link.size, link.yanked, link.core_metadata)
    assert said == ("x", "six.whl", {"sha256": "00"}, "2024-01-01T00:00:00Z", 7, "bad", False)


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=4),
    st.lists(st.integers(0, 5) | st.none(), max_size=4),
    st.sets(st.integers(0, 5)),
    st.sampled_from([None, 1]),
)
def test_leaving_out_is_that_of_a_model(
    releases: list[list[int]], urls: list[int | None], gone: set[int], indent: int | None
) -> None:
    """Each array loses its files and no comma; arrays that lose all stay, and so does what is no file."""
    model: dict[str, Any] = {
        "info": {"version": "1"},
        "releases": {str(n): [{"filename": f"f{i}", "url": "x"} for i in files] for n, files in enumerate(releases)},
        "urls": [None if i is None else {"filename": f"f{i}", "url": "x"} for i in urls],
    }
    names = {f"f{i}" for i in gone}
    left = remove_files_of_document(json.dumps(model, indent=indent).encode(), lambda link: link.filename in names)
    for files in (*model["releases"].values(), model["urls"]):
        files[:] = [file for file in files if file is None or file["filename"] not in names]
    assert json.loads(left.body) == model
    assert left.kept == sum(
        file is not None for files in (*model["releases"].values(), model["urls"]) for file in files
    )


# Made of a page


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
    assert rewrite_document(body, CONTEXT).body is body
