"""The README says of each option what the table in settings.py says: name, default and meaning; and its table of clients is whole."""

import re
from pathlib import Path

import pytest

from pkgcache.settings import OPTIONS, Option
from tests.bench.clients import FAILS, README_HEADER
from tests.bench.workshop import PIPS

README = Path(__file__).parent.parent / "README.md"
ROW = re.compile(r"^\| `(pypi_cache_\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)
ROWS = {name: (default, meaning) for name, default, meaning in ROW.findall(README.read_text())}
EMPTY = {"dir": "the user's cache folder"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_is_documented(option: Option) -> None:
    default, meaning = ROWS[option.full_name]
    shown = str(option.default).lower() if isinstance(option.default, bool) else option.default
    assert default == (f"`{shown}`" if shown else EMPTY.get(option.name, "empty"))
    assert meaning.replace("`", "") == option.help


def test_no_other_option_is() -> None:
    assert set(ROWS) == {option.full_name for option in OPTIONS}


def test_the_table_of_clients_is_whole() -> None:
    """It is made by `tests.bench.clients --readme`: a row for each client that there is a maker of, and none of them fails."""
    rows = README.read_text().partition(f"{README_HEADER}\n")[2].partition("\n\n")[0].splitlines()[1:]
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    pips = [cells[1].partition(".")[0] for cells in found if cells[0].startswith("pip ") or cells[0] == "pip"]
    assert pips[:-1] == list(PIPS[:-1])
    assert int(pips[-1]) > int(pips[-2]), "the newest of all"
    assert [cells[0] for cells in found[len(pips) :]] == ["uv", "poetry", "pdm", "pipenv"]
    assert not [row for row in rows if FAILS in row or "–" in row]
