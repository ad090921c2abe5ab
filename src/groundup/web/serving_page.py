"""The page of `groundup bench-serve`: latency and throughput against concurrency, and the roofline of decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from groundup.web.plots import COLOURS, STYLE, inline, panel
from groundup.web.report_html import (
    Child,
    Column,
    Markup,
    card,
    data,
    element,
    figure,
    join,
    page,
    panels,
    prose,
    table,
)
from groundup.web.report_text import short_text, size_text

HEIGHT = 260
COLOURS_OF_LINES = ("model", "second", "third", "neutral")


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    label: str
    values: Sequence[float]
    dashed: bool = False
    steps: Sequence[float] | None = None


def render(result: Mapping[str, Any]) -> str:
    """The page of a result of `stages/serving_benchmark.py`."""
    levels, name = result["levels"], str(result["model"])
    best = max(levels, key=lambda level: level["output_tokens_per_second"])
    lone = min(levels, key=lambda level: level["concurrency"])
    most, alone = f"with clients: {best['concurrency']}", f"median with clients: {lone['concurrency']}"
    cards = [
        card("Throughput", _number(best["output_tokens_per_second"], "tokens/s"), most),
        card("First token", _ms(lone["ttft"]["p50"]), alone),
        card("Between tokens", _ms(lone["itl"]["p50"]), alone),
    ]
    lede = f"{str(result['arrival']).capitalize()}, about {round(lone['mean_prompt_tokens'])} tokens of prompt and "
    lede += f"{result['output_tokens']} of answer for each request; times as the clients see them."
    body = [
        element("header", element("p", "groundup bench-serve", class_="eyebrow"), element("h1", name)),
        element("p", lede, class_="lede"),
        element("dl", *cards, class_="cards"),
        element("section", element("h2", "Latency and throughput"), _curves(levels), _table(levels), id="latency"),
        _roofline(result.get("roofline")),
        element("footer", element("p", "Drawn from result.json.", class_="quiet")),
    ]
    return page(f"{name} · groundup bench-serve", body)


def _curves(levels: Sequence[Mapping[str, Any]]) -> Markup:
    steps = [level["concurrency"] for level in levels]
    drawn = []
    for key, title in (("ttft", "Time to first token"), ("itl", "Between two tokens"), ("e2e", "Whole answer")):
        lines = [Line(p, [1000 * (level[key][p] or 0) for level in levels]) for p in ("p50", "p90", "p99")]
        svg = batch_figure(f"serving-{key}", f"{title}, ms by clients", "ms", "clients", steps, lines)
        drawn.append(figure(title, svg, "Percentiles over all requests of a level."))
    tokens = [Line("output", [level["output_tokens_per_second"] for level in levels])]
    svg = batch_figure("serving-throughput", "tokens a second by clients", "tokens/s", "clients", steps, tokens)
    drawn.append(figure("Throughput", svg, "Tokens of all answers together."))
    return panels(*drawn)


def _table(levels: Sequence[Mapping[str, Any]]) -> Markup:
    names = ("clients", "requests", "failed", "first token", "between tokens", "per token", "whole", "requests/s")
    rows: list[list[Child]] = []
    for level in levels:
        row: list[Child] = [data(level[key], f"{level[key]}") for key in ("concurrency", "requests", "failed")]
        row += [_percentiles(level[key]) for key in ("ttft", "itl", "tpot", "e2e")]
        row += [data(level[key], f"{level[key]:,.1f}") for key in ("requests_per_second", "output_tokens_per_second")]
        rows.append(row)
    columns = [Column(name, numeric=True) for name in (*names, "tokens/s")]
    return table("Milliseconds at p50 / p90 / p99, and rates", columns, rows)


def _roofline(found: Mapping[str, Any] | None) -> Markup | None:
    if found is None:
        return None
    batches = found["batches"]
    steps, values = zip(*found["measured"], strict=True)
    lines = [
        Line("measured", values, steps=steps),
        Line("memory", found["memory"], dashed=True),
        Line("arithmetic", found["compute"], dashed=True),
    ]
    svg = batch_figure("serving-roofline", "Decoded tokens a second by batch", "tokens/s", "sequences", batches, lines)
    text = (
        f"A step reads {size_text(found['bytes_per_token'])} for one sequence ({found['dtype']}, {found['context']} "
        f"tokens of context): weights once for all, keys and values for each. This machine moves "
        f"{size_text(found['bandwidth'])}/s and computes {short_text(found['peak_flops'])}FLOP/s, both measured while "
        "no server ran. What was measured is clients divided by the median time between two tokens, so the way over "
        "HTTP is in it."
    )
    shown = panels(
        figure(
            "Decoded tokens a second",
            svg,
            "What memory and arithmetic allow, and what was measured; both axes are logarithmic.",
        )
    )
    return element("section", element("h2", "Roofline of decoding"), prose(text), shown, id="roofline")


def batch_figure(name: str, alt: str, y_label: str, x_label: str, steps: Sequence[float], lines: Sequence[Line]) -> str:
    """Lines over numbers of clients or sequences, both axes logarithmic; `<svg>`."""
    with style.context(["default", STYLE | {"svg.hashsalt": name}]):
        drawn, axes = panel(left=52, right=14, top=30, bottom=38, height=HEIGHT)
        for line, colour in zip(lines, COLOURS_OF_LINES, strict=False):
            kind = "--" if line.dashed else "o-"
            axes.plot(line.steps or steps, line.values, kind, color=COLOURS[colour], label=line.label, markersize=5)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", nonpositive="mask")
        axes.set_xticks(list(steps), [f"{step:g}" for step in steps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_title(y_label, loc="left", fontsize=12, color=COLOURS["muted"], pad=8)
        axes.set_xlabel(x_label, loc="right", fontsize=12, labelpad=1)
        if len(lines) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.01, 1.0), ncols=len(lines), columnspacing=1.2)
        return inline(drawn, alt)


def _percentiles(seconds: Mapping[str, float | None]) -> Markup:
    cells = [data(value, _milliseconds(value)) for value in seconds.values()]
    return join(cells[0], " / ", cells[1], " / ", cells[2])


def _milliseconds(seconds: float | None) -> str:
    """With a decimal below 10: what decodes fast has a token in less than one."""
    return "" if seconds is None else f"{1000 * seconds:,.1f}" if seconds < 0.01 else f"{1000 * seconds:,.0f}"


def _ms(seconds: float | None) -> Markup:
    return data(seconds, "" if seconds is None else f"{1000 * seconds:,.1f} ms")


def _number(value: float, unit: str) -> Markup:
    return Markup(f"{data(value, f'{value:,.0f}')}{element('small', f' {unit}')}")
