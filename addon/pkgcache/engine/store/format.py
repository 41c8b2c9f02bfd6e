"""engine/store/format.py."""

from __future__ import annotations


class StoreFormatError(Exception):
    """The folder holds a store that this version cannot read: one line that says what to do."""
