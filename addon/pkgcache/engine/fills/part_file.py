"""A growing file on disk: which process owns it, how far it is, and what the owner tells the others.

Only the owner writes to `<name>.part`. Beside it lies `<name>.json`, the `FillState` that the owner has published. The owner holds
`flock` on the part file, and the kernel drops that lock when the process dies. So a process that gets the lock while the state says
"growing" knows that the owner is gone, and may continue with the bytes that are there.

A published state counts only for the file (inode) that it was written for: the owner's file may have moved into the store already,
and another process may have begun a new one under the same name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, get_args

from pkgcache.engine.store.growing import MOST_STATE
from pkgcache.engine.store.json_fields import Json, json_field, json_headers, json_one_of
from pkgcache.engine.store.safe_files import ForeignFileError, check_regular, read_small, write_text
from pkgcache.rules.routing.urls import parse_url

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

type State = Literal["growing", "verified", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillState:
    """The state of a fill, as its owner publishes it to other processes.

    `begun`: an upstream has answered. `total` (bytes, if known), `source` and `headers` are of that answer. `error` is for people.
    """

    state: State = "growing"
    inode: int = 0
    attempt: str = ""
    generation: int = 0
    begun: bool = False
    total: int | None = None
    source: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""

    @classmethod
    def from_json(cls, fields: Json) -> Self:
        """Read what was published; whoever can write to the store may have. Raises ValueError, LookupError and TypeError."""
        if fields["total"] is not None:
            json_field(fields, "total", int)
        for name, kind in {"inode": int, "generation": int, "attempt": str, "begun": bool, "error": str}.items():
            json_field(fields, name, kind)
        if fields["begun"]:
            parse_url(json_field(fields, "source", str))
        json_one_of(fields, "state", str, get_args(State.__value__))
        json_headers(fields, "headers")
        return cls(**{**fields, "headers": [(name, value) for name, value in fields["headers"]]})


class PartFile:
    """One part file, opened for reading and writing. The methods raise OSError, and all but `size` and `fileno` may block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state_path = path.with_suffix(".json")
        self._descriptor = -1
        self._inode = 0
        self.owned = False
        self.is_new = False
        """Whether it was empty when this process became its owner by opening it, and nothing was published under its name."""

    def open(self) -> bool:
        """Open the file, or create it; returns whether this process owns it now."""
        while True:
            try:
                self._descriptor = os.open(self.path, _OPEN, 0o600)
                status = os.fstat(self._descriptor)
                check_regular(status, status.st_uid)
            except (OSError, ForeignFileError) as error:
                self.close()
                if isinstance(error, OSError) and error.errno not in {errno.ELOOP, errno.ENXIO}:
                    raise
                self.path.unlink()  # a link or a FIFO that somebody else has put there: writing to it would write elsewhere
                continue
            self._inode = status.st_ino
            self.claim()
            self.is_new = self.owned and not self.size and not self._state_path.exists()
            # Between opening and locking the owner may have renamed or removed it. Then this is another file: try again.
            if self.in_place:
                return self.owned
            self.close()

    def claim(self) -> bool:
        """Try to become the owner; False while another process owns the file, and where it is not open."""
        if self._descriptor < 0:
            return False
        if not self.owned:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self.owned = True
        return True

    def release(self) -> None:
        """Give up ownership, so that another process may continue."""
        if self.owned:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.owned = False

    @property
    def in_place(self) -> bool:
        """Whether the file still has its name. It loses it when it moves into the store, and when its owner fails."""
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def publish(self, state: FillState) -> None:
        """Write the state for other processes. It replaces the one before at once, so nobody reads half of it."""
        fresh = self._state_path.with_suffix(".new")
        write_text(fresh, json.dumps(asdict(replace(state, inode=self._inode))))
        fresh.replace(self._state_path)

    def read_published(self) -> FillState | None:
        """The state that the owner has published for this file; None if there is none, or none that can be read."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            state = FillState.from_json(json.loads(read_small(self._state_path, MOST_STATE)))
            return state if state.inode == self._inode else None
        return None

    def remove(self) -> None:
        """Remove the file, if this process owns it and it still has its name. It stays readable while it is open."""
        if self.owned and self.in_place:
            self.path.unlink(missing_ok=True)

    def remove_state(self) -> None:
        """Remove the published state, if it is this file's."""
        if self.read_published() is not None:
            self._state_path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """The bytes written so far, by whichever process."""
        return os.fstat(self._descriptor).st_size

    def fileno(self) -> int:
        """The file's descriptor; -1 once it is closed."""
        return self._descriptor

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        rest = memoryview(data)
        while rest:
            count = os.pwrite(self._descriptor, rest, offset)
            offset, rest = offset + count, rest[count:]

    def truncate(self) -> None:
        """Throw the bytes away."""
        os.ftruncate(self._descriptor, 0)

    def become(self, descriptor: int) -> None:
        """Turn into another, complete file. Readers keep the number of this file's descriptor, and read that file by it from now on."""
        self.remove()
        os.dup2(descriptor, self._descriptor)
        self.owned = False

    def close(self) -> None:
        """Close the file; that releases its lock too."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.owned = False
