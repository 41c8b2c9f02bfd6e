"""Pages to test with: as upstreams write them, as hypothesis makes them, and as pip reads them."""

import json
from collections.abc import Callable
from html.parser import HTMLParser

from hypothesis import strategies as st

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.html_page import escape_html
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import Kind

FILES = "https://files.example"
RELEASE = f"/packages/aa/bb/{'c' * 60}/"
WHEEL = f"{RELEASE}six-1.0-py3-none-any.whl"
H256 = "0a" * 32
SHA = f"#sha256={H256}"


def context(
    *,
    upstream: str = "https://mirror.test/pypi/simple/six/",
    seen: str = "https://index.example/simple/six/",
    files: str = FILES,
    own: str = "",
) -> PageContext:
    return PageContext(upstream=parse_url(upstream), client_url=parse_url(seen), canonical_files=files, own_prefix=own)


OWN = context(seen="http://proxy.test:8080/pypi/simple/six/", own="/pypi")


def html_page(*hrefs: str, head: str = "") -> bytes:
    anchors = "".join(f'<a href="{escape_html(href)}" data-requires-python="&gt;=3">x</a><br/>\r\n' for href in hrefs)
    return f"<!DOCTYPE html>\r\n<html><head><title>Links</title>{head}</head><body>\n{anchors}</body></html>\n".encode()


def json_page(*hrefs: str) -> bytes:
    files = [{"filename": "x", "hashes": {}, "url": href, "upload-time": "2024-01-01T00:00:00Z"} for href in hrefs]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "six", "files": files}, indent=1).encode()


MAKERS: dict[Kind, Callable[..., bytes]] = {"html": html_page, "json": json_page}


class PipLinks(HTMLParser):
    """What pip's `HTMLLinkParser` collects."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base: str | None = None
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "base" and self.base is None:
            self.base = next((value for name, value in attrs if name == "href"), None)
        elif tag == "a" and (href := dict(attrs).get("href")):
            self.hrefs.append(href)


# Tags that Python's parsers read alike. Left out, because they differ between bug fixes (3.13.6 changed most):
# several `=`, quotes without end, `<!` and `</` with odd endings, and links inside `<title>` and `<textarea>`.
ATTRIBUTE = st.tuples(
    st.sampled_from([" ", "\n", " \t", "/ "]),
    st.sampled_from(["href", "HREF", "Href", "data-x", "title", "data-yanked", "hrefs"]),
    st.sampled_from(["", "=", " = ", "=\n"]),
    st.sampled_from(
        [
            "'x'",
            '"x"',
            "x",
            "'<a href=q>'",
            '"a>b"',
            "'a\"b'",
            "../a%2e/b",
            "'&amp;&#65;'",
            "'é'",
            "''",
            '"\'"',
            "x=y",
            "a/b",
        ]
    ),
).map(lambda parts: parts[0] + parts[1] + (parts[2] + parts[3] if parts[2] else ""))


TAG = st.tuples(
    st.sampled_from(["a", "A", "b", "base", "abbr", "p", "br", "link"]),
    st.lists(ATTRIBUTE, max_size=4).map("".join),
    st.sampled_from([">", " >", " />", "\n>"]),
).map(lambda parts: f"<{parts[0]}{parts[1]}{parts[2]}")


RAW = st.builds(
    "<{0}{1}>{2}</{0}>".format,
    st.sampled_from(["script", "style", "SCRIPT"]),
    st.sampled_from(["", " type='a>b'", " x"]),
    st.sampled_from(["", "<a href=no>", "'</a>'", "<!-- x -->", "a < b"]),
)


OTHER = st.sampled_from(
    [
        "<!-- <a href=no> -->",
        "<!---->",
        "<!doctype html>",
        "<![CDATA[<a href=no>]]>",
        "<?pi x>",
        "</a>",
        "</p >",
        "text",
        " < ",
        "\r\n",
        "&amp;",
        "é",
        "a > b",
    ]
)


WELL_FORMED = st.lists(TAG | RAW | OTHER, max_size=12).map("".join)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["url", '"url"', '\\"url": "']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "x", 'a"url', "files"]), inner, max_size=3)
    ),
    max_leaves=6,
)


JSON_FILES = st.dictionaries(
    st.sampled_from(["filename", "hashes", "yanked", "in", 'a"url', "url"]), JSON_VALUES, max_size=5
)
