"""Variants beside their base, as a picture: the difference in bits per byte with its interval, the best on top.

A PNG by matplotlib without pyplot, as `tokenizer_chart.py` makes it; the bytes depend on the rows only.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groundup.web.report_text import visible

STYLE: dict[str, Any] = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
BETTER, WORSE, UNCLEAR = "tab:blue", "tab:red", "tab:gray"
INCHES_PER_ROW = 0.32


def ablation_chart(rows: Sequence[dict[str, Any]]) -> bytes:
    """The PNG of an ablation's rows. A colour says that the interval lies on one side of the base."""
    shown = sorted((row for row in rows if row["difference"]), key=lambda row: row["difference"]["estimate"])
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        figure = Figure(figsize=(8, 1.4 + INCHES_PER_ROW * max(1, len(shown))), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="black", linewidth=1)
        for place, row in enumerate(shown):
            middle, low, high = (row["difference"][key] for key in ("estimate", "low", "high"))
            colour = UNCLEAR
            if low is not None:  # one run has no interval
                colour = BETTER if high < 0 else WORSE if low > 0 else UNCLEAR
                axes.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.5)
            axes.plot([middle], [place], "o", color=colour, markersize=5)
            above = {"textcoords": "offset points", "ha": "center", "fontsize": 7}
            axes.annotate(f"{middle:+.3f}", (middle, place), (0, 6), **above)
        axes.set_yticks(range(len(shown)), [visible(row["name"]) for row in shown])
        axes.set_ylim(len(shown) - 0.4, -0.8)
        axes.grid(axis="x", alpha=0.3)
        bits = rows[0]["bits_per_byte"]
        base = "" if bits is None else f" ({bits['estimate']:.3f})"
        axes.set_xlabel(f"held-out bits per byte above those of {visible(rows[0]['name'])}{base}")
        image = io.BytesIO()
        FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    return image.getvalue()
