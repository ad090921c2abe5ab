"""The process that runs one side: `python -m inference_peers.worker job.json`, then questions on standard input.

    {"side": "transformers", "options": {}, "weights": "bf16", "shape": "124M", "folder": ..., "cores": 2}    load
    {"rows": 1, "length": 16, "count": 64}     the tokens/s of so many greedy tokens behind so many prompts
    {"rows": 1, "length": 512, "count": 0}     the tokens/s of reading a prompt for its next token

A question about shapes that are new is answered after a run that is not timed: it compiles, or fills caches. The first
answer has the first greedy token of some prompts, by which sides show that they run the same model.
"""

import time
from collections.abc import Callable
from pathlib import Path

from harness.child import Result, serve

CHECKED_PROMPTS, CHECKED_LENGTH = 16, 12


def start(job: Result) -> tuple[Result, Callable[[Result], Result]]:
    """Load one side."""
    import torch

    torch.set_num_threads(int(job["cores"]))
    from inference_peers.shapes import SHAPES, prompts
    from inference_peers.sides import SIDES

    shape = SHAPES[job["shape"]]
    side = SIDES[job["side"]](Path(job["folder"]), job["weights"], int(job["cores"]), **job["options"])
    first = [side.prefill(prompt) for prompt in prompts(shape, CHECKED_PROMPTS, CHECKED_LENGTH)]
    known: set[tuple[int, int]] = set()

    def answer(question: Result) -> Result:
        rows, length, count = (int(question[name]) for name in ("rows", "length", "count"))
        given = prompts(shape, rows, length)
        if (rows, count) not in known:
            known.add((rows, count))
            run(given, count)
        began = time.perf_counter()
        run(given, count)
        return {"rate": (rows * count or length) / (time.perf_counter() - began)}

    def run(given: list[list[int]], count: int) -> None:
        if not count:
            side.prefill(given[0])
        elif any(len(ids) != count for ids in side.generate(given, count)):
            raise RuntimeError(f"a text has not the {count} tokens that were asked for")

    return {"first": first}, answer


if __name__ == "__main__":
    serve(start)
