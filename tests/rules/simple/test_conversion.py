"""Conversions: tables by PEP, round trips, and pip's own reading of both pages."""

import json
import re
import time
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pip._internal.models.link import Link

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.conversion import html_to_json, json_to_html
from pkgcache.rules.simple.html_page import check_html, read_html
from pkgcache.rules.simple.json_page import read_json
from pkgcache.rules.simple.page_model import BrokenPage

PAGE = parse_url("https://mirror.test/pypi/simple/six/")
SHA256, SHA512, MD5 = "0a" * 32, "0b" * 64, "0c" * 16
WHEEL = "six-1.0-py3-none-any.whl"


def json_page(*files: object, **top: Any) -> bytes:
    return json.dumps({"meta": {"api-version": "1.4"}, "name": "six", **top, "files": files}).encode()


def file(**more: Any) -> dict[str, Any]:
    return {
        "filename": WHEEL,
        "url": f"../../packages/{WHEEL}",
        "hashes": {},
        **{k.replace("_", "-"): v for k, v in more.items()},
    }


def anchors(body: bytes) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                found.append(dict(attrs))

    Reader().feed(body.decode())
    return found


def to_json(body: str, page_url: str = str(PAGE)) -> Any:
    return json.loads(html_to_json(body.encode(), "six", parse_url(page_url)))


# JSON to HTML


def test_a_whole_page_of_html() -> None:
    body = json_page(
        file(
            hashes={"md5": MD5, "sha256": SHA256},
            requires_python=">=3.8,<4",
            core_metadata={"sha256": SHA256},
            yanked='"broken" & <b>',
            gpg_sig=True,
            provenance=f"https://index.test/{WHEEL}/provenance",
            size=1,
            upload_time="2024-01-01T00:00:00Z",
            _private=1,
        ),
        file(filename="six-2.0.tar.gz", url="https://files.example/six-2.0.tar.gz"),
        versions=["1.0", "2.0"],
        **{"project-status": {"status": "archived", "reason": "no more Python 2"}},
    )
    written = json_to_html(body, "Six").decode()
    assert written == (
        "<!DOCTYPE html>\n"
        "<html>\n"
        "  <head>\n"
        '    <meta name="pypi:repository-version" content="1.4">\n'
        '    <meta name="pypi:project-status" content="archived">\n'
        '    <meta name="pypi:project-status-reason" content="no more Python 2">\n'
        "    <title>Links for six</title>\n"
        "  </head>\n"
        "  <body>\n"
        "    <h1>Links for six</h1>\n"
        f'    <a href="../../packages/{WHEEL}#sha256={SHA256}" data-requires-python="&gt;=3.8,&lt;4" '
        f'data-dist-info-metadata="sha256={SHA256}" data-core-metadata="sha256={SHA256}" '
        'data-yanked="&quot;broken&quot; &amp; &lt;b&gt;" data-gpg-sig="true" '
        f'data-provenance="https://index.test/{WHEEL}/provenance">{WHEEL}</a><br />\n'
        '    <a href="https://files.example/six-2.0.tar.gz">six-2.0.tar.gz</a><br />\n'
        "  </body>\n"
        "</html>\n"
    )
    check_html(read_html(written.encode()))


@pytest.mark.parametrize(
    ("more", "attribute", "value"),
    [
        pytest.param(
            {"hashes": {"sha256": SHA256, "sha512": SHA512}}, "href", f"x#sha256={SHA256}", id="PEP 503 sha256"
        ),
        pytest.param({"hashes": {"md5": MD5, "sha512": SHA512}}, "href", f"x#sha512={SHA512}", id="else the strongest"),
        pytest.param({"hashes": {"md5": MD5}}, "href", f"x#md5={MD5}", id="else what there is"),
        pytest.param(
            {"hashes": {"sha256": "a&b=c", "md5": MD5}}, "href", f"x#md5={MD5}", id="what is no hash is passed over"
        ),
        pytest.param({"hashes": {"crc32": "00"}}, "href", "x", id="a hash that HTML has no name for"),
        pytest.param({"hashes": {}}, "href", "x", id="PEP 691 no hash"),
        pytest.param({"hashes": None}, "href", "x", id="no hashes"),
        pytest.param({"url": "x#sha256=00", "hashes": {}}, "href", "x#sha256=00", id="a hash in the URL"),
        pytest.param(
            {"url": "x#md5=00", "hashes": {"sha256": SHA256}}, "href", f"x#sha256={SHA256}", id="one fragment"
        ),
        pytest.param({"url": "x?a=1&b=2"}, "href", "x?a=1&b=2", id="a query"),
        pytest.param({"requires_python": None}, "data-requires-python", None, id="null"),
        pytest.param({"requires_python": ""}, "data-requires-python", None, id="empty"),
        pytest.param({"requires_python": ">=3"}, "data-requires-python", ">=3", id="PEP 503 requires-python"),
        pytest.param({"core_metadata": True}, "data-core-metadata", "true", id="PEP 714 without hash"),
        pytest.param({"core_metadata": True}, "data-dist-info-metadata", "true", id="PEP 714 the old name"),
        pytest.param(
            {"core_metadata": {"x": "1"}}, "data-core-metadata", "true", id="PEP 714 no hash that HTML can tell"
        ),
        pytest.param({"core_metadata": False}, "data-core-metadata", None, id="PEP 714 false"),
        pytest.param(
            {"dist_info_metadata": {"md5": MD5}}, "data-core-metadata", f"md5={MD5}", id="PEP 658 the old name"
        ),
        pytest.param({"yanked": False}, "data-yanked", None, id="PEP 592 not yanked"),
        pytest.param({"yanked": True}, "data-yanked", "", id="PEP 592 without reason"),
        pytest.param({"yanked": "bad\nwheel"}, "data-yanked", "bad\nwheel", id="PEP 592 with one"),
        pytest.param({"gpg_sig": True}, "data-gpg-sig", "true", id="PEP 503 signed"),
        pytest.param({"gpg_sig": False}, "data-gpg-sig", "false", id="PEP 503 not signed"),
        pytest.param({"gpg_sig": None}, "data-gpg-sig", None, id="PEP 503 not known"),
        pytest.param({"provenance": "https://x.test/p"}, "data-provenance", "https://x.test/p", id="PEP 740"),
        pytest.param({"provenance": None}, "data-provenance", None, id="PEP 740 none"),
    ],
)
def test_what_an_anchor_gets(more: dict[str, Any], attribute: str, value: str | None) -> None:
    (anchor,) = anchors(json_to_html(json_page(file(**{"url": "x", **more})), "six"))
    assert anchor.get(attribute) == value


@pytest.mark.parametrize(
    ("top", "metas"),
    [
        pytest.param({}, [("repository-version", "1.4")], id="PEP 629"),
        pytest.param({"meta": {}}, [("repository-version", "1.0")], id="PEP 629 not said"),
        pytest.param({"meta": "1.1"}, [("repository-version", "1.0")], id="no object"),
        pytest.param(
            {"meta": {"tracks": ["https://a.test/", 1, "https://b.test/"]}, "alternate-locations": ["https://c.test/"]},
            [
                ("repository-version", "1.0"),
                ("tracks", "https://a.test/"),
                ("tracks", "https://b.test/"),
                ("alternate-locations", "https://c.test/"),
            ],
            id="PEP 708",
        ),
        pytest.param(
            {"project-status": {"status": "quarantined"}},
            [("repository-version", "1.4"), ("project-status", "quarantined")],
            id="PEP 792",
        ),
        pytest.param(
            {"project-status": "active", "alternate-locations": None}, [("repository-version", "1.4")], id="no objects"
        ),
        pytest.param(
            {"project-status": {"status": '"><script>', "reason": ""}},
            [("repository-version", "1.4"), ("project-status", "&quot;&gt;&lt;script&gt;")],
            id="nothing gets out of its quotes",
        ),
    ],
)
def test_what_the_head_gets(top: dict[str, Any], metas: list[tuple[str, str]]) -> None:
    head = json_to_html(json_page(**top), "six").decode().partition("    <title>")[0]
    assert head.split("  <head>\n")[1] == "".join(f'    <meta name="pypi:{n}" content="{c}">\n' for n, c in metas)


def test_files_that_html_cannot_tell_are_left_out() -> None:
    body = json_page(1, None, {}, {"url": "x"}, {"filename": "x"}, file(filename=1), file(url=""), file())
    assert [anchor["href"] for anchor in anchors(json_to_html(body, "six"))] == [f"../../packages/{WHEEL}"]


def test_an_empty_page_is_still_a_project_page() -> None:
    check_html(read_html(json_to_html(json_page(), "six")))
    assert read_json(html_to_json(json_to_html(json_page(), "six"), "six", PAGE)).links == ()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        *(b'{"files": [], "meta": {"api-version": %b}}' % version for version in (b'"2.0"', b'"x"', b"null")),
    ],
)
def test_no_json_page(body: bytes) -> None:
    with pytest.raises(BrokenPage):
        json_to_html(body, "six")


def test_a_project_in_another_spelling_and_a_byte_order_mark() -> None:
    written = json_to_html(b"\xef\xbb\xbf" + json_page(), "Foo_.Bar<")
    assert b"<h1>Links for foo-bar&lt;</h1>" in written


# HTML to JSON


def test_a_whole_page_of_json() -> None:
    model = to_json(f"""<!DOCTYPE html>
        <html><head><meta name="pypi:repository-version" content="1.1"><title>Links for six</title></head><body>
        <a href="../">up</a>
        <a href="../../packages/{WHEEL}#sha256={SHA256}" data-requires-python="&gt;=3" data-gpg-sig="false"
           data-core-metadata="sha256={SHA256}" data-yanked="bad" data-size="7" data-upload-time="2024">{WHEEL}</a><br>
        <a href="https://files.example/six-2.0.tar.gz">six-2.0.tar.gz</a><br>
        </body></html>""")
    assert model == {
        "meta": {"api-version": "1.0"},
        "name": "six",
        "files": [
            {
                "filename": WHEEL,
                "url": f"../../packages/{WHEEL}",
                "hashes": {"sha256": SHA256},
                "requires-python": ">=3",
                "core-metadata": {"sha256": SHA256},
                "dist-info-metadata": {"sha256": SHA256},
                "yanked": "bad",
                "gpg-sig": False,
            },
            {"filename": "six-2.0.tar.gz", "url": "https://files.example/six-2.0.tar.gz", "hashes": {}},
        ],
    }


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        pytest.param("", {}, id="nothing is invented"),
        pytest.param("data-requires-python", {}, id="no value"),
        pytest.param("data-requires-python=''", {}, id="an empty one"),
        pytest.param("data-requires-python='&gt;=3.8, !=3.9'", {"requires-python": ">=3.8, !=3.9"}, id="PEP 503"),
        pytest.param("data-core-metadata=true", {"core-metadata": True, "dist-info-metadata": True}, id="PEP 714"),
        pytest.param("data-dist-info-metadata=true", {"core-metadata": True, "dist-info-metadata": True}, id="PEP 658"),
        pytest.param("data-yanked", {"yanked": True}, id="PEP 592 without value"),
        pytest.param("data-yanked=''", {"yanked": True}, id="PEP 592 empty"),
        pytest.param("data-yanked='é &amp; ü'", {"yanked": "é & ü"}, id="PEP 592 with reason"),
        pytest.param("data-gpg-sig=true", {"gpg-sig": True}, id="signed"),
        pytest.param("data-gpg-sig=maybe", {}, id="no PEP 503 value"),
        pytest.param("data-provenance='https://x.test/p'", {"provenance": "https://x.test/p"}, id="PEP 740"),
        pytest.param("data-size=1 data-upload-time=2024-01-01T00:00:00Z", {}, id="attributes that no PEP knows"),
    ],
)
def test_what_a_file_gets(attributes: str, said: dict[str, Any]) -> None:
    (found,) = to_json(f"<a {attributes} href='{WHEEL}'>x</a>")["files"]
    assert found == {"filename": WHEEL, "url": WHEEL, "hashes": {}, **said}


@pytest.mark.parametrize(
    ("href", "url", "hashes"),
    [
        pytest.param(f"../{WHEEL}", f"../{WHEEL}", {}, id="relative"),
        pytest.param(f"/p/{WHEEL}?a=1", f"/p/{WHEEL}?a=1", {}, id="a query"),
        pytest.param(f"{WHEEL}#sha256={SHA256}", WHEEL, {"sha256": SHA256}, id="PEP 503 its hash"),
        pytest.param(
            f"{WHEEL}#sha256={SHA256}&amp;md5={MD5}&amp;egg=six",
            WHEEL,
            {"sha256": SHA256, "md5": MD5},
            id="several hashes, and more",
        ),
        pytest.param(f"{WHEEL}#egg=six", f"{WHEEL}#egg=six", {}, id="a fragment that is no hash"),
        pytest.param(f" \n../{WHEEL}\t ", f"../{WHEEL}", {}, id="white space around"),
        pytest.param(f"..\n/{WHEEL}", f"../{WHEEL}", {}, id="a line end inside"),
        pytest.param("six%2D1.0.tar.gz", "six%2D1.0.tar.gz", {}, id="an escaped name"),
    ],
)
def test_urls(href: str, url: str, hashes: dict[str, str]) -> None:
    (found,) = to_json(f'<a href="{href}">x</a>')["files"]
    assert (found["url"], found["hashes"]) == (url, hashes)
    assert found["filename"] in {WHEEL, "six-1.0.tar.gz"}


def test_a_link_without_a_name_has_its_text() -> None:
    (found,) = to_json(f"<a href='https://files.example/123/#sha256={SHA256}'> six-1.0.tar.gz </a>")["files"]
    assert found == {"filename": "six-1.0.tar.gz", "url": "https://files.example/123/", "hashes": {"sha256": SHA256}}


@pytest.mark.parametrize(
    "anchor",
    [
        pytest.param("<a href='../'>six-1.0</a>", id="no file name's ending"),
        pytest.param("<a href='?C=N'>six-1.0.tar.gz</a>", id="this page, sorted"),
        pytest.param("<a href='#six-1.0.tar.gz'>six-1.0.tar.gz</a>", id="this page"),
        pytest.param("<a name='six-1.0.tar.gz'>six-1.0.tar.gz</a>", id="no link"),
        pytest.param("<a href='six-1.0.tar.gz.asc'>x</a>", id="a signature"),
        pytest.param(f"<a href='{WHEEL}.metadata'>x</a>", id="PEP 658 metadata"),
        pytest.param("<a href='index.html'>x</a>", id="another page"),
        pytest.param("<a href='mailto:six-1.0.tar.gz'>x</a>", id="mail"),
        pytest.param("<a href='file:///six-1.0.tar.gz'>x</a>", id="a local file"),
        pytest.param("<a href='..%2Fsix-1.0.tar.gz'>x</a>", id="a slash in the name"),
        pytest.param("<a href='a%5Csix-1.0.tar.gz'>x</a>", id="a backslash in the name"),
        pytest.param("<a href='six%00-1.0.tar.gz'>x</a>", id="a control character in the name"),
        pytest.param("<!-- <a href='six-1.0.tar.gz'>x</a> -->", id="in a comment"),
    ],
)
def test_what_is_no_release_file(anchor: str) -> None:
    assert to_json(anchor)["files"] == []


@pytest.mark.parametrize(
    ("base", "href", "url"),
    [
        ("https://files.example/a/", f"b/{WHEEL}", f"https://files.example/a/b/{WHEEL}"),
        ("https://files.example/a/b", f"../{WHEEL}#sha256={SHA256}", f"https://files.example/{WHEEL}"),
        ("https://files.example/a/", f"https://h.test/{WHEEL}", f"https://h.test/{WHEEL}"),
        pytest.param(
            "../../files/", WHEEL, f"https://mirror.test/pypi/files/{WHEEL}", id="a base relative to the page"
        ),
        pytest.param("//files.example/", WHEEL, f"https://files.example/{WHEEL}", id="a base relative to the scheme"),
        pytest.param("mailto:x", f"../{WHEEL}", f"../{WHEEL}", id="a base that makes no sense"),
        pytest.param("", WHEEL, f"https://mirror.test/pypi/simple/six/{WHEEL}", id="an empty base is the page"),
    ],
)
def test_a_base(base: str, href: str, url: str) -> None:
    (found,) = to_json(f"<base href='{base}'><a href='{href}'>x</a>")["files"]
    assert found["url"] == url


def test_a_link_that_has_no_meaning_on_its_base_is_left_out() -> None:
    assert to_json(f"<base href='https://files.example/'><a href='http://[/{WHEEL}'>x</a>")["files"] == []


def test_what_html_says_of_the_whole_page() -> None:
    model = to_json("""<meta name="pypi:project-status" content="archived"><META NAME='PyPI:project-status-reason' content=old>
        <meta name="pypi:tracks" content="https://a.test/"><meta name="pypi:tracks" content="https://b.test/">
        <meta name="pypi:alternate-locations" content="https://c.test/"><meta charset=utf-8><meta name="pypi:tracks">""")
    assert model == {
        "meta": {"api-version": "1.0", "tracks": ["https://a.test/", "https://b.test/"]},
        "name": "six",
        "project-status": {"status": "archived", "reason": "old"},
        "alternate-locations": ["https://c.test/"],
        "files": [],
    }


def test_names_are_normalised() -> None:
    assert json.loads(html_to_json(b"", "Foo__Bar.baz", PAGE))["name"] == "foo-bar-baz"


@pytest.mark.parametrize("version", ["2.0", "", "x"])
def test_html_of_another_version(version: str) -> None:
    with pytest.raises(BrokenPage, match="repository-version"):
        to_json(f"<meta name='pypi:repository-version' content='{version}'>")


# Round trips


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
HASH_NAMES, HASH_VALUES = st.sampled_from(["sha256", "sha512", "md5"]), st.sampled_from(["0a" * 16, "FF"])
NAMES = st.builds(
    "{0}-{1}{2}".format,
    st.sampled_from(["six", "S.x_y", "é"]),
    st.sampled_from(["1.0", "2.0+cpu.1", "1!2", "3 4", "5&6", "100%41", "7#8?"]),
    st.sampled_from([".tar.gz", ".zip", "-py3-none-any.whl", ".egg"]),
)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    filename = draw(NAMES)
    folder = draw(st.sampled_from(["", "../../packages/aa/", "https://files.example/p/", "/a%20b/", "//h.test/"]))
    made: dict[str, Any] = {
        "filename": filename,
        "url": folder + quote(filename, safe="+!"),
        "hashes": draw(st.dictionaries(HASH_NAMES, HASH_VALUES, max_size=2)),
    }
    optional = {
        "requires-python": st.sampled_from([">=3.8", "<4,>=3.7,!=3.9.*", "~= 3.10"]),
        "core-metadata": st.just(True) | st.dictionaries(HASH_NAMES, HASH_VALUES, min_size=1, max_size=2),
        "yanked": st.booleans() | TEXTS,
        "gpg-sig": st.booleans(),
        "provenance": st.just("https://index.test/x/provenance?a=1&b=2"),
        "size": st.integers(0),
        "upload-time": st.just("2024-01-01T00:00:00Z"),
        "x": TEXTS,
    }
    return made | draw(st.fixed_dictionaries({}, optional=optional))  # type: ignore[arg-type]


def one_hash(hashes: dict[str, str]) -> dict[str, str]:
    """The one that HTML can tell."""
    return next(({name: hashes[name]} for name in ("sha256", "sha512", "md5") if name in hashes), {})


def told(made: dict[str, Any]) -> dict[str, Any]:
    """What of a file is left when HTML has told it."""
    kept = {"filename", "url", "requires-python", "yanked", "gpg-sig", "provenance"}
    left = {key: value for key, value in made.items() if key in kept and (key != "yanked" or value)}
    if metadata := made.get("core-metadata"):
        metadata = metadata if metadata is True else one_hash(metadata)
        left |= {"core-metadata": metadata, "dist-info-metadata": metadata}
    return left | {"hashes": one_hash(made["hashes"])}


@given(
    st.lists(files(), max_size=4),
    st.fixed_dictionaries(
        {},
        optional={
            "project-status": st.fixed_dictionaries({"status": TEXTS}, optional={"reason": TEXTS}),
            "alternate-locations": st.lists(TEXTS, min_size=1, max_size=2),
        },
    ),
    st.booleans(),
)
def test_json_to_html_to_json(made: list[dict[str, Any]], top: dict[str, Any], ascii_only: bool) -> None:
    page = {"meta": {"api-version": "1.1"}, "name": "six", "versions": ["1"], "files": made, **top}
    there = json_to_html(json.dumps(page, ensure_ascii=ascii_only).encode(), "six")
    back = json.loads(html_to_json(there, "six", PAGE))
    assert back == {"meta": {"api-version": "1.0"}, "name": "six", **top, "files": [told(each) for each in made]}
    assert there.isascii()
    again = json_to_html(json.dumps(back).encode(), "six")
    assert again == there.replace(b'content="1.1"', b'content="1.0"', 1), "what HTML can tell, it tells again"


@given(st.lists(files(), max_size=4))
def test_both_pages_say_the_same_to_our_reader(made: list[dict[str, Any]]) -> None:
    body = json_page(*made)
    there = read_html(json_to_html(body, "six")).links
    for mine, other in zip(read_json(body).links, there, strict=True):
        assert mine.href == other.href.partition("#")[0]
        assert (mine.filename, mine.yanked) == (other.filename, other.yanked)
        assert bool(mine.core_metadata) == bool(other.core_metadata)
        assert one_hash(dict(mine.hashes)) == other.hashes


@given(st.lists(files(), max_size=4))
def test_both_pages_say_the_same_to_pip(made: list[dict[str, Any]]) -> None:
    body = json_page(*made)
    from_html = [Link.from_element(each, str(PAGE), str(PAGE)) for each in anchors(json_to_html(body, "six"))]
    for each, mine in zip(made, from_html, strict=True):
        other = Link.from_json(each, str(PAGE))
        assert mine
        assert other
        assert (mine.url_without_fragment, mine.filename) == (other.url_without_fragment, other.filename)
        assert (mine.requires_python, mine.yanked_reason) == (other.requires_python, other.yanked_reason)
        assert (mine.metadata_file_data is None) == (other.metadata_file_data is None)
        assert one_hash(each["hashes"]) == {} or mine.as_hashes()


@given(st.lists(st.text() | st.sampled_from(["\0", "\ud800", "\x85", "\ufdd0", "\r\n", "`", "'"])).map("".join))
def test_any_text_is_written(text: str) -> None:
    page = json_page(
        {"filename": text, "url": text, "requires-python": text, "yanked": text, "provenance": text},
        **{"project-status": {"status": text, "reason": text}},
    )
    written = json_to_html(page, text)
    assert len(re.findall(rb"<[a-z]", written)) == 6 + 4 * bool(text), "nothing gets out of its quotes"
    assert len(read_html(written).links) <= 1, "of some characters HTML has none: a link may come to nothing"
    json.loads(html_to_json(written, text, PAGE))


@given(st.binary(max_size=80) | st.text("<a href='x.zip' meta name=>/\"#& ", max_size=80).map(str.encode))
def test_any_html_becomes_a_page(body: bytes) -> None:
    read_json(html_to_json(body, "six", PAGE))


# Time


def test_a_large_page_is_converted_in_time() -> None:
    """8,000 files, 3 to 4 MB: 250 to 450 ms each way, off the event loop; the limit leaves room for slow machines."""
    names = [f"big-1.{number}.tar.gz" for number in range(8000)]
    body = json_page(
        *(
            file(
                filename=name,
                url=f"https://files.example/packages/aa/bb/{'c' * 60}/{name}",
                hashes={"sha256": SHA256},
                requires_python=">=3.8",
                core_metadata={"sha256": SHA256},
                upload_time="2024-01-01T00:00:00.123456Z",
                size=123456,
                yanked=False,
                provenance=None,
            )
            for name in names
        )
    )
    start = time.process_time()
    there = json_to_html(body, "big")
    back = json.loads(html_to_json(there, "big", PAGE))
    assert time.process_time() - start < 8
    assert [each["filename"] for each in back["files"]] == names
