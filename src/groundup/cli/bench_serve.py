"""`groundup bench-serve`: latency and throughput of a server against the number of its clients."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundup.serving import KEY_VARIABLE
from groundup.stages.config import ServingBenchmarkConfig

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Args:
    """Measure a server: time to first token, time between tokens, whole answers, tokens a second.

    A URL means a server that runs, of any program with OpenAI's API; a run means a server that is started for this and
    stopped. Clients ask again as soon as they have an answer; with --rate requests come at random instead. An API key
    is taken from the environment variable GROUNDUP_API_KEY.

    examples:
      groundup bench-serve runs/quickstart
      groundup bench-serve runs/quickstart --compile --concurrency 1 8 32 --output-tokens 128
      groundup bench-serve http://127.0.0.1:8000 --rate 5 --requests 100
      groundup bench-serve http://127.0.0.1:8000 --prompts prompts.txt --model base
    """

    target: Annotated[str, tyro.conf.Positional]
    """A URL, a run or a checkpoint folder."""
    config: Annotated[ServingBenchmarkConfig, tyro.conf.arg(name="")] = field(default_factory=ServingBenchmarkConfig)
    model: str = ""
    """The model to ask; the server's first if left out."""
    compile: bool = False
    """Start the server with --compile."""
    threads: int = 0
    """Start the server with --threads."""
    out: Path = Path("runs/bench-serve")
    """Where result.json and serving.html go."""


def run(args: Args) -> None:
    from rich.console import Console

    from groundup.stages.serving_benchmark import run_serving_benchmark

    key = os.environ.get(KEY_VARIABLE, "")
    options = [*(["--compile"] if args.compile else []), "--threads", str(args.threads)]
    result = run_serving_benchmark(args.config, args.target, args.out, model=args.model, api_key=key, options=options)
    console = Console()
    console.print(latencies(result))
    failed = sum(level["failed"] for level in result["levels"])
    if failed:
        first = next(level["error"] for level in result["levels"] if level["error"])
        console.print(
            f"{failed} requests failed, the first with: {first}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(
        f"{args.out}/serving.html shows the curves, result.json has the numbers", highlight=False, soft_wrap=True
    )


def latencies(result: dict[str, Any]) -> "Table":
    """A row for each level, times in milliseconds."""
    from rich.table import Table

    shown = Table(title=f"{result['model']}, {result['arrival']}: milliseconds at p50 / p90 / p99")
    for name in ("clients", "first token", "between tokens", "whole", "requests/s", "tokens/s"):
        shown.add_column(name, justify="right")
    for level in result["levels"]:
        kinds = [level[key] for key in ("ttft", "itl", "e2e")]
        times = [" / ".join(_ms(kind[p]) for p in ("p50", "p90", "p99")) for kind in kinds]
        rates = [f"{level[key]:,.1f}" for key in ("requests_per_second", "output_tokens_per_second")]
        shown.add_row(str(level["concurrency"]), *times, *rates)
    return shown


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f}" if seconds < 0.01 else f"{1000 * seconds:.0f}"
