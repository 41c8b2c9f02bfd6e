"""Edits of a page, and values that read back as they were escaped."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkgcache.rules.simple.html_page import escape_html, read_html
from pkgcache.rules.simple.json_page import escape_json
from pkgcache.rules.simple.page_model import Page, edit


@given(st.text())
@example("\"'<>&` \n\0é")
def test_escaped_values_read_back(value: str) -> None:
    assert json.loads(f'"{escape_json(value)}"') == value
    value = value.replace("\0", "").replace("\r", "")
    if value and not any(
        0x7F <= ord(character) <= 0x9F or ord(character) > 0xD7FF or ord(character) < 0x20 for character in value
    ):
        for quote in ('"', "'", ""):
            assert [link.href for link in read_html(f"<a href={quote}{escape_html(value)}{quote}>".encode()).links] == [
                value
            ]


def test_edits_in_any_order_and_never_over_each_other() -> None:
    page = Page(text="abcdef", encoding="latin-1", links=())
    assert edit(page, [(4, 5, "E"), (0, 2, "")]) == b"cdEf"
    with pytest.raises(ValueError, match="overlap"):
        edit(page, [(0, 3, ""), (2, 4, "")])
