"""`groundup profile`: where the time and the memory of a training step go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import PretrainConfig

if TYPE_CHECKING:
    from rich.table import Table

OPERATIONS_SHOWN, WIDEST_NAME = 12, 44


@dataclass(frozen=True)
class Args:
    """Measure what a training step of a recipe, or of any config, does with its time and its memory on this machine.

    The steps are those of `groundup pretrain`, on random tokens or on given ones; nothing is learnt or kept. What comes
    out: the phases of a step, tokens a second and MFU, the operations that take longest, the time of each part of the
    model beside its FLOPs, memory beside what accounting predicts, a roofline, number formats of all tensors, a page
    with all of it, and a trace.

    examples:
      groundup profile
      groundup profile --recipe quickstart --compare-eager --out runs/step
      groundup profile --config runs/notes/config.json --tokens runs/notes
      groundup profile --recompute 1 --compare-recompute
      groundup profile --compute.dtype autocast
      groundup profile --batch-size 8 --model.context-length 1024 --compute.no-compile --repeats 5
    """

    settings: Annotated[PretrainConfig, tyro.conf.arg(name="")]
    out: Path = Path("runs/profile")
    """The run folder to write."""
    tokens: Path | None = None
    """A token shard, or the folder of a pretraining, whose tokens and vocabulary are taken; else tokens are random."""
    warmup: int = 3
    """Steps before the clock starts."""
    repeats: int = 10
    """Steps that are timed."""
    traced: int = 2
    """Steps under PyTorch's profiler."""
    compare_eager: bool = False
    """Measure the step without the compiler too."""
    compare_recompute: bool = False
    """With --recompute, measure the step that keeps all activations too."""
    recipe: str = "quickstart"
    """Named settings to start from."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, PretrainConfig, "pretrain")
    return Args(settings, recipe=option(words, "--recipe") or "quickstart")


def run(args: Args) -> None:
    import os

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # both are read when torch is imported: no lines of its own
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from rich.console import Console

    from groundup.stages.profile import run_profile
    from groundup.stages.profile_config import ProfileConfig

    config = ProfileConfig(
        args.settings, args.warmup, args.repeats, args.traced, args.compare_eager, args.compare_recompute
    )
    result = run_profile(config, args.tokens, args.out)
    console = Console()
    variants = result["variants"]
    tables = (phases(result), *map(operations, variants), parts(result), *map(memory, variants), products(result))
    for table in (*tables, parameter_dtypes(result), computation_dtypes(result)):
        console.print(table)
    print(summary(result))
    print(f"page: {args.out / 'profile.html'}; trace for Perfetto or chrome://tracing: {args.out / 'trace.json'}")
    if len(result["variants"]) == 1 and args.settings.compute.compile:
        print("next: the same with --compare-eager, or with another --batch-size or --model.context-length")


def summary(result: dict[str, Any]) -> str:
    """The step in a line, and how it compares with another one."""
    from groundup.web.profile_text import milliseconds, rate_text
    from groundup.web.report_text import size_text

    main, peak = result["variants"][0], result["roofs"]["peak_flops"]
    lines = [
        f"{main['name']} step: {milliseconds(main['step']['median'])}, {main['tokens_per_second']:,.0f} tokens/s, "
        f"MFU {main['mfu']:.1%} of {rate_text(peak)}, {main['matmul_share']:.0%} in matrix products, "
        f"peak of tensors {size_text(main['memory']['tensors']['peak'])}"
    ]
    for each in result["variants"][1:]:
        times = each["step"]["median"] / main["step"]["median"]
        lines.append(f"{main['name']} is {times:.2f} times as fast as {each['name']}")
    return "\n".join(lines)


def phases(result: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import milliseconds

    variants = result["variants"]
    columns = [name for each in variants for name in (f"{each['name']}, median", "±", "share")]
    table = _table("phases of a step", "phase", *columns)
    for phase in (*variants[0]["phases"], "step"):
        cells = []
        for each in variants:
            value = each["step"] if phase == "step" else each["phases"][phase]
            cells += [milliseconds(value["median"]), milliseconds(value["deviation"])]
            cells.append(f"{value['mean'] / each['step']['mean']:.1%}")
        if phase == "step":
            table.add_section()
        table.add_row(phase, *cells)
    return table


def operations(variant: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import milliseconds, shortened

    whole = variant["traced_step_seconds"]
    table = _table(f"operations by own time, {variant['name']}", "operation", "group", "calls", "own time", "share")
    for row in variant["operations"][:OPERATIONS_SHOWN]:
        name = shortened(row["name"], WIDEST_NAME)
        share = f"{row['seconds'] / whole:.1%}"
        table.add_row(name, row["group"], f"{row['calls']:,.4g}", milliseconds(row["seconds"]), share)
    table.add_section()
    for group, seconds in variant["groups"].items():
        table.add_row("all", group, "", milliseconds(seconds), f"{seconds / whole:.1%}")
    return table


def parts(result: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import milliseconds

    columns = ("modules", "time", "share", "GFLOP", "share of FLOPs")
    table = _table("forward pass by part, uncompiled", "part", *columns)
    for part in result["parts"]:
        flops, share = part["flops"], part["flops_share"]
        told = ("", "") if not flops else (f"{flops / 1e9:,.2f}", f"{share:.1%}")
        count = str(part["modules"] or "")
        table.add_row(part["name"], count, milliseconds(part["mean"]), f"{part['share']:.1%}", *told)
    return table


def memory(variant: dict[str, Any]) -> "Table":
    from groundup.web.report_text import size_text

    table = _table(f"memory of tensors, {variant['name']}", "", "accounting", "measured", "difference")
    for row in variant["memory"]["parts"]:
        predicted, measured = row["predicted"], row["measured"]
        compared = (size_text(predicted), f"{measured / predicted - 1:+.1%}") if predicted else ("", "")
        if row["part"] == "peak":
            table.add_section()
        table.add_row(row["part"], compared[0], size_text(measured), compared[1])
    table.add_row("peak of the process", "", size_text(variant["memory"]["resident"]["peak"]), "")
    return table


def products(result: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import weights_text

    main, roofs = result["variants"][0], result["roofs"]
    table = _table(f"matrix products, {main['name']}", "product", "", "FLOPs/byte", "GFLOP/s", "of roof")
    before = ""
    for each in main["products"]:
        name = weights_text(each)
        table.add_row("" if name == before else name, each["role"], *_under_roof(each))
        before = name
    table.add_section()
    table.add_row("whole step", "", *_under_roof(main))
    table.caption = f"roofs: {roofs['peak_flops'] / 1e9:,.4g} GFLOP/s, {roofs['bandwidth'] / 1e9:,.4g} GB/s, measured"
    return table


def parameter_dtypes(result: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import moments_text

    found = result["dtypes"]
    table = _table(f"number formats, {found['precision']}", "parameters", "", "weight", "gradient", "master", "moments")
    for row in found["parameters"]:
        formats = (row["gradient"] or "-", row["master"] or "-", moments_text(row) or "-")
        table.add_row(row["names"], row["role"], row["weight"], *formats)
    return table


def computation_dtypes(result: dict[str, Any]) -> "Table":
    from groundup.web.profile_text import counts_text

    table = _table("number formats of the computation, with the number of tensors", "tensors", "")
    for what, counts in result["dtypes"]["computation"].items():
        table.add_row(what, counts_text(counts))
    return table


def _under_roof(each: dict[str, Any]) -> tuple[str, str, str]:
    return f"{each['intensity']:,.1f}", f"{each['flops_per_second'] / 1e9:,.1f}", f"{each['share_of_roof']:.0%}"


def _table(title: str, first: str, *others: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="left" if name in ("group", "") else "right", overflow="fold")
    return table
