"""What bounds a step, on the page of a profile: memory beside its prediction, products under the roof."""

from typing import Any

from groundup.web import profile_charts as charts
from groundup.web.profile_charts import Mark, Phase
from groundup.web.profile_text import predicted_bytes, rate_text, weights_text
from groundup.web.report_html import (
    DASH,
    Child,
    Column,
    Markup,
    data,
    decimal,
    element,
    figure,
    panels,
    percent,
    size,
    table,
)
from groundup.web.report_text import SPACE, size_text


def memory_section(result: dict[str, Any]) -> Child:
    shown: list[Child] = []
    for each in result["variants"]:
        memory, name = each["memory"], each["name"]
        predicted = predicted_bytes(memory, "peak")
        level = None if predicted is None else ("accounting", predicted)
        tensors = _memory_figure(
            f"Tensors, {name}",
            f"tensors-{name}",
            memory["tensors"],
            level,
            "Every allocation of PyTorch in one step, on top of weights, masters and moments.",
        )
        process = _memory_figure(
            f"The process, {name}",
            f"process-{name}",
            memory["resident"],
            ("before there was a model", memory["before"]),
            "Resident memory, sampled: with Python, libraries, compiled code, and what the allocator keeps.",
        )
        shown.append(panels(tensors, process))
        shown.append(_memory_table(memory, name))
    return shown


def _memory_figure(
    title: str, name: str, timeline: dict[str, Any], level: tuple[str, int] | None, caption: str
) -> Child:
    alt = f"{title}: bytes over one step, {size_text(min(timeline['bytes']))} to {size_text(timeline['peak'])}"
    alt += f"; {level[0]}: {size_text(level[1])}." if level else "."
    phases = [Phase(phase["phase"], phase["start"], phase["end"]) for phase in timeline["phases"]]
    drawn = charts.memory_figure(name, alt, timeline["seconds"], timeline["bytes"], phases, level)
    return figure(title, drawn, caption)


def _memory_table(memory: dict[str, Any], name: str) -> Child:
    rows: list[list[Child]] = []
    for row in memory["parts"]:
        predicted, measured = row["predicted"], row["measured"]
        off = measured / predicted - 1 if predicted else None
        difference = DASH if off is None else data(off, f"{100 * off:+.1f}{SPACE}%".replace("-", "−"))
        rows.append([row["part"], size(predicted), size(measured), difference])
    columns = [Column("bytes of tensors"), *[Column(word, True) for word in ("accounting", "measured", "difference")]]
    parts = table(f"Measured beside accounting, {name}", columns, rows, emphasis=len(rows) - 1)
    note = (
        "Activations and logits: the most that the forward and the backward pass hold beyond weights, masters and "
        "moments, the gradient of the logits with them. Accounting's peak has the gradients of all weights besides, "
        "which come only as activations go"
    )
    eager = "; and it counts fused kernels, while PyTorch without a compiler keeps what is between operations"
    return [parts, element("p", note + (eager if name.startswith("eager") else "") + ".", class_="quiet")]


def roofline_section(result: dict[str, Any]) -> Child:
    main, roofs = result["variants"][0], result["roofs"]
    numbers: dict[str, str] = {}
    for product in main["products"]:
        numbers.setdefault(weights_text(product), str(len(numbers) + 1))
    marks = [
        Mark(numbers[weights_text(each)], each["role"], each["intensity"], each["flops_per_second"])
        for each in main["products"]
    ]
    marks.append(Mark("", "whole step", main["intensity"], main["flops_per_second"]))
    told = ", ".join(
        f"{weights_text(each)} {each['role']} {rate_text(each['flops_per_second'])}" for each in main["products"]
    )
    alt = f"Roofline: {rate_text(roofs['peak_flops'])} and {size_text(roofs['bandwidth'])}/s. {told}."
    key = [f"{number}  {weights}" for weights, number in numbers.items()]
    drawn = charts.roofline_figure("roofline", alt, roofs["peak_flops"], roofs["bandwidth"], marks, key)
    caption = (
        f"The roof is measured: products of {roofs['width']:,} × {roofs['width']:,}, and the faster of a copy and a "
        "triad. A product stands where its FLOPs a byte and its rate inside the step put it; each tensor counts as "
        "moved once. The whole step has the FLOPs of accounting, the bytes of its products, and its own time: its "
        "distance from the products is time outside of them."
    )
    return panels(
        figure(f"Matrix products under the roof, {main['name']}", drawn, caption), _product_table(main, numbers)
    )


def _product_table(variant: dict[str, Any], numbers: dict[str, str]) -> Child:
    """A row for each kind of weights: how fast its products are, and their share of what the roof allows."""
    rows: list[list[Child]] = []
    for weights, number in numbers.items():
        same = [each for each in variant["products"] if weights_text(each) == weights]
        by_role = {"input gradient" if each["role"] == "backward" else each["role"]: each for each in same}
        flops = sum(each["flops"] for each in same)
        intensity = flops / sum(each["bytes"] for each in same)
        names, _, shape = weights.rpartition(" ") if same[0]["shape"] else (weights, "", "")
        row: list[Child] = [[f"{number} {names} ", element("span", shape, class_="range")], decimal(intensity, 0)]
        row += [_rate(by_role.get(role)) for role in ("forward", "input gradient", "weight gradient")]
        rows.append([*row, _giga(flops / sum(each["seconds"] for each in same))])
    step = [_giga(variant["flops_per_second"]), element("small", percent(variant["share_of_roof"], 0))]
    rows.append(["whole step", decimal(variant["intensity"], 0), DASH, DASH, DASH, step])
    words = ("FLOPs/byte", "forward", "d inputs", "d weights", "all")
    columns = [Column("product"), *[Column(word, True) for word in words]]
    return table("GFLOP/s of the products of a step, and of the roof", columns, rows, emphasis=len(rows) - 1)


def _rate(product: dict[str, Any] | None) -> Child:
    if product is None:
        return DASH
    share = element("small", percent(product["share_of_roof"], 0))
    return [_giga(product["flops_per_second"]), share]


def _giga(flops_per_second: float) -> Markup:
    """GFLOP/s in three digits."""
    value = flops_per_second / 1e9
    return data(value, f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}")
