"""How a row is measured: peers that can be had, one after the other in each round, so that what else the machine does meets all of them."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from tests.bench.compare.contenders import Peer, Unavailable
from tests.bench.compare.figures import Goal, Row
from tests.bench.tools import Stage, note

TROUBLE: Final = (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError)
"""What may become of a peer: it is left out from then on, and the row says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A whole run, or a quick one."""

    quick: bool = False

    def of[T](self, whole: T, quick: T) -> T:
        """One of two."""
        return quick if self.quick else whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a row does, and its goals."""

    text: str
    measure: Callable[[Stage, Size, Row], None]
    goals: Sequence[Goal] = ()


@contextmanager
def gathered(row: Row, kinds: Mapping[str, AbstractContextManager[Peer]]) -> Iterator[list[Peer]]:
    """Those that start, by name."""
    with ExitStack() as stack:
        peers = []
        for name, kind in kinds.items():
            try:
                peers.append(stack.enter_context(kind))
            except (Unavailable, *TROUBLE) as trouble:
                remark(row, f"{name} is not there", trouble)
        yield peers


def in_turns(
    row: Row,
    peers: list[Peer],
    rounds: int,
    measure: Callable[[Peer, int], Mapping[str, float]],
    *,
    warm_up: bool = True,
    label: str = "",
) -> None:
    """Measure each so many times, after a first time that fills its cache and does not count (number 0). `label`: put after each figure."""
    for number in range(0 if warm_up else 1, rounds + 1):
        for peer in tuple(peers):
            try:
                found = measure(peer, number)
            except TROUBLE as trouble:
                remark(row, f"{peer.name} failed{label}", trouble)
                peers.remove(peer)
                continue
            if number:
                row.add(peer.name, {f"{what}{label}": value for what, value in found.items()})


def remark(row: Row, text: str, trouble: Exception) -> None:
    """Something that the report has to say of a row."""
    why = getattr(trouble, "stderr", "") or str(trouble) or repr(trouble)
    if isinstance(why, bytes):
        why = why.decode(errors="replace")
    row.remarks.append(f"{text}: {' '.join(why.split())[-300:]}")
    note(f"{row.name}: {row.remarks[-1]}")
