"""The report's sections on alignment: accuracy before and after with intervals, what the policy did, its answers.

A gain is called real only where the paired 95 % interval of the difference to SFT leaves out zero; a control with a
random reward should not reach that.
"""

from collections.abc import Sequence
from typing import Any

from groundup.web import plots
from groundup.web.report_data import ALIGNED, RunRecord, count_not_finite, interval, number, rows, series
from groundup.web.report_html import (
    DASH,
    INTERVAL,
    Child,
    Column,
    Markup,
    between,
    data,
    element,
    figure,
    panels,
    percent,
    points,
    prose,
    table,
    whole,
)
from groundup.web.report_text import points_text

TITLES = {"sft": "SFT", "grpo": "GRPO", "control": "control"}
COLOURS = {"sft": "model", "grpo": "second", "control": "third"}
ANSWERS_SHOWN = 16
POLICY_CURVES = (  # metric, title, unit, caption
    (
        "reward",
        "Reward",
        "mean over the rollouts",
        "What the policy is optimised for; the control's reward is drawn at random and says nothing about its answers.",
    ),
    ("heldout_accuracy", "Held-out accuracy", "share of exact matches", "On prompts that no update saw."),
    (
        "entropy",
        "Entropy",
        "nats per token",
        "Of the policy's next-token distribution; near zero, it has stopped exploring.",
    ),
    (
        "kl",
        "Shift of the policy",
        "KL, nats per token",
        "From the policy that sampled the rollouts to the one updated on them; zero where each batch is used once.",
    ),
    (
        "zero_std_fraction",
        "Groups without a signal",
        "share of groups",
        "All rewards of the group are equal, so its advantages are zero.",
    ),
)
HEALTH = (
    ("clip_fraction_low", "clipped from below, share of tokens"),
    ("clip_fraction_high", "clipped from above, share of tokens"),
    ("ratio_max", "largest probability ratio"),
    ("truncated", "truncated answers, share"),
    ("length_mean", "answer length, tokens"),
    ("gradient_norm", "gradient norm"),
)


def alignment_section(record: RunRecord, numbers: dict[str, Any]) -> Child:
    present = [name for name in ALIGNED if name in record.stages]
    if not present:
        return None
    measured = [name for name in present if numbers["accuracy"][name]]
    parts: list[Child] = [_findings(numbers)]
    if measured:
        parts.append(panels(_accuracy_figure(record, numbers, measured), _accuracy_table(record, numbers, measured)))
    curves = [_sft_loss(record), *[_policy_figure(record, *spec) for spec in POLICY_CURVES]]
    parts.append(panels(*curves))
    return [*parts, _health_table(record)]


def _findings(numbers: dict[str, Any]) -> Child:
    """What changed, and whether that is more than chance, in sentences."""
    accuracy, gain = numbers["accuracy"], numbers["gain"]
    sentences: list[Child] = []
    if accuracy["sft"]:
        sentences += [
            "After instruction tuning the model answers ",
            percent(accuracy["sft"]["estimate"]),
            " of held-out tasks exactly. ",
        ]
    for name, subject in (("grpo", "Reinforcement learning"), ("control", "The control, rewarded at random,")):
        if not accuracy[name]:
            continue
        sentences += [f"{subject} ends at ", percent(accuracy[name]["estimate"])]
        if gain[name]:
            sentences += [", a change of ", points(gain[name]["estimate"]), f" points ({_verdict(gain[name])})"]
        sentences.append(". ")
    if accuracy["grpo"] and not accuracy["control"]:
        sentences.append(
            "No random-reward control was run, so this report cannot say how much of the change a "
            "meaningless reward would have brought."
        )
    return prose(*sentences) if sentences else None


def _verdict(gain: dict[str, float | None]) -> str:
    low, high = gain["low"], gain["high"]
    if low is None or high is None:
        return "no interval"
    bounds = f"{INTERVAL} {points_text(low)} to {points_text(high)}"
    return f"{bounds}, {'within chance' if low <= 0 <= high else 'more than chance'}"


def _task_accuracy(record: RunRecord, stage: str, task: str) -> dict[str, float | None] | None:
    tasks = record.result(stage).get("accuracy_by_task")
    return interval(tasks.get(task)) if isinstance(tasks, dict) else None


def _keys(record: RunRecord, table_name: str) -> list[str]:
    """The keys of a table in any stage's result, such as the tasks, in the order of first mention."""
    found: dict[str, None] = {}
    for name in ALIGNED:
        values = record.result(name).get(table_name)
        found |= dict.fromkeys(values if isinstance(values, dict) else ())
    return list(found)


def _accuracy_figure(record: RunRecord, numbers: dict[str, Any], measured: Sequence[str]) -> Child:
    tasks = _keys(record, "accuracy_by_task")
    drawn = []
    for name in measured:
        values = [numbers["accuracy"][name], *[_task_accuracy(record, name, task) for task in tasks]]
        drawn.append(plots.Dots(TITLES[name], [_bounds(value) for value in values], COLOURS[name]))
    ends = ", ".join(f"{TITLES[name]} {numbers['accuracy'][name]['estimate']:.1%}" for name in measured)
    alt = f"Held-out accuracy with {INTERVAL}s, over all tasks: {ends}."
    svg = plots.interval_figure("accuracy", alt, ["all tasks", *tasks], drawn)
    return figure("Before and after", svg, f"Share of exact answers to held-out prompts; lines are {INTERVAL}s.")


def _bounds(value: dict[str, float | None] | None) -> tuple[float, float, float] | None:
    if value is None or (estimate := value["estimate"]) is None:
        return None
    low, high = value["low"], value["high"]
    return estimate, estimate if low is None else low, estimate if high is None else high


def _accuracy_table(record: RunRecord, numbers: dict[str, Any], measured: Sequence[str]) -> Child:
    overall = [_accuracy_cell(numbers["accuracy"][name], counted=True) for name in measured]
    cells: list[list[Child]] = [["all tasks", *overall]]
    for task in _keys(record, "accuracy_by_task"):
        cells.append([task, *[_accuracy_cell(_task_accuracy(record, name, task)) for name in measured]])
    for k in _keys(record, "pass_at_k"):
        shares = [percent(number(record.result(name), "pass_at_k", k)) for name in measured]
        cells.append([f"pass@{k}, sampled", *shares])
    if any(numbers["gain"].values()):
        cells.append(["change from SFT, points", *[_gain_cell(numbers["gain"].get(name)) for name in measured]])
    columns = [Column(""), *[Column(TITLES[name], True) for name in measured]]
    return table("Accuracy, held-out prompts", columns, cells, emphasis=0)


def _accuracy_cell(value: dict[str, float | None] | None, *, counted: bool = False) -> Child:
    if value is None:
        return DASH
    bounds = element("small", between(value["low"], value["high"]))
    counted = counted and {"correct", "n"} <= set(value)
    counts = [element("small", whole(value["correct"]), " of ", whole(value["n"]))] if counted else []
    return [percent(value["estimate"]), bounds, *counts]


def _gain_cell(value: dict[str, float | None] | None) -> Child:
    if value is None:
        return DASH
    return [points(value["estimate"]), element("small", points(value["low"]), " to ", points(value["high"]))]


def _sft_loss(record: RunRecord) -> Child:
    steps, values = series(record.metrics("sft"), "loss")
    if not steps:
        return None
    alt = (
        f"SFT loss over {len(steps)} logged steps: first {values[0]:.4g}, last {values[-1]:.4g} nats per answer token."
    )
    svg = plots.curve_figure(
        "sft-loss", alt, "nats per answer token", [plots.Curve("SFT", steps, values, kind="noisy")]
    )
    return figure("SFT loss", svg, "Only the tokens of answers count. Thin: each logged step; thick: moving average.")


def _policy_figure(record: RunRecord, key: str, title: str, unit: str, caption: str) -> Child:
    curves, described, lost = [], [], 0
    for name in ("grpo", "control"):  # the first is drawn on top
        steps, values = series(record.metrics(name), key)
        lost += count_not_finite(record.metrics(name), key)
        if steps:
            kind = "points" if key == "heldout_accuracy" else "noisy"
            curves.append(plots.Curve(TITLES[name], steps, values, COLOURS[name], kind))
            described.append(f"{TITLES[name]} from {values[0]:.4g} to {values[-1]:.4g}")
    if not curves:
        return None
    alt = f"{title} ({unit}) over reinforcement learning: {'; '.join(described)}."
    warning = f" {lost} values are not finite and not drawn." if lost else ""
    in_percent = unit.startswith("share of")
    svg = plots.curve_figure(f"policy-{key}", alt, unit, curves, from_zero=True, percent=in_percent)
    return figure(title, svg, caption + warning)


def _health_table(record: RunRecord) -> Child:
    """Mean and maximum over the run of what shows an update going wrong."""
    trained = [name for name in ("grpo", "control") if record.metrics(name)]
    cells: list[list[Child]] = []
    for key, title in HEALTH:
        found = [series(record.metrics(name), key)[1] for name in trained]
        if any(found):
            cells.append([title, *[cell for values in found for cell in _mean_and_maximum(values)]])
    columns = [Column(f"{TITLES[name]} {measure}", True) for name in trained for measure in ("mean", "maximum")]
    return table("Health of the updates", [Column("over all steps"), *columns], cells) if cells else None


def _mean_and_maximum(values: Sequence[float]) -> list[Child]:
    if not values:
        return [DASH, DASH]
    return [data(value, f"{value:.3g}") for value in (sum(values) / len(values), max(values))]


def answers(record: RunRecord) -> Child:
    """What each aligned model answered to the same held-out prompts."""
    given = {name: rows(record.result(name).get("samples")) for name in ALIGNED}
    given = {name: samples for name, samples in given.items() if samples}
    if not given:
        return None
    expected = {str(row.get("prompt")): str(row.get("expected")) for samples in given.values() for row in samples}
    by_prompt = {name: {str(row.get("prompt")): row for row in samples} for name, samples in given.items()}
    cells = []
    for prompt, wanted in list(expected.items())[:ANSWERS_SHOWN]:
        cells.append([_code(prompt), _code(wanted), *[_answer(by_prompt[name].get(prompt)) for name in given]])
    columns = [Column("prompt"), Column("expected"), *[Column(TITLES[name]) for name in given]]
    return table(f"Answers to held-out prompts ({len(cells)} of {len(expected)})", columns, cells)


def _code(text: str) -> Markup:
    return element("code", text)


def _answer(row: dict[str, Any] | None) -> Child:
    if row is None:
        return DASH
    correct = row.get("correct") is True
    mark = element(
        "span",
        "✓ " if correct else "✗ ",
        class_="good" if correct else "bad",
        role="img",
        aria_label="correct" if correct else "wrong",
    )
    return [mark, _code(str(row.get("answer")))]
