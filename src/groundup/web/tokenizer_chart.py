"""Bytes per token as a picture: for each domain and language a group of bars, one bar for each tokenizer.

A PNG by matplotlib without pyplot, for a file beside the numbers; the bytes depend on the data only.
"""

import io
import warnings
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groundup.web.report_text import visible

MOST_GROUPS = 12  # by the amount of text; the rest stands in result.json
STYLE: dict[str, Any] = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
INCHES_PER_BAR = 0.22


def bytes_per_token_chart(result: dict[str, Any]) -> bytes:
    """The PNG of a tokenizer evaluation's result."""
    rows = result["tokenizers"]
    groups = [("all text", [row["bytes_per_token"] for row in rows])]
    for kind in ("domains", "languages"):
        if len(result[kind]) > 1:
            groups += [(name, [row[kind][name]["bytes_per_token"] for row in rows]) for name in result[kind]]
    groups = groups[:MOST_GROUPS]
    thickness = 0.8 / len(rows)
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        height = 1.2 + INCHES_PER_BAR * len(groups) * (len(rows) + 1)
        figure = Figure(figsize=(8, height), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        for index, row in enumerate(rows):
            places = [at + (index - (len(rows) - 1) / 2) * thickness for at in range(len(groups))]
            bars = axes.barh(places, [values[index] for _, values in groups], thickness, label=visible(row["name"]))
            axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.set_yticks(range(len(groups)), [visible(name) for name, _ in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.margins(x=0.08)  # room for the number behind the longest bar
        axes.set_xlabel("bytes of text per token")
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        image = io.BytesIO()
        FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    return image.getvalue()
