"""Large values that are gone leave no hole on the heap."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ADDON: Final = Path(__file__).resolve().parents[3] / "addon"

PROGRAM: Final = """
import sys
sys.path.insert(0, {addon!r})
from pkgcache.engine.runtime.large_blocks import return_large_blocks
if {fixed}:
    assert return_large_blocks()
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


def left_over(*, fixed: bool) -> int:
    """Bytes that a process has too many of in the end."""
    program = PROGRAM.format(addon=str(ADDON), fixed=fixed)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_large_values_go_back_to_the_system() -> None:
    assert left_over(fixed=True) < 30_000_000
