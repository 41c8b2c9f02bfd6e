"""A growing file on disk: who owns it, how far it is, and what its owner says of it, across processes.

Beside `<name>.part` lies `<name>.json`, the owner's word: total, headers, attempt, generation, and whether it is done or has failed.
The owner holds `flock` on the part; whoever gets that lock while the word says "growing" knows that the owner is gone and may go on
with what is there. A word counts only for the very file (inode) that it was written for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

type State = Literal["growing", "verified", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillState:
    """What the owner of a growing file says of it. `headers` and `source` are of the first good upstream's answer, if there is one."""

    state: State = "growing"
    inode: int = 0
    attempt: str = ""
    generation: int = 0
    begun: bool = False
    total: int | None = None
    source: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""


class PartFile:
    """One `.part`, opened for reading and writing. Methods raise OSError; none is for the event loop but `size` and `fileno`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._word_path = path.with_suffix(".json")
        self._descriptor = -1
        self._inode = 0
        self.owned = False

    def open(self) -> bool:
        """Open or make the file; whether this process owns it now. A file that went away meanwhile is tried again."""
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            self._inode = os.fstat(self._descriptor).st_ino
            self.claim()
            if self.in_place:
                return self.owned
            self.close()

    def claim(self) -> bool:
        """Try to become the owner; false while another one lives, or where the file is no longer in its place."""
        if not self.owned:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.owned = True
        return True

    def release(self) -> None:
        """Give ownership up, so that a follower may go on."""
        if self.owned:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.owned = False

    @property
    def in_place(self) -> bool:
        """Whether the file still has its name: it has lost it to the store, or to its owner's failure."""
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def publish(self, word: FillState) -> None:
        """Write the owner's word, whole or not at all."""
        fresh = self._word_path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(replace(word, inode=self._inode))))
        fresh.replace(self._word_path)

    def read_published(self) -> FillState | None:
        """The owner's word on this very file, if it has said one."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            word = FillState(**json.loads(self._word_path.read_text()))
            return word if word.inode == self._inode else None
        return None

    def remove(self) -> None:
        """The owner's: take the file's name away, if it is still there."""
        if self.owned and self.in_place:
            self.path.unlink(missing_ok=True)

    def remove_state(self) -> None:
        """Remove the word, if it is on this file."""
        if self.read_published() is not None:
            self._word_path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How far it has grown, in bytes."""
        return os.fstat(self._descriptor).st_size

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def write(self, data: bytes, offset: int) -> None:
        """All of `data` at `offset`."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            offset, view = offset + count, view[count:]

    def truncate(self) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)

    def become(self, descriptor: int) -> None:
        """Be another, whole file from now on: the store has it already, and nothing need grow."""
        self.remove()
        os.dup2(descriptor, self._descriptor)
        self.owned = False

    def close(self) -> None:
        """Let go of it; the lock goes with it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.owned = False
