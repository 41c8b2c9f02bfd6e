"""The README says of each option what the table in settings.py says: name, default and meaning."""

import re
from pathlib import Path

import pytest

from pkgcache.settings import OPTIONS, Option

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
