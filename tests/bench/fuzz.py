"""Looks for inputs at which a parser of foreign bytes raises what it should not, or takes more than linear time.

    python -m tests.bench.fuzz --seconds 120                all parts, so long each
    python -m tests.bench.fuzz --seconds 600 html json      only these

Hypothesis makes the inputs: pieces and cuttings of a small corpus, put together, repeated, nested and turned. For time, a piece or two
are repeated to 16 and to 64 KiB: linear is four times as long, and eight times or more, three times over, is told.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.bench.fuzz_parts import PARTS, Part

BATCH: Final = 500
TIMES: Final = (*[1] * 16, 2, 3, 50, 2000)
LONGEST: Final = 20_000
SMALL, LARGE = 16 * 1024, 64 * 1024
ODD_RATIO: Final = 8.0
LEAST_SECONDS: Final = 0.03
"""Below it the clock's own noise is what is measured."""


@dataclass
class Found:
    """What came of one part."""

    inputs: int = 0
    raised: dict[str, bytes] = field(default_factory=dict)
    slow: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    pumped: int = 0


def inputs(part: Part) -> st.SearchStrategy[bytes]:
    """Inputs for one part."""
    cuttings = st.nothing()
    if part.corpus:
        cuttings = st.builds(
            lambda text, start, length: text[start % len(text) :][:length],
            st.sampled_from(part.corpus),
            st.integers(0, 1 << 16),
            st.integers(1, 400),
        )
    piece = st.one_of(st.sampled_from(part.pieces), cuttings, st.binary(max_size=6))
    run = st.builds(lambda text, times: text * times, piece, st.sampled_from(TIMES))
    made = st.lists(run, max_size=12).map(lambda runs: b"".join(runs)[:LONGEST])
    if not part.corpus:
        return made

    def spliced(text: bytes, at: int, drop: int, new: bytes) -> bytes:
        at %= len(text) + 1
        return text[:at] + new + text[at + drop :]

    splice = st.builds(spliced, st.sampled_from(part.corpus), st.integers(0, 1 << 16), st.integers(0, 30), made)
    turned = st.builds(
        lambda text, turns: bytes(
            value ^ turns.get(number, 0) for number, value in enumerate(text)
        ),
        st.sampled_from(part.corpus),
        st.dictionaries(st.integers(0, 3000), st.integers(1, 255), max_size=6),
    )  # fmt: skip
    return st.one_of(made, splice, turned)


def run(part: Part, data: bytes, found: Found) -> None:
    """Give a part one input; note what it raises, and the shortest input for it."""
    found.inputs += 1
    try:
        part.run(data)
    except part.errors:
        pass
    except Exception as error:  # noqa: BLE001  it is what is looked for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}: {str(error)[:80]}"
        if len(data) < len(found.raised.get(name, data + b"x")):
            found.raised[name] = data


def search(part: Part, found: Found, until: float) -> None:
    """Give a part inputs until the time is over."""

    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(part))
    def batch(data: bytes) -> None:
        if time.monotonic() < until:
            run(part, data, found)

    while time.monotonic() < until:
        batch()


def pump(part: Part, found: Found, until: float) -> None:
    """Repeat each piece, and each two, behind the beginning of a corpus's text, and look at the time."""
    heads = [b"", *(text[: text.find(b"<a") if b"<a" in text else len(text) // 2] for text in part.corpus)]
    repeated = [(a,) for a in part.pieces] + list(product(part.pieces, repeat=2))
    for head, words in product(heads, repeated):
        if time.monotonic() > until:
            return
        text = b"".join(words)
        small, large = (head + text * (size // len(text)) for size in (SMALL, LARGE))
        found.pumped += 1
        ratio, seconds = _ratio(part, small, large)
        found.slowest = max(found.slowest, seconds)
        if ratio > ODD_RATIO and all(_ratio(part, small, large)[0] > ODD_RATIO for _ in range(2)):
            found.slow[f"{head[-20:]!r} {text!r}"] = f"{ratio:.1f} times as long for 4 times the size, {seconds:.2f} s"


def _ratio(part: Part, small: bytes, large: bytes) -> tuple[float, float]:
    seconds = [_seconds(lambda data=data: part.run(data), part) for data in (small, large)]
    return (seconds[1] / max(seconds[0], 1e-6) if seconds[1] > LEAST_SECONDS else 0.0), seconds[1]


def _seconds(work: Callable[[], object], part: Part) -> float:
    begin = time.process_time()
    try:
        work()
    except part.errors:
        pass
    except Exception:  # noqa: BLE001  what it raises is told by `run`
        pass
    return time.process_time() - begin


def main() -> None:
    """Search each part, and print a table and what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each part; a third of it for time")
    arguments = parser.parse_args()
    print("| part | inputs | raised | repeated | slowest of 64 KiB | more than linear |\n|---|---|---|---|---|---|")
    faults = 0
    for name in arguments.parts or PARTS:
        part, found, begin = PARTS[name], Found(), time.monotonic()
        for text in part.corpus:
            run(part, text, found)
        pump(part, found, begin + arguments.seconds / 3)
        search(part, found, begin + arguments.seconds)
        faults += len(found.raised) + len(found.slow)
        print(
            f"| {name} | {found.inputs:,} | {len(found.raised)} | {found.pumped:,} "
            f"| {found.slowest * 1000:.0f} ms | {len(found.slow)} |",
            flush=True,
        )
        for what, data in found.raised.items():
            print(f"  {name}: {what}\n    {data[:300]!r}", file=sys.stderr, flush=True)
        for what, how in found.slow.items():
            print(f"  {name}: {what}: {how}", file=sys.stderr, flush=True)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
