"""A bounded memory: what was used last stays, as far as its bytes go."""

from __future__ import annotations

from collections import OrderedDict


class ByteLru[K, V]:
    """Values by key, of `size` bytes each and no more than `limit` together; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, if it is still there."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value; one that is larger than the whole memory is not kept."""
        self.drop(key)
        if size > self.limit:
            return
        self._values[key] = (value, size)
        self.bytes += size
        while self.bytes > self.limit:
            _, (_, gone) = self._values.popitem(last=False)
            self.bytes -= gone

    def drop(self, key: K) -> None:
        """Forget a value."""
        if found := self._values.pop(key, None):
            self.bytes -= found[1]

    def clear(self) -> None:
        """Forget all of them."""
        self._values.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)
