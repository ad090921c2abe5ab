"""The figures of a profile, as inline SVG in the manner of `plots`: phases, parts of the model, memory, roofline.

Colours mean the same in all of them: forward blue, backward orange, optimizer grey. One unit is one CSS pixel at the
natural width of a figure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from groundup.web.plots import CHARACTER_WIDTH, COLOURS, STYLE, WIDTH, inline, panel, rows_of_labels
from groundup.web.profile_text import milliseconds, rate_text
from groundup.web.report_text import size_text, visible

PHASE_COLOURS = {"data": "ink", "forward": "model", "backward": "second", "clipping": "neutral", "optimizer": "third"}
SERIES = ("model", "third", "second")
ROLES = {  # of a product: its marker and its colour
    "forward": ("o", "model"),
    "recomputed": ("v", "model"),
    "input gradient": ("s", "second"),
    "weight gradient": ("^", "second"),
    "backward": ("D", "second"),
    "optimizer": ("p", "third"),
    "whole step": ("*", "ink"),
}
ON_A_BAR, ON_A_BAR_CSS = "#010280", "var(--card)"  # text: light on dark colours in light mode, and the other way round
SMALL = 11  # px, of text inside figures
SMALL_LINE = 14
ROOFLINE_HEIGHT = 400


class Mark(NamedTuple):
    """A product on the roofline: the number that stands beside it, its role, FLOPs a byte, and FLOP/s."""

    number: str
    role: str
    intensity: float
    rate: float


class Phase(NamedTuple):
    """From when to when, in seconds."""

    name: str
    start: float
    end: float


def phase_figure(name: str, alt: str, variants: Mapping[str, Mapping[str, float]]) -> str:
    """A bar for each variant of the step, in which each phase has its seconds; returns `<svg>`."""
    with _styled(name, grid="x"):
        left, right = 14 + CHARACTER_WIDTH * max(map(len, variants)), 18
        figure, axes = panel(left, right, top=30, bottom=36, height=66 + 44 * len(variants))
        longest = max(sum(phases.values()) for phases in variants.values())
        starts = [0.0] * len(variants)
        for phase, colour in PHASE_COLOURS.items():
            widths = [phases[phase] for phases in variants.values()]
            axes.barh(range(len(variants)), widths, left=starts, height=0.62, color=COLOURS[colour], label=phase)
            for row, (start, width) in enumerate(zip(starts, widths, strict=True)):
                text = milliseconds(width)
                if width / longest * (WIDTH - left - right) > CHARACTER_WIDTH * len(text) + 6:
                    place = {"ha": "center", "va": "center_baseline", "color": ON_A_BAR, "fontsize": SMALL}
                    axes.annotate(text, (start + width / 2, row), **place)
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        rows_of_labels(axes, list(variants), limits=(0, longest))
        _seconds_as_milliseconds(axes, "x")
        axes.set_xlabel("ms", loc="right", fontsize=12, labelpad=1)
        start = -(left - 8) / (WIDTH - left - right)
        axes.legend(loc="lower left", bbox_to_anchor=(start, 1.0), ncols=5, columnspacing=0.9, handletextpad=0.4)
        return _adapted(inline(figure, alt))


def steps_figure(name: str, alt: str, steps: Sequence[Mapping[str, float]]) -> str:
    """A column for each timed step, in which each phase has its seconds: what is not alike is seen; `<svg>`."""
    with _styled(name, grid="y"):
        figure, axes = panel(left=52, right=14, top=26, bottom=38, height=200)
        axes.set_title("ms", loc="left", fontsize=12, color=COLOURS["muted"], pad=8)
        axes.set_xlabel("timed step", loc="right", fontsize=12, labelpad=1)
        places, starts = range(1, len(steps) + 1), np.zeros(len(steps))
        for phase, colour in PHASE_COLOURS.items():
            heights = np.array([step[phase] for step in steps])
            axes.bar(places, heights, bottom=starts, width=0.7, color=COLOURS[colour])
            starts += heights
        axes.set_xlim(0.4, len(steps) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        _seconds_as_milliseconds(axes, "y")
        return inline(figure, alt)


def pairs_figure(
    name: str,
    alt: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    shown: Callable[[float], str],
) -> str:
    """For each label a bar of each of two or three series, with their values as `shown`; `<svg>`."""
    with _styled(name, grid="x"):
        known = {key: [value for value in values if value is not None] for key, values in series.items()}
        longest = max(len(shown(value)) for values in known.values() for value in values)
        left, right = 14 + CHARACTER_WIDTH * max(map(len, labels)), 10 + CHARACTER_WIDTH * longest
        figure, axes = panel(left, right, top=28, bottom=4, height=36 + (6 + 16 * len(series)) * len(labels))
        height = 16 / (6 + 16 * len(series))
        for number, ((key, values), colour) in enumerate(zip(series.items(), SERIES, strict=False)):
            offset = (number - (len(series) - 1) / 2) * height
            rows = [row + offset for row, value in enumerate(values) if value is not None]
            axes.barh(rows, known[key], height=0.9 * height, color=COLOURS[colour], label=key)
            for row, value in zip(rows, known[key], strict=True):
                near = {"textcoords": "offset points", "va": "center_baseline", "fontsize": SMALL}
                axes.annotate(shown(value), (value, row), (5, 0), **near)
        rows_of_labels(axes, labels, limits=(0, max(max(values, default=0) for values in known.values()) or 1))
        axes.spines["bottom"].set_visible(False)
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.015, 1.0), ncols=3, columnspacing=1.4)
        return inline(figure, alt)


def memory_figure(
    name: str,
    alt: str,
    times: Sequence[float],
    values: Sequence[int],
    phases: Sequence[Phase],
    level: tuple[str, int] | None = None,
) -> str:
    """Bytes over one step, with the phases as a strip above and their borders as lines; `level` is a dashed line that
    the curve is compared with; `<svg>`."""
    with _styled(name, grid="y"):
        left, right = 52, 14
        figure, axes = panel(left, right, top=46, bottom=38, height=270)
        largest = max([*values, level[1] if level else 0])
        scale, unit = next((each for each in ((1e9, "GB"), (1e6, "MB")) if largest >= each[0]), (1e3, "kB"))
        axes.set_title(unit, loc="left", fontsize=12, color=COLOURS["muted"], pad=28)
        heights = [value / scale for value in values]
        axes.plot(times, heights, color=COLOURS["model"], linewidth=1.6)
        under = [times[0], *times, times[-1]], [0, *heights, 0]
        axes.fill(*under, color=COLOURS["model"], alpha=0.13, linewidth=0)
        axes.set_ylim(0, 1.16 * largest / scale)
        axes.set_xlim(0, times[-1])
        if level is not None:
            axes.axhline(level[1] / scale, color=COLOURS["neutral"], linewidth=1.2, linestyle=(0, (4, 3)))
            at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
            text = f"{level[0]} {size_text(level[1])}"
            axes.annotate(text, (1, level[1] / scale), (-2, 4), color=COLOURS["muted"], fontsize=12, **at)
        for phase in phases:
            _draw_phase(axes, phase, (WIDTH - left - right) / times[-1])
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        _seconds_as_milliseconds(axes, "x")
        axes.set_xlabel("ms", loc="right", fontsize=12, labelpad=1)
        return inline(figure, alt)


def roofline_figure(
    name: str, alt: str, peak_flops: float, bandwidth: float, marks: Sequence[Mark], key: Sequence[str]
) -> str:
    """FLOPs a byte against FLOP/s, both logarithmic: the roof, a mark for each product with its number, and the `key`
    of the numbers in the empty corner below; `<svg>`."""
    with _styled(name, grid="y"):
        left, right, top, bottom = 48, 12, 26, 38
        figure, axes = panel(left, right, top, bottom, height=ROOFLINE_HEIGHT)
        ridge = peak_flops / bandwidth
        low = min(ridge, *(mark.intensity for mark in marks)) / 2
        high = max(ridge, *(mark.intensity for mark in marks)) * 2
        ceiling, lowest = peak_flops * 1.6, min(low * bandwidth, *(mark.rate for mark in marks)) / 1.3
        words = SMALL_LINE * max(len(key), len({mark.role for mark in marks})) + 14
        reserved = words / (ROOFLINE_HEIGHT - top - bottom)  # of the height, below all marks, for key and legend
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        axes.set_ylim((lowest / ceiling**reserved) ** (1 / (1 - reserved)), ceiling)
        axes.plot([low, ridge, high], [low * bandwidth, peak_flops, peak_flops], color=COLOURS["ink"], linewidth=1.6)
        muted = {"color": COLOURS["muted"], "fontsize": SMALL, "textcoords": "offset points"}
        side = "left" if ridge**2 < low * high else "right"  # of the ridge, where there is room
        axes.annotate(f"{rate_text(peak_flops)} of matrix products", (ridge, peak_flops), (0, 6), ha=side, **muted)
        angle = _slope(axes, left + right, top + bottom)
        below = (
            8 * np.cos(angle) + 5 * np.sin(angle),
            8 * np.sin(angle) - 5 * np.cos(angle),
        )
        turned = {"rotation": np.degrees(angle), "rotation_mode": "anchor", "va": "top"}
        axes.annotate(f"{size_text(bandwidth)}/s", (low, low * bandwidth), below, **turned, **muted)
        for role, (marker, colour) in ROLES.items():
            here = [mark for mark in marks if mark.role == role]
            if here:
                points = [mark.intensity for mark in here], [mark.rate for mark in here]
                axes.plot(*points, marker, color=COLOURS[colour], markersize=12 if marker == "*" else 7, label=role)
        _number(axes, [mark for mark in marks if mark.number], (WIDTH - left - right, ROOFLINE_HEIGHT - top - bottom))
        for row, text in enumerate(reversed(key)):
            place = {"xycoords": "axes fraction", "ha": "right"}
            axes.annotate(visible(text), (1, 0), (-4, 8 + SMALL_LINE * row), **place, **muted)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ticks = (digit * 10**power for power in range(3, 18) for digit in (1, 2, 5))
        axes.set_yticks([tick for tick in ticks if lowest <= tick <= ceiling])  # none among the words
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e9:g}"))
        axes.set_title("GFLOP/s", loc="left", fontsize=12, color=COLOURS["muted"], pad=8)
        axes.set_xlabel("FLOPs a byte", loc="right", fontsize=12, labelpad=1)
        axes.legend(loc="lower left", fontsize=SMALL, handletextpad=0.2, borderpad=0.2, labelspacing=0.3)
        return inline(figure, alt)


@contextmanager
def _styled(name: str, grid: str) -> Iterator[None]:
    with style.context(["default", STYLE | {"svg.hashsalt": name, "axes.grid.axis": grid}]):
        yield


def _adapted(svg: str) -> str:
    return svg.replace(ON_A_BAR, ON_A_BAR_CSS)


def _seconds_as_milliseconds(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:,.10g}"))


def _draw_phase(axes: Axes, phase: Phase, pixels_per_second: float) -> None:
    """A piece of the strip above the axes, named where there is room, and a line where the phase ends."""
    colour, where = COLOURS[PHASE_COLOURS[phase.name]], axes.get_xaxis_transform()
    width = phase.end - phase.start
    axes.barh(1.035, width, left=phase.start, height=0.035, color=colour, transform=where, clip_on=False, linewidth=0)
    axes.axvline(phase.end, color=COLOURS["rule"], linewidth=0.8)
    if width * pixels_per_second > CHARACTER_WIDTH * len(phase.name):
        place = {"ha": "center", "va": "bottom", "transform": where}
        axes.text(phase.start + width / 2, 1.07, phase.name, color=COLOURS["muted"], fontsize=SMALL, **place)


def _slope(axes: Axes, across: float, down: float) -> float:
    """The angle of a line whose rate grows with its intensity."""
    (x_low, x_high), (y_low, y_high) = np.log(axes.get_xlim()), np.log(axes.get_ylim())
    rise = (ROOFLINE_HEIGHT - down) / (y_high - y_low)
    return float(np.arctan2(rise, (WIDTH - across) / (x_high - x_low)))


def _number(axes: Axes, marks: Sequence[Mark], size: tuple[float, float]) -> None:
    """Numbers beside the marks, each on the side where it is farthest from other marks and numbers."""
    (x_low, x_high), (y_low, y_high) = np.log(axes.get_xlim()), np.log(axes.get_ylim())
    scale = np.array([size[0] / (x_high - x_low), size[1] / (y_high - y_low)])
    points = [(np.log([mark.intensity, mark.rate]) - [x_low, y_low]) * scale for mark in marks]
    taken = list(points)
    for mark, point in zip(marks, points, strict=True):
        sides = [point + 11 * np.array([np.cos(angle), np.sin(angle)]) for angle in np.linspace(0, 2 * np.pi, 13)[:-1]]
        others = [other for other in taken if other is not point]
        best = max(sides, key=lambda side: min((float(np.hypot(*(side - other))) for other in others), default=0.0))
        taken.append(best)
        offset = best - point
        place = {"ha": "center", "va": "center", "fontsize": SMALL, "textcoords": "offset points"}
        axes.annotate(mark.number, (mark.intensity, mark.rate), tuple(offset), color=COLOURS["ink"], **place)
