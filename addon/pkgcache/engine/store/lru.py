"""A least-recently-used memory, bounded by the sizes that its values are given.

The standard library has none that is bounded so: `functools.lru_cache` counts values, and a page may have 20 bytes or 20 MB.
"""

from __future__ import annotations

from collections import OrderedDict


class ByteLru[K, V]:
    """Values by key, each with a size; together no more than `limit`. The least recently used go first. For one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return the value if it is still there, and count it as used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` in place of the key's last one. A value larger than the whole memory is not kept."""
        self.drop(key)
        if size > self.limit:
            return
        self._values[key] = (value, size)
        self.bytes += size
        while self.bytes > self.limit:
            _, (_, gone) = self._values.popitem(last=False)
            self.bytes -= gone

    def drop(self, key: K) -> None:
        """Remove a value, if it is there."""
        if found := self._values.pop(key, None):
            self.bytes -= found[1]

    def clear(self) -> None:
        """Remove all values."""
        self._values.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)
