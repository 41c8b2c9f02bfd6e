"""The documents say what the code does: options, commands, clients; and their links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pkgcache.settings import OPTIONS, Option
from tests.bench.clients import FAILS, README_HEADER
from tests.bench.workshop import PIPS

REPOSITORY = Path(__file__).parent.parent
PAGES = REPOSITORY / "docs" / "pages"
README = REPOSITORY / "README.md"
ROW = re.compile(r"^\| `(pypi_cache_\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
ROWS = {name: (default, meaning) for name, default, meaning in ROW.findall((PAGES / "options.md").read_text())}
DOCUMENTS = [*REPOSITORY.glob("*.md"), *PAGES.glob("*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_is_documented(option: Option) -> None:
    default, meaning = ROWS[option.full_name]
    shown = str(option.default).lower() if isinstance(option.default, bool) else option.default
    assert default == (f"`{shown}`" if shown else "empty")
    assert meaning.replace("`", "") == option.help


def test_no_other_option_is() -> None:
    assert set(ROWS) == {option.full_name for option in OPTIONS}


def test_the_table_of_clients_is_whole() -> None:
    """It is made by `tests.bench.clients --readme`: a row for each client that there is a maker of, and none of them fails."""
    rows = (PAGES / "agents.md").read_text().partition(f"{README_HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    pips = [cells[1].partition(".")[0] for cells in found if cells[0].startswith("pip ") or cells[0] == "pip"]
    assert pips[:-1] == list(PIPS[:-1])
    assert int(pips[-1]) > int(pips[-2]), "the newest of all"
    assert [cells[0] for cells in found[len(pips) :]] == ["uv", "poetry", "pdm", "pipenv"]
    assert not [row for row in rows if FAILS in row or "–" in row]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(path: Path) -> Iterator[str]:
    """The links of a document to files or headings that are not there."""
    for link in LINK.findall(FENCED.sub("", path.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_leads_somewhere(path: Path) -> None:
    assert not list(broken(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_command_has_an_escaped_pipe(path: Path) -> None:
    """In a table GitHub wants a pipe escaped, and MkDocs shows the backslash, so what is to be pasted stands in no table."""
    assert "\\|" not in path.read_text()


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """The test above can fail."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](page.md#one) [b](page.md#two) [c](none.md) [d](https://a.example/)\n")
    assert list(broken(page)) == ["page.md#two", "none.md"]


def test_each_page_is_in_the_sites_contents_and_in_the_readmes() -> None:
    configuration = (REPOSITORY / "docs" / "mkdocs.yml").read_text()
    for page in PAGES.glob("*.md"):
        assert f"  - {page.name}\n" in configuration
        assert page.name == "index.md" or f"(docs/pages/{page.name})" in README.read_text()


def test_the_site_loads_nothing_from_outside() -> None:
    """Fonts are the one thing that the theme would load (`./run.sh docs` builds it)."""
    configuration = (REPOSITORY / "docs" / "mkdocs.yml").read_text()
    assert "font: false" in configuration
    assert "site_dir: ../.site" in configuration
    assert "://" not in configuration


def test_the_readmes_first_screen() -> None:
    """What it is, the two commands, and why this one, before anything else."""
    lines = README.read_text().splitlines()
    places = [
        next(number for number, line in enumerate(lines) if each in line)
        for each in (
            "A caching forward proxy",
            "$ ./run.sh",
            "/env.sh || echo false)",
            "## Why this one",
            "## Contents",
        )
    ]
    assert places == sorted(places)
    assert places[-2] < 40
