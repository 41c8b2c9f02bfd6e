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


COLLECTED: Final = """
import gc, sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.freed_memory import FreedMemory
class Node: pass
kept, late = [[] for _ in range(50_000)], []
if {left_out}:
    FreedMemory().leave_out_of_collections()
for _ in range(1000):
    node = Node()
    node.itself = node
    late.append(node)
del node, late
print(len(gc.get_objects()), gc.collect())
"""


@pytest.mark.parametrize("left_out", [True, False])
def test_what_stays_is_left_out_of_collections(*, left_out: bool) -> None:
    """And what comes after is still collected."""
    program = COLLECTED.format(addon=str(ADDON), left_out=left_out)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    looked_at, found = map(int, said.stdout.split())
    assert (looked_at < 50_000) is left_out
    assert found >= 1000


ENDED: Final = """
import gc, sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.freed_memory import FreedMemory
class Service: pass
gc.disable()
old, new = FreedMemory(), FreedMemory()
service = Service()
service.itself = service
alive = lambda: sum(isinstance(each, Service) for each in gc.get_objects())
for step in {steps!r}.split():
    if step == "ended":
        del service
    else:
        memory, method = step.split(".")
        getattr({{"old": old, "new": new}}[memory], method)()
count = gc.get_freeze_count()
gc.unfreeze()
print(alive(), count > 0)
"""

BEGIN, END = "leave_out_of_collections", "take_back"


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        pytest.param(f"old.{BEGIN} ended", "1 True", id="what is left out stays"),
        pytest.param(f"old.{BEGIN} new.{BEGIN} ended old.{END}", "1 False", id="one that ends is looked at again"),
        pytest.param(f"old.{BEGIN} new.{BEGIN} ended old.{END} new.{BEGIN}", "0 True", id="and collected"),
        pytest.param(f"old.{BEGIN} ended old.{BEGIN}", "1 True", id="no collection every minute"),
    ],
)
def test_a_service_that_ends_is_collected(steps: str, found: str) -> None:
    """Options may change at run time: the service of before is a cycle, and keeps all that it has in memory."""
    program = ENDED.format(addon=str(ADDON), steps=steps)
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        == found
    )
