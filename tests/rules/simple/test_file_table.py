"""What a page says of its files, looked up in one text."""

import json
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkgcache.rules.routing.urls import parse_url
from pkgcache.rules.simple.file_table import FileTable, file_id
from pkgcache.rules.simple.links import PageContext
from pkgcache.rules.simple.page_model import Kind
from pkgcache.rules.simple.rewriting import rewrite
from tests.support.index import project_html, project_json
from tests.support.wheels import make_sdist, make_wheel

FILES = "https://files.example"
DIGEST = f"/packages/aa/bb/{'c' * 60}/"
CONTEXT = PageContext(
    upstream=parse_url("https://mirror.test/pypi/simple/six/"),
    client_url=parse_url("https://index.example/simple/six/"),
    canonical_files=FILES,
    own_prefix="",
)


def test_keys() -> None:
    """A release path is one key at every host, in every spelling; other URLs, and other indexes, are what they are."""
    for url, shared, key in (
        (f"{FILES}{DIGEST}six-1.0.whl", True, f"{DIGEST}six-1.0.whl"),
        (f"https://mirror.test/any/prefix{DIGEST}six-1.0.whl", True, f"{DIGEST}six-1.0.whl"),
        (
            f"http://mirror.test{DIGEST.upper().replace('PACKAGES', 'packages')}six-1.0.whl",
            True,
            f"{DIGEST}six-1.0.whl",
        ),
        (f"{FILES}{DIGEST}torch-2%2Bcpu.whl", True, f"{DIGEST}torch-2+cpu.whl"),
        (f"{FILES}{DIGEST}six-1.0.whl?x=1", True, f"{DIGEST}six-1.0.whl"),
        (f"{FILES}{DIGEST}six-1.0.whl", False, f"{FILES}{DIGEST}six-1.0.whl"),
        ("https://devpi.test/+f/aa/six.whl", True, "https://devpi.test/+f/aa/six.whl"),
    ):
        assert file_id(url, shares_pypi_files=shared) == key


def test_what_a_page_says() -> None:
    releases = [make_wheel("six", "1.0", yanked="bad"), make_sdist("six", "1.0"), make_wheel("six", "2.0")]
    for body, kind in (
        (project_json("six", releases, "https://x/"), "json"),
        (project_html("six", releases, "https://x/"), "html"),
    ):
        links = rewrite(body, kind, CONTEXT).links
        table = FileTable.of(links, shares_pypi_files=True)
        assert len(list(table.items())) == 3
        for release, (link, _) in zip(releases, links, strict=True):
            facts = table.get(f"/{release.quoted_path}")
            assert facts is not None
            assert facts.hashes == {"sha256": release.sha256}
            for name in ("filename", "core_metadata", "size", "upload_time", "yanked"):
                assert getattr(facts, name) == getattr(link, name), name
        assert dict(table.items())[f"/{releases[0].quoted_path}"] == table.get(f"/{releases[0].quoted_path}")
        assert table.get(f"/{releases[0].quoted_path}x") is None


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=12), max_size=5), st.text(max_size=6))
@example({'"': ""}, "")
@example({'x,"key': ""}, "key")
def test_keys_are_never_found_in_what_is_said(said: dict[str, str], other: str) -> None:
    """Whatever names and hashes hold, quotes and brackets too: a key is found where it is one, and nowhere else."""
    hostile = "".join(f'"{key}":["x"],' for key in (*said, other))
    text = json.dumps(
        {key: [value + hostile, {}, False, None, hostile, False] for key, value in said.items()}, separators=(",", ":")
    )
    table = FileTable(text)
    for key, value in said.items():
        facts = table.get(key)
        assert facts is not None
        assert facts.filename == value + hostile
    assert (table.get(other) is not None) is (other in said)


TEXTS = st.text(alphabet='a/"\\,:[{}].é', min_size=1, max_size=12)


@given(rows=st.dictionaries(TEXTS, TEXTS, max_size=6), other=TEXTS)
@example({'a,"b': 'x",', "{": 'x",'}, '",')
@example({"a": ':["x",', "b": "x"}, "x")
def test_names_are_never_found_in_what_is_said(rows: dict[str, str], other: str) -> None:
    """Found by its name is what has this name, in the page's order, whatever keys and names look like."""
    text = json.dumps({key: [name, {}, False, None, "", False] for key, name in rows.items()}, separators=(",", ":"))
    for name in {*rows.values(), other}:
        assert FileTable(text).named(name) == [key for key, each in rows.items() if each == name]


FILE: Final = {"json": '{"filename": "six-1.0.zip", "url": "six-1.0.zip"}', "html": '<a href="six-1.0.zip">x</a>'}
PAGES: Final[list[tuple[Kind, str, str]]] = [
    # PEP 792: in JSON a member of the page, in HTML an element of its head; without one the project is active
    ("json", '{"files": [FILE], "project-status": {"status": "archived", "reason": "x"}}', "archived"),
    ("json", '{"project-status": {"status": "quarantined"}, "files": [FILE]}', "quarantined"),
    ("json", '{"files": [FILE]}', ""),
    ("json", '{"files": [FILE], "project-status": "archived"}', ""),
    ("json", '{"files": [FILE], "project-status": {"status": 7}}', ""),
    ("json", '{"files": [FILE], "project-status": null}', ""),
    ("json", '{"files": [FILE], "meta": {"project-status": {"status": "archived"}}}', ""),
    ("html", '<meta name="pypi:project-status" content="archived">FILE', "archived"),
    ("html", "FILE<META CONTENT=quarantined NAME='PyPI:project-status'>", "quarantined"),
    ("html", '<meta name="pypi:project-status-reason" content="archived">FILE', ""),
    ("html", '<meta name="pypi:project-status">FILE', ""),
    ("html", '<meta content="archived">FILE', ""),
    ("html", '<!-- <meta name="pypi:project-status" content="archived"> -->FILE', ""),
    (
        "html",
        '<meta name="pypi:project-status" content="&quot;}">FILE<meta name="pypi:project-status" content="b">',
        '"}',
    ),
]


@pytest.mark.parametrize(("kind", "page", "status"), PAGES)
@pytest.mark.parametrize("has_file", [True, False])
def test_a_projects_status(kind: Kind, page: str, status: str, has_file: bool) -> None:
    """It is beside the files in the table, and none of them."""
    rewritten = rewrite(page.replace("FILE", FILE[kind] if has_file else "").encode(), kind, CONTEXT)
    table = FileTable.of(rewritten.links, shares_pypi_files=False, status=rewritten.status)
    assert table.status == status
    assert [facts.filename for _, facts in table.items()] == ["six-1.0.zip"] * has_file
    assert len(table.named("six-1.0.zip")) == has_file
    assert (table.get("https://mirror.test/pypi/simple/six/six-1.0.zip") is not None) is has_file
    assert table.get("") is None
