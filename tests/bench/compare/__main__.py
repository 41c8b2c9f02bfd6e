"""The comparison that anybody can repeat: this proxy beside its peers, row by row (B1 to B9), on the same work in one run, in turns.

`./run.sh bench [--quick] [--save] [--install] [B1 B2 …]` prints a Markdown table a row, and writes the same as JSON and as a picture.
What counts is processor time, children included: it stays the same where the machine is noisy.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.compare import growth, installs, machine, picture, small_hits, wheels
from tests.bench.compare.contenders import APT, install_peers
from tests.bench.compare.figures import Row
from tests.bench.compare.loads import PROGRAMS
from tests.bench.compare.turns import Size, Work, remark
from tests.bench.tools import note, stage
from tests.support.forked import REPOSITORY

ROWS: Final[Mapping[str, Work]] = dict(
    sorted({**wheels.ROWS, **installs.ROWS, **growth.ROWS, **small_hits.ROWS}.items())
)
UNSAVED: Final = REPOSITORY / ".tools" / "bench"
SAVED: Final = REPOSITORY / "docs" / "pages" / "bench"


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./run.sh bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", type=str.upper, metavar="ROW", help=f"only these of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="less of everything: under 4 minutes instead of under 25")
    parser.add_argument("--save", action="store_true", help=f"write to {SAVED} instead of {UNSAVED}")
    parser.add_argument("--install", action="store_true", help=f"first run, as root: {APT}")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return arguments


def install() -> None:
    """Have Debian's packages. What cannot be had is reported by the rows that want it."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        note(f"--install needs root and apt-get; on Debian: {APT}")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["apt-get", "update", "-q"], APT.split()):
        subprocess.run(words, env=environment, stdout=sys.stderr, check=False)


def measured(name: str, work: Work, size: Size) -> Row:
    """A row, on a stage of its own. Whatever goes wrong stands in it."""
    row = Row(name=name, work=work.text, goals=work.goals)
    began = time.monotonic()
    try:
        with stage() as here:
            work.measure(here, size, row)
    except Exception as trouble:  # noqa: BLE001 - the other rows are wanted all the same
        traceback.print_exc()
        remark(row, "not measured to its end", trouble)
    row.seconds = time.monotonic() - began
    print("\n".join(row.markdown()), flush=True)
    return row


def write(folder: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """The JSON, the report and the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {**about, "rows": [row.to_json() for row in rows]}
    (folder / "bench.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    lines = [line for row in rows for line in row.markdown()]
    (folder / "bench.md").write_text("\n".join([machine.sentence(about), *lines, ""]))
    if picture.AVAILABLE:
        picture.draw(document["rows"], machine.sentence(about), folder / "bench.svg")


def main() -> None:
    """Measure, print; write after each row, so that a run that is broken off leaves something."""
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so all that was started ends too
    if arguments.install:
        install()
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        raise SystemExit(f"not installed: {', '.join(missing)}; on Debian: {APT}")
    if trouble := install_peers():  # once, half a minute
        note(trouble)
    about = {"quick": arguments.quick, **machine.described()}
    print(machine.sentence(about), flush=True)
    folder = SAVED if arguments.save else UNSAVED
    rows: list[Row] = []
    for name in arguments.rows or ROWS:
        rows.append(measured(name, ROWS[name], Size(quick=arguments.quick)))
        write(folder, about, rows)
    missed = sum(row.verdict(goal).met is False for row in rows for goal in row.goals)
    print(f"\n{sum(row.seconds for row in rows):.0f} s; goals missed: {missed}. Written to {folder}.")
    if not picture.AVAILABLE:
        note("no picture: matplotlib is not installed")


if __name__ == "__main__":
    main()
