"""Values that are gone leave no hole on the heap, large ones at once, and others once they are many."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ADDON: Final = Path(__file__).resolve().parents[3] / "addon"

PROGRAM: Final = """
import sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.freed_memory import FreedMemory
memory = FreedMemory()
if {fixed}:
    assert memory.fix_thresholds()
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024
before, kept = resident(), []
for number in range(3):
    pages = [bytearray(size * 1000000) for size in range(1, 31, 4)]  # each freed one raises the size
    for page in pages:
        page[:] = bytes(len(page))
        kept.append(bytearray(100000))  # what lives on, in between
    del pages, page
print(resident() - before - sum(map(len, kept)))
"""

HOLES: Final = """
import sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.freed_memory import FreedMemory
def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024
memory, before = FreedMemory(), resident()
blocks = [bytearray(20_000) for _ in range({megabytes} * 50)]
kept = blocks[::10]
del blocks
if {fixed}:
    memory.give_back()
print(resident() - before - sum(map(len, kept)))
"""


PIECES: Final = """
import resource, sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.freed_memory import FreedMemory
if {fixed}:
    FreedMemory().fix_thresholds()
def piece():
    kept = [bytes(200_000) for _ in range(5)]  # as a download has them at hand: below the size of a block of its own
    del kept
piece()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    piece()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def left_over(program: str = PROGRAM, **values: object) -> int:
    """The number that a program prints: bytes that it has too many of in the end, or page faults."""
    words = [sys.executable, "-c", program.format(addon=str(ADDON), **values)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_large_values_go_back_to_the_system() -> None:
    assert left_over(fixed=True) < 30_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.parametrize(("megabytes", "given_back"), [(30, False), (120, True)])
def test_holes_go_back_once_they_are_many(megabytes: int, given_back: bool) -> None:
    assert left_over(HOLES, fixed=False, megabytes=megabytes) > megabytes * 700_000
    assert (left_over(HOLES, fixed=True, megabytes=megabytes) < megabytes * 300_000) == given_back


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_what_a_download_frees_is_used_again() -> None:
    """Each piece's pages were given back and mapped anew, with 138 page faults each."""
    assert left_over(PIECES, fixed=True) < 1_000
