"""Figures as inline SVG: a few kinds of panel, drawn by matplotlib without pyplot and coloured by the page's CSS.

Text stays text (`svg.fonttype: none`), so that it takes the page's font and can be searched, and each colour is a
placeholder that becomes a CSS variable (`var(--plot-model)`), so that light, dark and print differ in CSS alone. The
bytes depend on the data only: ids are salted by the figure's name, nothing is dated, a user's matplotlibrc is ignored.

One unit of a figure is one CSS pixel at its natural width of 440; pages lay two side by side, or one on a telephone.
Long curves keep the minimum and the maximum of each of 220 stretches, so no spike is lost; the thick line over a noisy
one is a centred moving average, so that it does not lag behind a falling loss.
"""

import html
import io
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from groundup.web.report_text import SPACE, visible

WIDTH, HEIGHT = 440, 240
STRETCHES = 220  # per curve: two points for each two pixels
SMOOTHING_SHARE = 0.06  # the window of the moving average, as a share of a curve
CHARACTER_WIDTH = 6.7  # of 12 px sans-serif text, generously
LONGEST_LABEL = 24
STEPS = [1, 2, 2.5, 5, 10]  # between ticks, times a power of ten
COLOURS = {  # placeholder in matplotlib's output -> var(--plot-NAME) in the page
    name: f"#0102{number:02x}"
    for number, name in enumerate(("ink", "muted", "rule", "model", "second", "third", "neutral"))
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.8,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 3.5,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "legend.handlelength": 1.1,
    "lines.solid_capstyle": "round",
    "figure.dpi": 72,
}


@dataclass(frozen=True)
class Curve:
    """Values over steps. `kind`: "line", "noisy" (thin, with its moving average over it) or "points"."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str = "model"
    kind: str = "line"


@dataclass(frozen=True)
class Level:
    """A horizontal line that curves are compared with."""

    label: str
    value: float


@dataclass(frozen=True)
class Bar:
    """One horizontal bar; `note` is written behind it, `low` and `high` are drawn over it as an interval."""

    label: str
    value: float
    note: str
    colour: str = "model"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Dots:
    """One series of estimates with intervals, a value (estimate, low, high) or None for each row of the figure."""

    label: str
    values: Sequence[tuple[float, float, float] | None]
    colour: str


def curve_figure(
    name: str,
    alt: str,
    y_label: str,
    curves: Sequence[Curve],
    levels: Sequence[Level] = (),
    *,
    last_step: float | None = None,
    from_zero: bool = False,
    percent: bool = False,
    logarithmic: bool = False,
) -> str:
    """Curves over training steps on one pair of axes, the first on top; returns `<svg>`.

    `last_step` ends the axis, so that figures side by side line up; `percent` shows shares of 1 in percent; on a
    `logarithmic` axis what is not above 0 is not drawn.
    """
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        columns, more_rows = _legend_shape([curve.label for curve in curves], y_label)
        figure, axes = panel(left=48, right=14, top=26 + more_rows, bottom=38, height=HEIGHT + more_rows)
        axes.set_title(y_label, loc="left", fontsize=12, color=COLOURS["muted"], pad=8)
        axes.set_xlabel("step", loc="right", fontsize=12, labelpad=1)
        for index, curve in enumerate(curves):
            _draw_curve(axes, curve, depth=3 - index / len(curves))
        for level in levels:
            axes.axhline(level.value, color=COLOURS["neutral"], linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(
                level.label, (1, level.value), (-2, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", color=COLOURS["muted"], fontsize=12,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        if logarithmic:
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(_logarithmic_ticks(curves) if logarithmic else MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick if percent else _tick))
        axes.set_xlim(0, last_step or max(max(curve.steps) for curve in curves) or 1)
        if from_zero:
            axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=columns, columnspacing=1.2)
        return inline(figure, alt)


def bar_figure(name: str, alt: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, each with its label before and its note behind; returns `<svg>`."""
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        left = 14 + CHARACTER_WIDTH * max(len(_short(bar.label)) for bar in bars)
        right = 14 + CHARACTER_WIDTH * max(len(bar.note) for bar in bars)
        figure, axes = panel(left, right, top=4, bottom=4, height=8 + 30 * len(bars))
        places = range(len(bars))
        colours = [COLOURS[bar.colour] for bar in bars]
        axes.barh(places, [bar.value for bar in bars], height=0.62, color=colours)
        for place, bar in enumerate(bars):
            end = bar.value
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [place, place], "|-", color=COLOURS["ink"], markersize=9, linewidth=1.4)
                end = max(end, bar.high)
            axes.annotate(bar.note, (end, place), (7, 0), textcoords="offset points", va="center_baseline")
        largest = max(max(bar.value, bar.high or 0) for bar in bars)
        rows_of_labels(axes, [bar.label for bar in bars], limits=(0, largest or 1))
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        return inline(figure, alt)


def interval_figure(name: str, alt: str, labels: Sequence[str], series: Sequence[Dots]) -> str:
    """Rows of dots with intervals on an axis of shares (0 to 1, shown in percent); returns `<svg>`."""
    with style.context(["default", STYLE | {"svg.hashsalt": name, "axes.grid.axis": "x"}]):
        left = 14 + CHARACTER_WIDTH * max(len(_short(label)) for label in labels)
        height = 66 + (14 + 12 * len(series)) * len(labels)
        figure, axes = panel(left, right=16, top=28, bottom=26, height=height)
        spacing = 12 / (14 + 12 * len(series))
        for index, dots in enumerate(series):
            offset = (index - (len(series) - 1) / 2) * spacing
            for row, value in enumerate(dots.values):
                if value is not None:
                    estimate, low, high = value
                    axes.plot([low, high], [row + offset] * 2, color=COLOURS[dots.colour], linewidth=2)
                    axes.plot([estimate], [row + offset], "o", color=COLOURS[dots.colour], markersize=7)
            axes.plot([], [], "o-", color=COLOURS[dots.colour], label=dots.label, linewidth=2, markersize=7)
        largest = max((value[2] for dots in series for value in dots.values if value is not None), default=1)
        rows_of_labels(axes, labels, limits=(0, min(1.0, np.ceil(largest * 10 + 0.01) / 10)))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(_percent_tick))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.015, 1.0), ncols=len(series), columnspacing=1.4)
        return inline(figure, alt)


def smooth(values: Sequence[float]) -> np.ndarray:
    """Centred moving average over about `SMOOTHING_SHARE` of the values.

    Near the start, where losses are steep, the window shrinks on both sides; at the end it only loses its right side,
    so that the line does not end on the noise of one value.
    """
    total = np.concatenate([[0.0], np.cumsum(values, dtype=float)])
    places = np.arange(len(values))
    half = np.minimum(max(1, round(SMOOTHING_SHARE * len(values) / 2)), places)
    first, last = places - half, np.minimum(places + half, len(values) - 1)
    return (total[last + 1] - total[first]) / (last + 1 - first)


def thin(steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most two points for each of `STRETCHES` stretches, its minimum and maximum, in their order."""
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    if len(y) <= 2 * STRETCHES:
        return x, y
    edges = np.linspace(0, len(y), STRETCHES + 1).astype(int)
    pairs = [(a + y[a:b].argmin(), a + y[a:b].argmax()) for a, b in itertools.pairwise(edges)]
    kept = np.unique([index for pair in pairs for index in pair] + [0, len(y) - 1])
    return x[kept], y[kept]


def panel(left: float, right: float, top: float, bottom: float, height: float) -> tuple[Figure, Axes]:
    """A transparent figure with one pair of axes inside margins in pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), frameon=False)
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    return figure, axes


def _draw_curve(axes: Axes, curve: Curve, depth: float) -> None:
    colour = COLOURS[curve.colour]
    if curve.kind == "points" or len(curve.steps) == 1:
        (line,) = axes.plot(curve.steps, curve.values, "o-", color=colour, label=_short(curve.label), zorder=depth)
        line.set(markersize=5, linewidth=1.2, clip_on=False)
        return
    if curve.kind == "noisy":
        axes.plot(*thin(curve.steps, curve.values), color=colour, linewidth=0.9, alpha=0.35, zorder=depth)
    values = smooth(curve.values) if curve.kind == "noisy" else curve.values
    axes.plot(*thin(curve.steps, list(values)), color=colour, linewidth=2, label=_short(curve.label), zorder=depth)


def _legend_shape(labels: Sequence[str], y_label: str) -> tuple[int, int]:
    """Columns of a legend that stands beside the axis' label, and the height of its rows but the first in pixels."""
    widest = 36 + CHARACTER_WIDTH * max(len(_short(label)) for label in labels)
    columns = max(1, min(len(labels), int((WIDTH - 48 - CHARACTER_WIDTH * len(y_label)) / widest)))
    return columns, 17 * (-(-len(labels) // columns) - 1)


def _logarithmic_ticks(curves: Sequence[Curve]) -> LogLocator:
    """Powers of ten, and where there are few of them 2 and 5 times them."""
    values = [value for curve in curves for value in curve.values if value > 0]
    wide = max(values) >= 100 * min(values)
    return LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6)


def rows_of_labels(axes: Axes, labels: Sequence[str], limits: tuple[float, float]) -> None:
    """Category labels down the left side, the first on top."""
    axes.set_xlim(*limits)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels], color=COLOURS["ink"])
    axes.spines["left"].set_visible(False)


def _short(label: str) -> str:
    label = " ".join(visible(label).split())
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _tick(value: float, _: int | None = None) -> str:
    """A tick label: 0.0003 -> 3e-4, 1500 -> 1,500, 2500000 -> 2.5M."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.10g}".replace("-", "−")


def _percent_tick(share: float, _: int | None = None) -> str:
    return f"{100 * share:.10g}{SPACE}%"


def inline(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` for a page: CSS colours, the page's font, no size, no metadata, `alt` as label."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser's fonts have it
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    width, height = figure.get_size_inches() * 72
    label = html.escape(visible(alt), quote=True)
    opening = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">'
    body = buffer.getvalue().partition("<svg ")[2].partition(">")[2]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(
        r' id="(?:figure|axes|patch|matplotlib|xtick|ytick|text|line2d|legend|PathCollection)[\w.]*"', "", body
    )
    body = re.sub(r" font-family: [^;\"]*;", "", body).replace("xlink:href", "href")
    body = re.sub(r' transform="rotate\(-0 [\d. -]*\)"', "", body)
    body = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+|\s*\n", r"\1 ", path[0]).replace("  ", " "), body)
    for name, placeholder in COLOURS.items():
        body = body.replace(placeholder, f"var(--plot-{name})")
    return opening + re.sub(r"\n\s*", "\n", body).replace("<defs>\n</defs>\n", "").strip()
