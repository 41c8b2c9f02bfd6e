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
    assert memory.map_large_blocks()
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


def left_over(program: str = PROGRAM, **values: object) -> int:
    """Bytes that a process has too many of in the end."""
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
