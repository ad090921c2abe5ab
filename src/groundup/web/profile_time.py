"""Where the time of a step goes, on the page of a profile: phases, operations, parts of the model."""

from collections.abc import Sequence
from typing import Any

from groundup.web import plots
from groundup.web import profile_charts as charts
from groundup.web.profile_text import milliseconds, ms, shortened
from groundup.web.report_html import (
    DASH,
    Child,
    Column,
    data,
    decimal,
    element,
    figure,
    panels,
    percent,
    prose,
    table,
    whole,
)
from groundup.web.report_text import SPACE

OPERATIONS_SHOWN = 14
GROUPS = {
    "matmul": "products with weights, and their gradients",
    "attention": "scores, softmax, sums; states of recurrent mixers",
    "normalisation": "norms between layers",
    "loss": "what follows the logits",
    "elementwise": "activations, residual sums, masks, reductions",
    "copies": "number formats, joining, laying out anew, look-ups",
    "optimizer": "gradient norm, clipping, update",
    "other": "views, Python, PyTorch's bookkeeping",
}


def step_section(result: dict[str, Any]) -> Child:
    variants = result["variants"]
    means = {each["name"]: {phase: value["mean"] for phase, value in each["phases"].items()} for each in variants}
    told = [
        f"{name}: " + ", ".join(f"{phase} {milliseconds(value)}" for phase, value in phases.items())
        for name, phases in means.items()
    ]
    alt = f"Mean time of each phase of a step. {'; '.join(told)}."
    main = variants[0]
    steps = [dict(zip(main["phases"], values, strict=True)) for values in main["timed_steps"]]
    totals = [sum(step.values()) for step in steps]
    alt_steps = f"Each of {len(steps)} timed steps, from {milliseconds(min(totals))} to {milliseconds(max(totals))}."
    count = len(main["timed_steps"])
    caption = f"Means of {count} timed steps, after those that warm up. Phases follow one another without a gap."
    return [
        panels(
            figure("Phases of a step", charts.phase_figure("phases", alt, means), caption),
            figure(
                f"Each step, {main['name']}",
                charts.steps_figure("steps", alt_steps, steps),
                "Steps that are not alike tell of other work on the machine, or of batches that differ.",
            ),
        ),
        panels(*[_phase_table(each) for each in variants]),
    ]


def _phase_table(variant: dict[str, Any]) -> Child:
    phases = {**variant["phases"], "step": variant["step"]}
    rows: list[list[Child]] = [
        [phase, *[ms(value[key]) for key in ("mean", "median", "deviation")], percent(value["mean"] / whole_step)]
        for whole_step in (variant["step"]["mean"],)
        for phase, value in phases.items()
    ]
    columns = [Column("phase"), *[Column(name, True) for name in ("mean", "median", "deviation", "share")]]
    return table(f"Phases, {variant['name']}", columns, rows, emphasis=len(rows) - 1)


def operations_section(result: dict[str, Any]) -> Child:
    variants = result["variants"]
    meaning = table("Groups", [Column("group"), Column("what is in it")], [[*item] for item in GROUPS.items()])
    return [
        panels(_groups_figure(variants), meaning),
        *[_operation_table(each) for each in variants],
    ]


def _groups_figure(variants: Sequence[dict[str, Any]]) -> Child:
    told = "; ".join(
        f"{each['name']}: " + ", ".join(f"{group} {milliseconds(seconds)}" for group, seconds in each["groups"].items())
        for each in variants
    )
    alt = f"Own time of operations by group. {told}."
    if len(variants) > 1:
        series = {each["name"]: list(each["groups"].values()) for each in variants[:3]}
        drawn = charts.pairs_figure("groups", alt, list(GROUPS), series, milliseconds)
    else:
        total = variants[0]["traced_step_seconds"]
        notes = {group: f"{100 * seconds / total:.1f}{SPACE}%" for group, seconds in variants[0]["groups"].items()}
        bars = [
            plots.Bar(group, seconds, notes[group], _group_colour(group))
            for group, seconds in variants[0]["groups"].items()
        ]
        drawn = plots.bar_figure("groups", alt, bars)
    sentences = [
        f"{each['name'].capitalize()}: {100 * each['matmul_share']:.1f}{SPACE}% of the step in matrix products of all "
        f"kinds; a step takes {milliseconds(each['traced_step_seconds'])} while it is traced, "
        f"{milliseconds(each['step']['median'])} otherwise."
        for each in variants
    ]
    return figure("Own time by group", drawn, " ".join(sentences))


def _operation_table(variant: dict[str, Any]) -> Child:
    total = variant["traced_step_seconds"]
    columns = [Column("operation"), Column("group"), Column("calls", True), Column("own time", True)]
    columns.append(Column("share", True))
    rows: list[list[Child]] = [
        [
            element("code", shortened(row["name"]), title=row["name"]),
            row["group"],
            data(row["calls"], f"{row['calls']:,.4g}"),
            ms(row["seconds"]),
            percent(row["seconds"] / total),
        ]
        for row in variant["operations"][:OPERATIONS_SHOWN]
    ]
    return table(f"Operations that take longest, in one step, {variant['name']}", columns, rows)


def _group_colour(group: str) -> str:
    return {"matmul": "model", "attention": "model", "optimizer": "third", "other": "neutral"}.get(group, "second")


def parts_section(result: dict[str, Any]) -> Child:
    parts = result["parts"]
    labels = [part["name"] for part in parts]
    shares = {"time": [part["share"] for part in parts]}
    told = ", ".join(f"{label} {100 * share:.1f} %" for label, share in zip(labels, shares["time"], strict=True))
    alt = f"Parts of the model by their share of the time of a forward pass: {told}."
    shares["FLOPs, by accounting"] = [part["flops_share"] for part in parts]
    drawn = charts.pairs_figure("parts", alt, labels, shares, lambda share: f"{100 * share:.1f}{SPACE}%")
    caption = "Where the time bar is the longer one, a part takes more than its share of the arithmetic."
    columns = [Column("part"), *[Column(name, True) for name in ("modules", "time", "GFLOP", "GFLOP/s")]]
    rows: list[list[Child]] = [
        [
            part["name"],
            whole(part["modules"]) if part["modules"] else DASH,
            [ms(part["mean"]), element("small", f"± {milliseconds(part['deviation'])}")],
            decimal(part["flops"] / 1e9, 2) if part["flops"] else DASH,
            decimal(part["flops"] / part["mean"] / 1e9, 1) if part["flops"] else DASH,
        ]
        for part in parts
    ]
    return [
        prose(
            "One forward pass in training, uncompiled, with a clock at the border of each part. A compiled pass has no "
            "such borders; it is faster, mostly outside the products."
        ),
        panels(figure("Time beside FLOPs", drawn, caption), table("Forward pass by part", columns, rows)),
    ]
