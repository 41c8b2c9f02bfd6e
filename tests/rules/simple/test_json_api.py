"""Documents of the older JSON API: links found and edited, files removed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.json_api import read_document, remove_files_of_document, rewrite_document
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import BrokenPage
from tests.rules.simple.pages import FILES, WHEEL

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
