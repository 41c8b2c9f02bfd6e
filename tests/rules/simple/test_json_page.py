"""JSON pages: where the links are and what each file says, compared with `json`; what is no page."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.page_model import BrokenPage, edit
from pkgcache.rules.simple.rewriting import rewrite
from tests.rules.simple.pages import (
    JSON_FILES,
    JSON_VALUES,
    context,
)


def body_of(files: str, meta: str = '{"api-version": "1.3"}') -> bytes:
    return f'{{"meta": {meta}, "files": {files}}}'.encode()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ('[{"url": "x"}]', ["x"]),
        ('[ {"url"\r\n:\t"x" } , {"url":"y"}\n]', ["x", "y"]),
        (r'[{"url": "a\/b\u0063"}]', [r"a\/b\u0063"]),
        pytest.param(r'[{"\u0075rl": "x", "in": {"url": "x"}}]', ["x"], id="an escaped name, the same inside"),
        pytest.param('[{"in": {"url": "y"}, "url": "x"}]', ["x"], id="one inside before"),
        pytest.param('[{"url": "x", "in": [{"url": "y"}]}]', ["x"], id="one inside after"),
        pytest.param('[{"url": "x", "url": "y"}]', ["y"], id="of duplicates the last"),
        pytest.param('[{"filename": "url", "url": "x"}]', ["x"], id="as a value"),
        pytest.param(r'[{"yanked": "\"url\": \"y\"", "url": "x"}]', ["x"], id="inside a string"),
        pytest.param(r'[{"a\"url": "y", "url": "x"}]', ["x"], id="at a name's end"),
        pytest.param('[{"in": {"url": "y"}}]', [], id="only inside"),
        ('[{"url": ""}, {"url": null}, {"url": 1}, {}, 1, null, [], "url"]', []),
        ('[{"url": "é😀x"}]', ["é😀x"]),
        ("[]", []),
    ],
)
def test_spans_of_urls(files: str, found: list[str]) -> None:
    body = body_of(files)
    page = read_json(body)
    assert [page.text[link.start : link.end] for link in page.links] == found
    assert [link.href for link in page.links] == [json.loads(f'"{value}"') for value in found]
    changed = json.loads(edit(page, [(link.start, link.end, "new") for link in page.links]))["files"]
    assert [file.get("url") for file in changed if isinstance(file, dict) and file.get("url")] in (
        ["new"] * len(found),
        [1],
    )


def test_the_place_of_an_escaped_name() -> None:
    body = body_of(r'[{"in": {"url": "x"}, "\u0075rl": "x"}]')
    (link,) = read_json(body).links
    assert json.loads(edit(read_json(body), [(link.start, link.end, "new")]))["files"] == [
        {"in": {"url": "x"}, "url": "new"}
    ]


@pytest.mark.parametrize(
    ("member", "field", "value"),
    [
        ('"filename": "b-1.whl"', "filename", "b-1.whl"),
        ('"filename": 1', "filename", ""),
        ('"hashes": {"sha256": "0", "md5": 1}', "hashes", {"sha256": "0"}),
        ('"hashes": null', "hashes", {}),
        ('"core-metadata": {"sha256": "1"}, "dist-info-metadata": true', "core_metadata", {"sha256": "1"}),
        ('"core-metadata": false, "dist-info-metadata": true', "core_metadata", False),
        ('"core-metadata": null, "dist-info-metadata": true', "core_metadata", True),
        ('"core-metadata": {}', "core_metadata", True),
        ('"size": 12', "size", 12),
        ('"size": true', "size", None),
        ('"size": "12"', "size", None),
        ('"upload-time": "2024-01-01T00:00:00Z"', "upload_time", "2024-01-01T00:00:00Z"),
        ('"upload-time": null', "upload_time", ""),
        ('"yanked": "bad"', "yanked", "bad"),
        ('"yanked": true', "yanked", True),
        ('"yanked": ""', "yanked", False),
        ('"yanked": null', "yanked", False),
    ],
)
def test_what_a_file_says(member: str, field: str, value: object) -> None:
    (link,) = read_json(body_of(f'[{{"url": "x", {member}}}]')).links
    assert getattr(link, field) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cut short"),
        (b"<html>", "not JSON"),
        (b"[]", "no object"),
        (b"1", "no object"),
        (b"{", "cut short"),
        (b"{}", "no array"),
        (b'{"files": {}}', "no array"),
        (b'{"files": [', "cut short"),
        (b'{"files": [{"url": "x"}', "cut short"),
        (b'{"files": [{"url": "x"}]', "cut short"),
        (b'{"files": [{"url": "x"}] "a": 1}', "expected"),
        (b'{"files": [{"url": "x"},]}', "expected"),
        (b'{"files": [],}', "expected"),
        (b'{"files" []}', "expected"),
        (b'{"files": []} x', "text after"),
        (b'{"files": [], 1: 2}', "expected"),
        (b'{"files": [\xff]}', "not UTF-8"),
        (b'{"files": [], "files": null}', "no array"),
        (b'{"files": ' + b"[" * 200_000, "not JSON"),
    ],
)
def test_broken_pages(body: bytes, why: str) -> None:
    with pytest.raises(BrokenPage, match=why) as caught:
        read_json(body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("meta", ["null", "7", "[]", '"1.0"', "{}", '{"api-version": "2.0"}', '{"api-version": null}'])
def test_the_version_is_the_clients_to_judge(meta: str) -> None:
    """pip and uv take all of these."""
    assert [link.href for link in read_json(body_of('[{"url": "x"}]', meta)).links] == ["x"]


def test_a_byte_order_mark_and_a_duplicate_member() -> None:
    body = b'\xef\xbb\xbf\r\n{"files": [{"url": "x"}], "files": [{"url": "../y"}]}\r\n'
    assert [link.href for link in read_json(body).links] == ["../y"]
    assert rewrite(body, "json", context(files="")).body == body.replace(b"../y", b"https://mirror.test/pypi/simple/y")


@given(
    st.lists(JSON_FILES | JSON_VALUES, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.dictionaries(st.sampled_from(["a", "meta2", "url"]), JSON_VALUES),
)
def test_json_spans_are_those_of_the_urls(
    files: list[Any], ascii_only: bool, indent: Any, more: dict[str, Any]
) -> None:
    text = json.dumps({**more, "files": files, "meta": {}}, ensure_ascii=ascii_only, indent=indent)
    page = read_json(text.encode())
    wanted = [file for file in files if isinstance(file, dict) and isinstance(file.get("url"), str) and file["url"]]
    assert [link.href for link in page.links] == [file["url"] for file in wanted]
    for file in wanted:
        file["url"] = "new"
    changed = json.loads(edit(page, [(link.start, link.end, "new") for link in page.links]))
    assert changed == json.loads(json.dumps({**more, "files": files, "meta": {}}))
