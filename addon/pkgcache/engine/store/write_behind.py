"""Writes that nobody waits for: what is put can be read at once, and is on the disk a little later.

A commit may wait seconds for the lock of another process that writes; no client waits with it. What is pending is lost by a kill, and
fetched again: entries of which a client may already have had the last byte are not put this way but adopted (`Store.adopt`).

For the event loop, except where a method says that it runs on the session's writer thread. Both sides replace and remove whole objects in
a dictionary, and compare by identity before they remove: what was put meanwhile under the same key stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pkgcache.engine.store.entries import Entry, Notes
from pkgcache.engine.store.keys import StoreKey
from pkgcache.engine.store.maintenance import Maintenance
from pkgcache.engine.store.session import StoreSession

PENDING_BYTES = 64 << 20
"""Once so many bytes are pending, `put` waits until its own are written: memory must not fill up faster than a slow disk."""


@dataclass(frozen=True, slots=True)
class PendingValue:
    """A value that is yet to be written, with its notes."""

    value: bytes
    notes: Notes

    @property
    def entry(self) -> Entry:
        """The entry that it will be."""
        size = len(self.value)
        return Entry(notes={**self.notes, "size": size}, value=self.value, file=None, size=size)


class WriteBehind:
    """Values, and new notes of stored values, that are yet to be written."""

    def __init__(self, session: StoreSession, maintenance: Maintenance) -> None:
        self._session = session
        self._maintenance = maintenance
        self._values: dict[StoreKey, PendingValue] = {}
        self._notes: dict[StoreKey, Notes] = {}
        self._bytes = 0

    def value(self, key: StoreKey) -> PendingValue | None:
        """Return the value that is pending for a key."""
        return self._values.get(key)

    def notes(self, key: StoreKey) -> Notes | None:
        """Return the notes that are pending for a key whose value is on the disk."""
        return self._notes.get(key)

    async def put(self, key: StoreKey, value: bytes, notes: Notes) -> None:
        """Have a value written, in place of what is pending for its key."""
        pending, size = PendingValue(value, notes), len(value)
        self._bytes += size
        self._values[key] = pending
        self._notes.pop(key, None)
        written = asyncio.get_running_loop().run_in_executor(self._session.writer, self._write, key, pending)
        # Counted down by the event loop, which counted up: of two threads that count, one may undo what the other did.
        written.add_done_callback(lambda _: self._count_down(size))
        if self._bytes > PENDING_BYTES:
            await written

    def _count_down(self, size: int) -> None:
        self._bytes -= size

    def _write(self, key: StoreKey, pending: PendingValue) -> None:
        """On the writer thread: write a value, unless a newer one is pending or it was dropped."""
        try:
            if self._values.get(key) is pending:
                self._session.guarded(
                    lambda entries: entries.put(key, pending.value, pending.notes, patience=self._session.patience),
                    "store-write",
                )
                self._maintenance.trim_if_full()
        finally:
            # After the commit and not before: in between, readers would find it neither here nor there.
            if self._values.get(key) is pending:
                del self._values[key]

    def note(self, key: StoreKey, notes: Notes) -> None:
        """Have the notes of a stored value replaced."""
        self._notes[key] = notes
        self._session.submit(lambda: self._write_notes(key, notes))

    def _write_notes(self, key: StoreKey, notes: Notes) -> None:
        """On the writer thread: write notes, unless newer ones are pending."""
        if self._notes.get(key) is notes:
            self._session.guarded(
                lambda entries: entries.note(key, notes, patience=self._session.patience), "store-write"
            )
            if self._notes.get(key) is notes:
                del self._notes[key]

    def forget(self, key: StoreKey) -> None:
        """Write nothing of what is pending for a key. What the writer thread has begun is still written."""
        self._values.pop(key, None)
        self._notes.pop(key, None)

    async def flush(self) -> None:
        """Wait until all that is pending now is written."""
        await asyncio.wrap_future(self._session.writer.submit(lambda: None))
