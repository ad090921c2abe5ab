"""Profile: what a training step of a config does with its time and its memory on this machine.

<out>/result.json           the numbers: phases, operations, parts of the model, memory, roofline
      operations.json       every operation by name and group
      trace.json            the traced steps, for chrome://tracing or Perfetto
      metrics.jsonl         each timed step
      profile.html          all of it as a page

A variant that the step is compared with has its trace and its operations beside these. A measurement is of its moment,
so the same command measures again.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.batches.batch import Batches
from groundup.batches.build import training_batches
from groundup.batches.config import CORPUS, DataConfig
from groundup.batches.token_stream import TokenStream
from groundup.core.config import encode
from groundup.core.errors import MissingError
from groundup.core.files import write_json, write_text
from groundup.core.logging import get_logger
from groundup.core.progress import Advance, progress
from groundup.core.runs import Run
from groundup.core.seeds import derive_seed
from groundup.kernels.dispatch import chosen
from groundup.kernels.peak import product_size
from groundup.models.config import DecoderConfig
from groundup.stages.compute import prepare_compute
from groundup.stages.config import PretrainConfig
from groundup.stages.memory_plan import predicted_memory, require_memory
from groundup.stages.profile_config import ProfileConfig
from groundup.tokenization.token_shards import open_shards
from groundup.training.compiling import compile_for_training
from groundup.training.dtype_table import tabulated
from groundup.training.layer_times import Part, time_parts
from groundup.training.objectives import next_token
from groundup.training.operation_groups import group_seconds, product_seconds, rows
from groundup.training.precision import Precision
from groundup.training.profiling import PHASES, Training, phase_seconds, spread, step_seconds, time_steps, watched
from groundup.training.roofline import Roofs, higher, measured_roofs, products, weight_shapes
from groundup.training.state import TrainState
from groundup.training.step_memory import (
    Timeline,
    gradient_bytes,
    sample_step,
    state_bytes,
    tensor_timeline,
    used_bytes,
)
from groundup.training.step_trace import Trace, named_kernels, operations, record
from groundup.web.plots import thin
from groundup.web.profile_page import render

logger = get_logger(__name__)
SYNTHETIC_WINDOWS = 66  # of random tokens, from which batches are drawn
ROWS_KEPT = 30  # operations in result.json; operations.json has all


class Variant(NamedTuple):
    """A way to compute the step: compiled or not, with so many layers at a time whose activations are recomputed."""

    compiled: bool
    recompute: int

    @property
    def name(self) -> str:
        return ("compiled" if self.compiled else "eager") + (", recomputing" if self.recompute else "")


class Setup(NamedTuple):
    """What every variant of the step is measured with; `before` are the process's bytes before there was a model."""

    training: Training
    config: ProfileConfig
    run: Run
    before: int
    advance: Advance


def run_profile(config: ProfileConfig, tokens: Path | None, out: Path) -> dict[str, Any]:
    """Measure; returns the result. `tokens` is a folder of token shards or of a pretraining; None takes random ids."""
    stream, config = token_stream(tokens, config)
    require_memory(config.pretrain)
    pretrain, started = config.pretrain, time.perf_counter()
    horizon = max(pretrain.steps, 100 * (config.warmup + config.repeats + config.traced))
    source = batches(pretrain, stream, horizon)
    with Run(out, config, {"moment": str(time.time_ns())}) as run:
        precision = prepare_compute(pretrain.compute, out).precision
        roofs = measured_roofs(precision.products)
        before = used_bytes(torch.device("cpu"))
        state = TrainState(pretrain.model, pretrain.optimizer, precision, pretrain.seed)
        training = Training(state, source, next_token, pretrain.optimizer, horizon, pretrain.accumulate)
        wanted = variants_of(config)
        with progress("profile", (config.warmup + config.repeats) * (1 + len(wanted))) as advance:
            parts = time_parts(training, config.warmup, config.repeats, advance)
            variants = measure_variants(Setup(training, config, run, before, advance), wanted)
        roofs = higher(roofs, measured_roofs(precision.products))
        result = {
            "seconds": time.perf_counter() - started,
            "tokens": "random" if tokens is None else str(tokens),
            **facts(pretrain, precision.name),
            "roofs": {**roofs._asdict(), "bandwidth": roofs.bandwidth, **measured_product(precision)},
            "variants": [under_roofs(variant, roofs, flops_of_step(pretrain)) for variant in variants],
            "parts": part_rows(parts),
            "dtypes": dtypes(training),
        }
        run.add_provenance(kernels=chosen())
        write_text(out / "profile.html", render(out.name, result, run.provenance, encode(config)))
        return run.finish(result)


def token_stream(place: Path | None, config: ProfileConfig) -> tuple[TokenStream, ProfileConfig]:
    """The ids to train on, and the config with their vocabulary: those of shards, or random ones."""
    model = config.pretrain.model
    if place is None:
        generator = np.random.default_rng(derive_seed("profile", config.pretrain.seed))
        ids = generator.integers(0, model.vocab_size, SYNTHETIC_WINDOWS * model.context_length)
        return TokenStream([ids], separator=0), config  # 0 comes as often as any id
    if not place.is_dir():
        raise MissingError(f"There is no folder {place}; name one of token shards, or of a pretraining.")
    inner = place / "tokens" / "train"
    shards, index = open_shards(inner if inner.is_dir() else place)
    pretrain = replace(config.pretrain, model=replace(model, vocab_size=index.vocab_size))
    return TokenStream(shards, index.separator, str(place)), replace(config, pretrain=pretrain)


def batches(config: PretrainConfig, stream: TokenStream, steps: int) -> Batches:
    """Of one stream instead of a mixture, all of the full size, packed as the config says."""
    data = DataConfig(packing=config.data.packing)
    length = config.model.context_length
    return training_batches(data, {CORPUS: stream}, config.batch_size, length, config.seed, steps)


def measured_product(precision: Precision) -> dict[str, Any]:
    """What the roof of arithmetic was measured with."""
    return {"dtype": str(precision.products).removeprefix("torch."), "width": product_size(precision.products)}


def facts(config: PretrainConfig, dtype: str) -> dict[str, Any]:
    """What the measurements are of."""
    return {
        "model": "decoder" if isinstance(config.model, DecoderConfig) else config.model.kind,
        "parameters": parameters(config.model),
        "batch_size": config.batch_size,
        "context_length": config.model.context_length,
        "tokens_per_step": config.batch_size * config.model.context_length,
        "flops_per_step": flops_of_step(config),
        "dtype": dtype,
        "threads": torch.get_num_threads(),
    }


def flops_of_step(config: PretrainConfig) -> int:
    """By accounting, which counts the whole score matrix of attention."""
    return config.batch_size * config.model.context_length * training_flops_per_token(config.model)


# --- the step, compiled or not ----------------------------------------------------------------------------------------


def variants_of(config: ProfileConfig) -> list[Variant]:
    """The step as the config has it, first; behind it those that it is compared with."""
    main = Variant(config.pretrain.compute.compile, config.pretrain.recompute)
    others = [main._replace(compiled=False)] if config.compare_eager else []
    return [main, *others, *([main._replace(recompute=0)] if config.compare_recompute else [])]


def measure_variants(setup: Setup, wanted: list[Variant]) -> list[dict[str, Any]]:
    """All of them, in that order; those that are not compiled are measured first, because there is no way back."""
    found = {each: measure(setup, each, main=each == wanted[0]) for each in wanted if not each.compiled}
    if wanted[0].compiled:
        with named_kernels():
            compiles = compile_for_training(setup.training.model, setup.training.state.optimizers)
            for each in wanted:
                actual = each if compiles else each._replace(compiled=False)  # there may be no compiler
                if actual not in found:
                    found[actual] = measure(setup, actual, main=each == wanted[0])
            wanted = list(dict.fromkeys(each if compiles else each._replace(compiled=False) for each in wanted))
    return [found[each] for each in wanted]


def measure(setup: Setup, variant: Variant, *, main: bool) -> dict[str, Any]:
    """One variant in numbers; its traced steps and its operations become files."""
    training, config, name = setup.training, setup.config, variant.name
    training.model.recompute = variant.recompute
    logger.info("%s step: %d to warm up, %d timed, %d traced", name, config.warmup, config.repeats, config.traced)
    steps = time_steps(training, config.warmup + config.repeats, setup.advance)
    timed = [phase_seconds(step) for step in steps[config.warmup :]]
    for number, phases in enumerate(timed, 1):
        setup.run.log(number, {"variant": name, "seconds": sum(phases.values()), **phases})
    whole = spread([sum(phases.values()) for phases in timed])
    memory = measure_memory(setup, variant, whole.median)
    trace = record(training, config.traced, compiled=variant.compiled)
    suffix = "" if main else "_" + name.replace(", ", "_")
    write_text(setup.run.directory / f"trace{suffix}.json", json.dumps(trace))
    return {
        "name": name,
        "trace": f"trace{suffix}.json",
        "first_step_seconds": step_seconds(steps[0]),
        "step": whole._asdict(),
        "timed_steps": [list(phases.values()) for phases in timed],
        "phases": {phase: spread([phases[phase] for phases in timed])._asdict() for phase in PHASES},
        "tokens_per_second": config.pretrain.batch_size * config.pretrain.model.context_length / whole.median,
        **operation_facts(setup, trace, setup.run.directory / f"operations{suffix}.json"),
        "memory": memory,
    }


def operation_facts(setup: Setup, trace: Trace, file: Path) -> dict[str, Any]:
    """What the traced steps consist of, by group and name, and their matrix products."""
    found, steps = operations(trace), setup.config.traced
    table = rows(found, steps)
    listed = [row._asdict() for row in table]
    write_json(file, listed)
    seconds = sum(row.seconds for row in table)
    return {
        "traced_step_seconds": seconds,
        "groups": group_seconds(table),
        "matmul_share": product_seconds(table) / seconds,
        "operations": listed[:ROWS_KEPT],
        "products": products(found, steps, weight_shapes(setup.training.model)),
    }


def under_roofs(variant: dict[str, Any], roofs: Roofs, flops: int) -> dict[str, Any]:
    """A variant with where its products, and the step of so many FLOPs as a whole, lie under the roofs."""
    listed = [
        {
            **product._asdict(),
            "intensity": product.intensity,
            "flops_per_second": product.rate,
            "share_of_roof": product.rate / roofs.attainable(product.intensity),
        }
        for product in variant["products"]
    ]
    rate = flops / variant["step"]["median"]
    intensity = flops / sum(product.bytes for product in variant["products"])
    return {
        **variant,
        "mfu": rate / roofs.peak_flops,
        "products": listed,
        "intensity": intensity,
        "flops_per_second": rate,
        "share_of_roof": rate / roofs.attainable(intensity),
    }


# --- memory -----------------------------------------------------------------------------------------------------------


def measure_memory(setup: Setup, variant: Variant, step_seconds: float) -> dict[str, Any]:
    """The memory of the process in one step, that of tensors in another, and both beside accounting's prediction."""
    training = setup.training
    resident = sample_step(training, step_seconds)
    tensors = tensor_timeline(record(training, 1, compiled=variant.compiled, memory=True), training.state)
    weights = str(training.state.precision.weights).removeprefix("torch.")
    predicted = predicted_memory(setup.config.pretrain, weights, variant.recompute)
    return {
        "before": setup.before,
        "resident": timeline_facts(resident),
        "tensors": timeline_facts(tensors),
        "parts": memory_rows(training, tensors, predicted),
    }


def memory_rows(training: Training, tensors: Timeline, predicted: dict[str, int]) -> list[dict[str, Any]]:
    """Accounting's parts beside what is there. Activations and logits are the most that the forward and the backward
    pass hold beyond what training keeps; the first gradients are among them."""
    state = state_bytes(training.state)
    measured = {
        "weights": state.weights,
        "masters": state.masters,
        "moments": state.moments,
        "gradients": gradient_bytes(training),
        "activations and logits": tensors.most_in("forward", "backward") - state.total,
        "peak": tensors.peak,
    }
    expected = dict(predicted)
    if predicted:
        expected["activations and logits"] = predicted["activations"] + predicted["logits"]
    if "moments" in predicted:
        expected["peak"] = sum(predicted.values())
    return [{"part": part, "predicted": expected.get(part), "measured": value} for part, value in measured.items()]


def timeline_facts(timeline: Timeline) -> dict[str, Any]:
    """A timeline as JSON, thinned so that no peak is lost."""
    times, values = thin(timeline.times, timeline.values)
    return {
        "peak": timeline.peak,
        "seconds": [round(float(at), 6) for at in times],
        "bytes": [int(value) for value in values],
        "phases": [span._asdict() for span in timeline.phases],
    }


def dtypes(training: Training) -> dict[str, Any]:
    """The number formats of all tensors, from further steps until one changes the weights."""
    told: list[dict[str, Any]] = []
    ticks = watched(training, lambda phase: None)
    for _ in tabulated(ticks, training.state, training.objective, told.append):
        if told:
            break
    return told[0]


def part_rows(parts: list[Part]) -> list[dict[str, Any]]:
    """Parts of the model with their shares of the forward pass, of its time and of its FLOPs."""
    seconds = sum(part.seconds.mean for part in parts)
    known = [part.flops for part in parts if part.flops is not None]
    return [
        {
            "name": part.name,
            "modules": part.modules,
            **part.seconds._asdict(),
            "share": part.seconds.mean / seconds,
            "flops": part.flops,
            "flops_share": part.flops / sum(known) if part.flops is not None else None,
        }
        for part in parts
    ]
