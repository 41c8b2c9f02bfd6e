"""What the dashboard says of requests to whom: names that are nobody else's to know stay out, and no text is long or acts on a screen."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pkgcache.engine.responses.messages import Request
from pkgcache.engine.service import Service
from pkgcache.engine.store.catalogue import Search
from pkgcache.rules.http.cache_status import CacheStatus
from pkgcache.rules.routing.urls import parse_url
from pkgcache.settings import make_settings
from pkgcache.web.activity import Finished, Project
from pkgcache.web.dashboard import PRIVATE, SHOWN, Viewer, parse_search, project_row, refused_row, request_row, shown
from pkgcache.web.dashboard_files import FILES, FOLDER, POLICY, file, page, wants_html


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(
        make_settings(
            {
                "pypi_cache_dir": str(tmp_path),
                "pypi_cache_index": ["near=https://near.test/simple"],
                "pypi_cache_file_hosts": ["near.test"],
                "pypi_cache_private": ["acme-*=near"],
            }
        )
    )


def finished(
    service: Service, url: str, *, status: int = 200, cache: CacheStatus | None = None, text: str = "", **headers: str
) -> Finished:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    request = Request(method="GET", url=parse_url(url), headers=CIMultiDictProxy(named), client="192.0.2.7")
    cache = cache or CacheStatus(hit=True, ttl=9)
    return Finished(request, service.route(request), status, cache, 10, 1.5, 0.25, "someone", text)


LOGIN = "Basic dXNlcjpzZWNyZXQ="


@pytest.mark.parametrize(
    ("url", "login", "everybody", "operator"),
    [
        ("https://near.test/simple/six/", "", "six (page)", "six (page)"),
        ("https://near.test/simple/Six/?token=secret", "", "six (page)", "six (page)"),
        ("https://near.test/files/six-1.0.tar.gz", "", "six-1.0.tar.gz", "six-1.0.tar.gz"),
        ("https://near.test/files/six-1.0.tar.gz", LOGIN, PRIVATE, "six-1.0.tar.gz"),
        ("https://near.test/simple/six/", LOGIN, PRIVATE, "six (page)"),
        ("https://near.test/simple/acme-secret/", "", PRIVATE, "acme-secret (page)"),
        ("https://near.test/simple/Acme.Secret/", "", PRIVATE, "acme-secret (page)"),
        ("https://near.test/files/Acme_Secret-1.0-py3-none-any.whl", "", PRIVATE, "Acme_Secret-1.0-py3-none-any.whl"),
        ("https://near.test/files/acme.secret-1.0.zip", "", PRIVATE, "acme.secret-1.0.zip"),
        ("https://near.test/files/acme_s-1.0-py3-none-any.whl.metadata", "", PRIVATE, "acme_s-1.0-py3-none-any.whl.metadata"),
        ("https://near.test/simple/", "", "all projects (list)", "all projects (list)"),
        ("https://near.test/acme-secret?token=secret", "", "(something else)", "https://near.test/acme-secret?token=***"),
    ],
)  # fmt: skip
def test_what_was_asked_for(service: Service, url: str, login: str, everybody: str, operator: str) -> None:
    over = finished(service, url, **({"Authorization": login} if login else {}), User_Agent="pip/26.0 {…}")
    for sees_all, expected in ((False, everybody), (True, operator)):
        row = request_row(over, Viewer(service.admission, sees_all))
        assert row["what"] == expected
        assert (row.get("client"), row.get("user"), row.get("agent")) == (
            ("192.0.2.7", "someone", "pip/26.0") if sees_all else (None, None, None)
        )
        assert "secret=" not in str(row).replace("***", "")
    assert (row["status"], row["bytes"], row["seconds"], row["source"], row["cache"]) == (
        200,
        10,
        0.25,
        "store",
        "hit; ttl=9",
    )


@pytest.mark.parametrize(
    ("url", "detail", "everybody"),
    [
        ("https://near.test/simple/evil/", "denied", "evil is refused by pypi_cache_deny=evil"),
        ("https://near.test/simple/acme-x/", "denied", "denied"),
        ("https://near.test/simple/acme-x/", "private-name", "private-name"),
        ("https://other.test/intranet", "", "not allowed here"),
    ],
)
def test_why_it_was_refused(service: Service, url: str, detail: str, everybody: str) -> None:
    """A rule is everybody's to know; what names a private project or another host is the operator's."""
    text = "evil is refused by pypi_cache_deny=evil"
    over = finished(service, url, status=403, cache=CacheStatus(detail=detail), text=text)
    assert refused_row(over, Viewer(service.admission, sees_all=False))["why"] == everybody
    row = refused_row(over, Viewer(service.admission, sees_all=True))
    assert (row["why"], row["client"]) == (text, "192.0.2.7")


@pytest.mark.parametrize(
    ("name", "is_private", "everybody"),
    [("six", False, "six"), ("six", True, PRIVATE), ("acme-secret", False, PRIVATE), ("acme", False, "acme")],
)
def test_a_projects_name(service: Service, name: str, is_private: bool, everybody: str) -> None:
    project = Project(name, is_private, requests=3, hits=2, size=9)
    assert project_row(project, Viewer(service.admission, sees_all=False))["name"] == everybody
    assert project_row(project, Viewer(service.admission, sees_all=True))["name"] == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # the page shows it as text
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("pip/26 https://me:pw@host.test/", "pip/26 https://***@host.test/"),
        ("six\u2028\x9b", r"six\u2028\x9b"),
        ("", ""),
    ],
)
def test_a_shown_text(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["x" * 5000, "\x1b" * 5000, "?a=b" * 3000, "u:p@" * 2000])
def test_a_shown_text_is_short(text: str) -> None:
    assert len(shown(text)) <= SHOWN


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", True),
        ("TEXT/HTML", True),
        ("text/html;q=0.001", True),
        ("text/html;q=0", False),
        ("*/*", False),  # curl, wget
        ("", False),  # Python's urllib
        ("text/*", False),
        ("text/plain, */*", False),
        ("text/htmlx", False),
        ("application/json, text/html2", False),
    ],
)
def test_who_gets_the_dashboard_at_the_root(accept: str, expected: bool) -> None:
    """RFC 9110 §12.5.1. Who does not ask for HTML by name gets the commands to paste, as ever."""
    assert wants_html(accept) is expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Search()),
        ("q=six", Search(text="six")),
        (
            "q=%20Zope.Interface+&kind=file&order=size&page=7",
            Search(text="Zope.Interface", kind="file", order="size", page=7),
        ),
        ("q=a&q=b", Search(text="b")),
        ("q=%25&more=1", Search(text="%")),
        ("page=100000", Search(page=100_000)),
        ("private=1&hides=&sees_all=1", Search()),
        ("q=" + "x" * 160, Search(text="x" * 160)),
        ("q=" + "x" * 161, None),
        ("q=%00", None),
        ("q=a%0ab", None),
        ("q=%e2%80%ae", None),
        ("kind=view", None),
        ("kind=FILE", None),
        ("order=rowid", None),
        ("order=size%20DESC", None),
        ("page=0", None),
        ("page=-1", None),
        ("page=1.5", None),
        ("page=%D9%A1", None),  # an Arabic one
        ("page=100001", None),
        ("page=" + "9" * 5000, None),
        ("&".join(f"a{number}=1" for number in range(9)), None),
    ],
)
def test_what_to_look_for(service: Service, query: str, expected: Search | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"kind|page|q is|fields"):
            parse_search(query, Viewer(service.admission, sees_all=False))
        return
    found = parse_search(query, Viewer(service.admission, sees_all=False))
    assert replace(found, hides=None) == expected
    assert found.hides is not None
    assert (found.hides("acme-x"), found.hides("six")) == (True, False)
    operator = parse_search(query, Viewer(service.admission, sees_all=True))
    assert operator == replace(expected, private=True)


class Collected(HTMLParser):
    """Everything of a page that could run or be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        wrong = [f"{name}={value}" for name, value in attrs if name.startswith("on") or name == "style"]
        leads = [given[name] or "" for name in ("src", "href", "action") if name in given]
        self.found += wrong + [f"<{tag}> {to}" for to in leads if re.match(r"(?!data:,$)([a-z]+:|//|/)", to)]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(f"inline <{tag}>")


def test_the_page_holds_nothing_inline_and_nothing_from_outside() -> None:
    """Paths are relative, so that it also works below a prefix."""
    parser = Collected()
    parser.feed(page("http://proxy.example:8080").decode())
    assert parser.found == []
    assert len(parser.ids) == len(set(parser.ids)) > 20
    script, style = (file(path)[0].decode() for path in sorted(FILES, reverse=True))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", script + style)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|setAttribute\(\"style", script
    )
    asked = set(re.findall(r'(?:\$|write|place|meter)\("([a-z-]+)"', script))
    assert asked <= set(parser.ids), "each element that the script looks for is on the page"


@pytest.mark.parametrize("base", ["http://proxy.example:8080", "http://[::1]:8080", 'http://<"&'])
def test_the_page_has_the_line_to_paste(base: str) -> None:
    text = page(base).decode()
    assert "@LINE@" not in text
    assert '<"&' not in text
    assert f"{html.escape(base)}/env.sh" in text


def test_the_policy() -> None:
    """CSP 3: nothing that is not named, and no word that opens a hole."""
    rules = dict(rule.strip().split(" ", 1) for rule in POLICY.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert not re.search(r"unsafe|\*|https?:|blob:|nonce|strict-dynamic", POLICY)


def test_the_files_are_the_folders() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"index.html", *(path.removeprefix("/") for path in FILES)}
