"""The comparison as a picture: a panel a row, a bar a peer, by matplotlib where it is installed (dependency group `bench`)."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.compare.figures import OURS

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError:  # in the group `dev` it is not
    mpl = None

AVAILABLE: Final = mpl is not None
OURS_COLOUR, OTHERS_COLOUR = "#c2410c", "#94a3b8"
COLUMNS: Final = 3


def draw(rows: Sequence[Mapping[str, Any]], caption: str, target: Path) -> None:
    """Write an SVG of each row's first figure; `rows` are those of the JSON."""
    panels = [(row, *next(iter(row["figures"].items()))) for row in rows if row["figures"]]
    lines = max(1, -(-len(panels) // COLUMNS))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8, "font.family": "sans-serif"}):
        figure = Figure(figsize=(12, 0.6 + 2.1 * lines), layout="constrained")
        for number, (row, what, peers) in enumerate(panels):
            axes = figure.add_subplot(lines, COLUMNS, number + 1)
            names, medians = list(peers), [each["median"] for each in peers.values()]
            colours = [OURS_COLOUR if name == OURS or OURS not in names else OTHERS_COLOUR for name in names]
            ranges = [
                [each["median"] - min(each["values"]) for each in peers.values()],
                [max(each["values"]) - each["median"] for each in peers.values()],
            ]
            bars = axes.barh(names, medians, color=colours, xerr=ranges, error_kw={"linewidth": 0.7})
            axes.bar_label(bars, fmt="%.3g", padding=4)
            axes.set_title(f"{row['name']}: {what}", fontsize=9, loc="left")
            axes.invert_yaxis()
            axes.margins(x=0.2)
            axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel("\n".join(textwrap.wrap(caption, 200)), fontsize=7)
        figure.savefig(target, format="svg", metadata={"Date": None})
