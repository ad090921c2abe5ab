"""The process that trains one side: `python -m training_peers.worker job.json`, then questions on standard input.

    {"side": "litgpt", "options": {...}, "shape": "19M", "cores": 2}    load, compile, warm up
    {"steps": 3}                          one step that is not timed, three that are: their median rate in tokens/s

The step that is not timed finds caches and memory that others used in the meantime. The side "matrix product" has no
model: it answers with this machine's rate of a bf16 matrix product in FLOP/s.
"""

import math
import statistics
import time
from collections.abc import Callable

from harness.child import Result, serve

WARM_UP = 4  # the first step compiles, forward and backward; the second may compile again, for gradients that are there


def start(job: Result) -> tuple[Result, Callable[[Result], Result]]:
    """Load and warm up one side; its first answer says what it is and how long a step takes."""
    import torch

    torch.set_num_threads(int(job["cores"]))
    if job["side"] == "matrix product":
        return matrix_product()
    from training_peers.shapes import SHAPES
    from training_peers.steps import BUILDERS

    shape = SHAPES[job["shape"]]
    torch.manual_seed(0)
    trainee = BUILDERS[job["side"]](shape, **job["options"])
    began = time.perf_counter()
    losses, seconds = timed(trainee.step, WARM_UP)
    first = {
        "first_loss": losses[0],
        "parameters": trainee.parameters,
        "step_seconds": min(seconds),
        "warm_up_seconds": time.perf_counter() - began,
    }

    def answer(question: Result) -> Result:
        losses, seconds = timed(trainee.step, 1 + int(question["steps"]))
        if not all(map(math.isfinite, losses)):
            raise ArithmeticError(f"the loss became {losses[-1]}")
        return {"rate": shape.tokens / statistics.median(seconds[1:]), "loss": losses[-1]}

    return first, answer


def matrix_product() -> tuple[Result, Callable[[Result], Result]]:
    """The denominator of the share of the matrix rate, measured as the trainings measure it."""
    import torch

    from groundup.kernels.peak import measured_matmul_flops

    return {"step_seconds": 0.0}, lambda question: {"rate": measured_matmul_flops(torch.bfloat16)}


def timed(step: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """The losses and seconds of so many steps."""
    losses, seconds = [], []
    for _ in range(count):
        began = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - began)
    return losses, seconds


if __name__ == "__main__":
    serve(start)
