"""`groundup runs`: the runs in a folder as a table, or one run's stages, numbers and origin."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from groundup.core.runs import RunSummary

HEADLINES = 4  # numbers in a row of the table; `--name` shows them all
BEST_FIRST = ("bits_per_byte.model", "validation_bits_per_byte", "accuracy", "tokens_per_second")


@dataclass(frozen=True)
class Args:
    """List the runs in a folder, newest first, or show one run.

    A run is a folder with a config.json. The table shows the stages that are done, whether the whole run is, and its
    headline numbers; --name shows every number of one run, with the command, code and machine that made it.

    examples:
      groundup runs
      groundup runs --name quickstart
      groundup runs experiments/
    """

    root: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """The folder that holds the runs."""
    name: str | None = None
    """Show only this run, in full."""


def run(args: Args) -> None:
    """Print the table, or one run."""
    from groundup.core.config import nearest
    from groundup.core.errors import MissingError
    from groundup.core.runs import list_runs

    if not args.root.is_dir():
        remedy = "make a run with `groundup quickstart`, or name the folder that holds yours."
        raise MissingError(f"There is no folder {args.root}; {remedy}")
    runs = {summary.name: summary for summary in list_runs(args.root)}
    if not runs:
        print(f"No runs in {args.root}; start one with `groundup quickstart`.")
    elif args.name is None:
        _print_table(list(runs.values()))
        newest = next(iter(runs))
        print(f"{len(runs)} in {args.root}; details: groundup runs {args.root} --name {newest}")
    elif args.name not in runs:
        raise MissingError(f"There is no run {args.name!r} in {args.root}; {nearest(args.name, runs)}")
    else:
        _print_run(runs[args.name])


def numbers(summary: "RunSummary") -> dict[str, float]:
    """The numbers of a run by dotted name: the report's `summary.json`, or what the run and its stages recorded."""
    from groundup.core.files import read_json

    report = summary.directory / "summary.json"
    if report.exists():
        return dict(_flat(read_json(report), ""))
    found: dict[str, float] = {}
    for place, directory in (
        ("", summary.directory),
        *((stage, summary.directory / stage) for stage in summary.stages),
    ):
        if (directory / "result.json").exists():
            found |= _flat(read_json(directory / "result.json"), place)
    return found


def _flat(value: Any, place: str) -> Iterator[tuple[str, float]]:  # noqa: ANN401 - JSON
    """The numbers inside JSON objects; an estimate with its interval counts as the estimate, lists are left out."""
    if isinstance(value, Mapping):
        if place and "estimate" in value:
            value = {"": value["estimate"]}
        for key, inner in value.items():
            yield from _flat(inner, ".".join(part for part in (place, key) if part))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, value


def _headlines(summary: "RunSummary") -> str:
    """The few numbers that say how good the run is: the known ones first, then as recorded."""

    def rank(name: str) -> int:
        return next((place for place, known in enumerate(BEST_FIRST) if known in name), len(BEST_FIRST))

    found = numbers(summary)
    return "\n".join(f"{name} {_short(found[name])}" for name in sorted(found, key=rank)[:HEADLINES])


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _print_table(summaries: "list[RunSummary]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "stages", "state", "started", "numbers"):
        table.add_column(column, overflow="fold", no_wrap=column != "numbers")
    for summary in summaries:
        state = "finished" if summary.finished else "unfinished"
        when = time.strftime("%Y-%m-%d\n%H:%M", time.localtime(summary.modified))
        table.add_row(summary.name, "\n".join(summary.stages) or "-", state, when, _headlines(summary))
    Console().print(table, markup=False)


def _print_run(summary: "RunSummary") -> None:
    from groundup.core.files import read_json

    directory = summary.directory
    made = read_json(directory / "provenance.json") if (directory / "provenance.json").exists() else {}
    git, hardware = made.get("git") or {}, made.get("hardware") or {}
    facts = {
        "folder": directory,
        "stages done": ", ".join(summary.stages) or "-",
        "state": "finished" if summary.finished else "unfinished",
        "started": made.get("started", "-"),
        "command": " ".join(made.get("argv", [])) or "-",
        "code": f"{git['commit'][:12]}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else "-",
        "machine": f"{hardware.get('processor', '-')}, {hardware.get('cores', '?')} cores",
        "fingerprint": made.get("fingerprint", "-"),
    }
    for name, value in facts.items():
        print(f"{name:<13}{value}")
    found = numbers(summary)
    width = max((len(name) for name in found), default=0)
    print("\n" + "\n".join(f"{name:<{width}}  {_short(value)}" for name, value in found.items()) if found else "")
    report = directory / "report.html"
    print(f"report: {report}; chat: groundup serve {directory}" if report.exists() else f"log: {directory / 'log.txt'}")
