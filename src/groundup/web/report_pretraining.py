"""The report's section on pretraining: what it came to, its curves, and what the model wrote on the way."""

import statistics
from collections.abc import Sequence
from typing import Any

from groundup.web import plots
from groundup.web.report_data import RunRecord, count_not_finite, number, series
from groundup.web.report_html import (
    Child,
    Column,
    decimal,
    facts,
    figure,
    join,
    panels,
    percent,
    prose,
    short,
    size,
    table,
    whole,
)
from groundup.web.report_text import size_text
from groundup.web.report_training import BASELINE_TITLES

Metrics = Sequence[dict[str, Any]]
SEVERAL = ("model", "second", "ink", "third", "neutral", "muted")  # colours of curves in one figure
SAMPLES_SHOWN = 8  # of each prompt


def pretraining_section(record: RunRecord, numbers: dict[str, Any]) -> Child:
    result, metrics = record.result("pretrain"), record.metrics("pretrain")
    if not result and not metrics:
        return None
    thin = "Thin: each logged step; thick: moving average."
    figures = (
        _curve("loss", "Training loss", "nats per token", metrics, thin),
        _validation_figure(metrics, numbers),
        _curve("learning_rate", "Learning rate", "step size", metrics, _peak(metrics), kind="line", from_zero=True),
        _curve(
            "gradient_norm",
            "Gradient norm",
            "before clipping",
            metrics,
            "A lone spike is a bad batch; a rise is the start of a divergence.",
            from_zero=True,
        ),
        _several(
            "gradient_norm_",
            "Gradient norm by role",
            "before clipping",
            metrics,
            "Of the last step before each line, by role of the weights.",
            log=True,
        ),
        _several(
            "update_ratio_",
            "Update ratio",
            "‖Δw‖ / ‖w‖",
            metrics,
            "How far a step moves the weights for their size. About 0.001 is usual for matrices.",
            log=True,
        ),
        _curve("tokens_per_second", "Throughput", "tokens per second", metrics, _median(metrics), from_zero=True),
        _curve(
            "mfu",
            "Model FLOPs utilisation",
            "share of peak",
            metrics,
            "Useful arithmetic as a share of the machine's peak.",
            from_zero=True,
            percent=True,
        ),
        _memory_figure(metrics),
        _several("epochs_", "Epochs", "times through the source", metrics, "Above 1, text is read again."),
    )
    return [_found(record, numbers) if result else None, panels(*figures), _samples(record)]


def _found(record: RunRecord, numbers: dict[str, Any]) -> list[Child]:
    """What the training came to, in a sentence and in numbers."""
    result, metrics = record.result("pretrain"), record.metrics("pretrain")
    _, memory = series(metrics, "memory_bytes")
    _, skipped = series(metrics, "skipped")
    seen = result.get("epochs")
    epochs = [join(f"{name} ", decimal(number(seen, name), 2)) for name in seen] if isinstance(seen, dict) else []
    pairs: list[tuple[str, Child]] = [
        ("parameters", whole(numbers["parameters"])),
        ("tokens seen", [whole(numbers["training_tokens"]), " in ", whole(numbers["training_steps"]), " steps"]),
        ("throughput", [whole(numbers["tokens_per_second"]), " tokens/s"]),
        ("MFU", [percent(numbers["mfu"]), " of ", short(number(result, "peak_flops_per_second")), "FLOP/s peak"]),
    ]
    if epochs:
        pairs.append(("epochs", [epochs[0], *[join(", ", each) for each in epochs[1:]]]))
    if memory:
        pairs.append(("memory", [size(max(memory)), " at most, of the process"]))
    if sum(skipped):
        pairs.append(("updates skipped", whole(sum(skipped))))
    lead = prose(
        "Validation text takes ",
        decimal(numbers["validation_bits_per_byte"]),
        " bits per byte after ",
        short(numbers["training_tokens"]),
        " tokens; the last training loss is ",
        decimal(number(result, "train_loss")),
        " nats per token.",
    )
    return [lead, facts(pairs, twice=True)]


def _peak(metrics: Metrics) -> str:
    _, rates = series(metrics, "learning_rate")
    return f"Peak {max(rates):.3g}, last {rates[-1]:.3g}." if rates else ""


def _median(metrics: Metrics) -> str:
    _, speeds = series(metrics, "tokens_per_second")
    return f"Median {statistics.median(speeds):,.0f} tokens per second." if speeds else ""


def _curve(
    key: str,
    title: str,
    unit: str,
    metrics: Metrics,
    caption: str,
    *,
    kind: str = "noisy",
    from_zero: bool = False,
    percent: bool = False,
) -> Child:
    """One metric of pretraining over its steps; None where it was not logged."""
    steps, values = series(metrics, key)
    if not steps:
        return None
    lost = count_not_finite(metrics, key)
    warning = f" {lost} values are not finite and not drawn: the run diverged there." if lost else ""
    alt = f"{title} ({unit}) over {len(steps)} logged steps: first {values[0]:.4g}, last {values[-1]:.4g}."
    curve = plots.Curve(title, steps, values, kind=kind)
    svg = plots.curve_figure(
        f"pretrain-{key}", alt, unit, [curve], last_step=_last_step(metrics), from_zero=from_zero, percent=percent
    )
    return figure(title, svg, caption + warning)


def _several(prefix: str, title: str, unit: str, metrics: Metrics, caption: str, *, log: bool = False) -> Child:
    """A curve for each metric with the prefix; None where there is none. A logarithmic axis has no place for 0."""
    names = dict.fromkeys(key for line in metrics for key in line if key.startswith(prefix))
    found = [(name.removeprefix(prefix), *series(metrics, name)) for name in names]
    found = [each for each in found if any(value > 0 for value in each[2])]
    if not found:
        return None
    left_out = [name for name, *_ in found[len(SEVERAL) :]]
    found = found[: len(SEVERAL)]
    alt = f"{title} ({unit}), last: " + ", ".join(f"{name} {values[-1]:.3g}" for name, _, values in found) + "."
    curves = [
        plots.Curve(name, steps, values, colour, "noisy" if log else "line")
        for (name, steps, values), colour in zip(found, SEVERAL, strict=False)
    ]
    svg = plots.curve_figure(
        f"pretrain-{prefix}", alt, unit, curves, last_step=_last_step(metrics), from_zero=not log, logarithmic=log
    )
    more = f" Not drawn: {', '.join(left_out)}." if left_out else ""
    return figure(title, svg, caption + more)


def _memory_figure(metrics: Metrics) -> Child:
    steps, values = series(metrics, "memory_bytes")
    if not steps:
        return None
    most = size_text(max(values))
    alt = f"Memory of the process at {len(steps)} logged steps: {most} at most, last {size_text(values[-1])}."
    curve = plots.Curve("memory", steps, [value / 1e9 for value in values])
    svg = plots.curve_figure("pretrain-memory", alt, "GB", [curve], last_step=_last_step(metrics), from_zero=True)
    return figure("Memory", svg, f"What the process holds, {most} at most. A steady rise is a leak.")


def _validation_figure(metrics: Metrics, numbers: dict[str, Any]) -> Child:
    steps, values = series(metrics, "validation_bits_per_byte")
    if not steps:
        return None
    baselines = {name: numbers["bits_per_byte"][name] for name in ("xz", "kneser_ney")}
    levels = [plots.Level(BASELINE_TITLES[name], value) for name, value in baselines.items() if value is not None]
    alt = f"Validation bits per byte at {len(steps)} points: first {values[0]:.3f}, last {values[-1]:.3f}."
    curves = [plots.Curve("validation", steps, values, kind="points")]
    dashed = " Dashed: the baselines on the held-out documents." if levels else ""
    at, averaged = series(metrics, "averaged_bits_per_byte")
    if at:
        curves.append(plots.Curve("averaged weights", at, averaged, "second", kind="points"))
        alt += f" Of the averaged weights: last {averaged[-1]:.3f}."
    svg = plots.curve_figure("validation", alt, "bits per byte", curves, levels, last_step=_last_step(metrics))
    return figure("Validation", svg, f"Bits per byte of validation text.{dashed}")


def _last_step(metrics: Metrics) -> float | None:
    return max((step for line in metrics if (step := number(line, "step")) is not None), default=None)


def _samples(record: RunRecord) -> Child:
    """What the model wrote after each prompt: a table each, of steps spread evenly over the training."""
    by_prompt: dict[str, list[tuple[float, str]]] = {}
    for sample in record.samples("pretrain"):
        step = number(sample, "step")
        if step is not None:
            by_prompt.setdefault(str(sample.get("prompt", "")), []).append((step, str(sample.get("text", ""))))
    tables: list[Child] = []
    for prompt, written in by_prompt.items():
        shown = [written[at] for at in spread(len(written), SAMPLES_SHOWN)]
        caption = f"What the model writes after “{prompt}”" if prompt else "What the model writes without a prompt"
        if len(shown) < len(written):
            caption += f", {len(shown)} of {len(written)} samples"
        cells = [[whole(step), text] for step, text in shown]
        tables.append(table(caption, [Column("step"), Column("text")], cells))
    return tables or None


def spread(count: int, most: int) -> list[int]:
    """At most so many of the places 0 .. count - 1, evenly spread, with both ends."""
    if count <= most:
        return list(range(count))
    return [round(at * (count - 1) / (most - 1)) for at in range(most)]
