"""`groundup account`: what a decoder costs, before it is trained: FLOPs, memory, time, money, energy, carbon."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from groundup.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from groundup.accounting.hardware import Hardware
    from groundup.models.config import DecoderConfig

TOKENS_PER_PARAMETER = 20
CONTEXTS = tuple(2**power for power in range(8, 21))  # of the plot
MEASURED, MEASURED_DTYPES = "cpu", ("float32", "bfloat16", "float16")
OTHERS = ("gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl")  # beside what has no family


@dataclass(frozen=True)
class Args:
    """Count what a decoder costs before it is built: FLOPs by component, memory in training and in inference, and a
    run's time, money, energy and carbon.

    A decoder is a preset (llama3-8b, gpt2-xl, depth=12, ...), or a config.json: of a run, of a checkpoint, or of a
    model in Hugging Face's layout. Hardware is h100, a100, b200, rtx4090, tpu-v5e, tpu-v5p, or cpu, which is measured.

    examples:
      groundup account gpt2-xl --hardware a100 --gpus 8 --tokens 40e9
      groundup account llama3-405b --gpus 16000 --tokens 15.6e12 --context 8192 --batch-size 2048 --mfu 0.404
      groundup account runs/quickstart/config.json --hardware cpu --dtype float32
      groundup account deepseek-v3 --context 4096 --checkpoint 1 --plot shares.png
    """

    model: Annotated[str, tyro.conf.Positional]
    """A preset, or a config.json."""
    hardware: str = "h100"
    """What computes."""
    gpus: int = 1
    """How many of them."""
    tokens: float | None = None
    """Tokens to train on; without it 20 for each active parameter."""
    mfu: float = 0.4
    """Model FLOPs utilisation: the share of the peak that is reached, without what is recomputed; 0.35 to 0.45 in
    large runs."""
    batch_size: int | None = None
    """Sequences in a step, all GPUs together; without it one for each GPU."""
    accumulation: int = 1
    """Parts in which a step's sequences are computed, one after the other."""
    context: int | None = None
    """Tokens in a sequence; without it the config's."""
    requests: int = 1
    """Sequences that are decoded together in inference."""
    dtype: str = "bfloat16"
    """The format of weights, activations and cache: float32, tf32, bfloat16, float16, float8, int8."""
    optimizer: str = "adamw"
    """muon (with AdamW), adamw, adam, lion, adagrad, rmsprop, momentum or sgd."""
    checkpoint: int = 0
    """Recompute the activations of so many layers at a time in the backward pass; 0 keeps them all."""
    fused_attention: bool = True
    """Attention whose scores are never written to memory."""
    price: float = 2.0
    """Dollars for an hour of one GPU."""
    carbon: float = 0.24
    """kg CO2e for a kilowatt-hour; 0.24 is about the mean of the European Union, the world's is twice as much."""
    power_overhead: float = 1.0
    """Power of the data centre over that of its GPUs alone."""
    watts: float | None = None
    """Power of one GPU, instead of the most that it may draw."""
    plot: Path | None = None
    """A PNG to write: shares of the components against size and against context length."""
    compare: tuple[str, ...] = ()
    """Presets to plot beside it; without it those of its family."""

    def __post_init__(self) -> None:
        for name in ("gpus", "accumulation", "requests", "batch_size", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name, least in (("checkpoint", 0), ("price", 0), ("carbon", 0), ("power_overhead", 1)):
            if not least <= getattr(self, name) < math.inf:  # so written that NaN is refused too
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.watts is not None and not 0 < self.watts < math.inf:
            raise ConfigError(f"watts is {self.watts}; it must be above 0.")
        if self.tokens is not None and not 1 <= self.tokens < math.inf:
            raise ConfigError(f"tokens is {self.tokens}; it must be at least 1.")
        if not 0 < self.mfu <= 1:
            raise ConfigError(f"mfu is {self.mfu}; it must be above 0 and at most 1, such as 0.4 for 40 %.")


@dataclass(frozen=True)
class Plan:
    """What is counted: the options with everything that they leave open decided."""

    args: Args
    config: "DecoderConfig"
    machine: "Hardware"
    context: int
    tokens: int
    batch_size: int


def run(args: Args) -> None:
    from rich.console import Console

    from groundup.accounting.flops import active_parameters
    from groundup.accounting.memory import size_of

    config = decoder_config(args.model)
    context = args.context or config.context_length
    if config.position_embedding == "learned" and context > config.context_length:
        raise ConfigError(
            f"{args.model} has embeddings for {config.context_length:,} positions, so that its context cannot be "
            f"{context:,}; choose a shorter one."
        )
    size_of(args.dtype)
    machine = processor(args.hardware, args.dtype)
    machine = machine if args.watts is None else replace(machine, watts=args.watts)
    machine.peak(args.dtype)
    tokens = int(args.tokens or TOKENS_PER_PARAMETER * active_parameters(config))
    plan = Plan(args, config, machine, context, tokens, args.batch_size or args.gpus)
    console = Console()
    for table in (_parameters, _flops, _memory, _activations, _training_run, _inference):
        console.print(_wide_enough(table(plan), console.width))
    print(_last_line(plan))


def decoder_config(model: str) -> "DecoderConfig":
    """A preset's config, or that in a JSON file."""
    from groundup.core.config import decode
    from groundup.core.errors import InputError, MissingError
    from groundup.core.files import read_json, require_file
    from groundup.models.config import DecoderConfig
    from groundup.models.presets import PRESETS, preset

    path = Path(model)
    if path.is_dir() and model not in PRESETS:
        path = path / "config.json"
    if path.suffix != ".json":
        try:
            return preset(model)
        except MissingError as error:
            raise MissingError(f"{error} A config of your own is a path to its config.json.") from None
    data = read_json(require_file(path))
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no config, which is an object with named fields.")
    if "model_type" in data:
        from groundup.checkpoint.huggingface_families import family_named

        return family_named(data["model_type"]).read(data)
    for part in ("pretrain", "model"):  # of a quickstart's config.json, and of a training's
        data = data[part] if isinstance(data.get(part), dict) else data
    return decode(DecoderConfig, data, source=str(path))


def processor(name: str, dtype: str) -> "Hardware":
    """Of the table; or this machine's, measured."""
    from groundup.accounting.hardware import HARDWARE, hardware
    from groundup.core.config import nearest
    from groundup.core.errors import MissingError

    if name == MEASURED:
        return measured_processor(dtype)
    if name not in HARDWARE:
        raise MissingError(f"There is no hardware {name!r}; {nearest(name, (*HARDWARE, MEASURED))}")
    return hardware(name)


def measured_processor(dtype: str) -> "Hardware":
    """This machine's: the rate of matrix products, and that of copying what no cache holds."""
    import os
    import time

    import torch

    from groundup.accounting.hardware import Hardware
    from groundup.kernels.peak import measured_matmul_flops

    if dtype not in MEASURED_DTYPES:
        raise ConfigError(f"This machine is measured in {', '.join(MEASURED_DTYPES)}, not in {dtype}.")
    source, target = torch.ones(2**26), torch.empty(2**26)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    moved = 2 * source.nbytes  # read and written
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = measured_matmul_flops(getattr(torch, dtype))
    return Hardware("this machine (measured)", {dtype: peak}, memory, moved / min(seconds))


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _wide_enough(table: "Table", most: int) -> "Table":
    """For its title and caption to stand on one line each, where there is room."""
    longest = max(len(str(text or "")) for text in (table.title, table.caption))
    table.min_width = min(longest, most)
    return table


def _parameters(plan: Plan) -> "Table":
    from groundup.accounting.decoder import embedding_parameters, matrix_parameters, parameters
    from groundup.accounting.flops import active_parameters

    total = parameters(plan.config)
    table = _table(f"{plan.args.model}: parameters", "", "count", "share")
    rows = {
        "all": total,
        "active, passed by a token": active_parameters(plan.config),
        "in matrix products of a token": matrix_parameters(plan.config),
        "tables that are looked up": embedding_parameters(plan.config),
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}", f"{count / total:.1%}")
    return table


def _flops(plan: Plan) -> "Table":
    from groundup.accounting.flops import backward_flops, training_forward_flops

    T, sequences, recompute = plan.context, plan.batch_size, plan.args.checkpoint > 0
    forward = training_forward_flops(plan.config, T)
    backward = backward_flops(plan.config, T, recompute)
    table = _table(
        f"FLOPs at a context of {T:,} tokens (nothing saved by the causal mask)",
        *("component", "share", "forward, a token", f"forward, {T:,} tokens"),
        "backward, recomputing" if recompute else "backward",
        f"step of {sequences:,} × {T:,} tokens",
    )
    for name in (*vars(forward), "total"):
        if name == "total":
            table.add_section()
        there, back = getattr(forward, name), getattr(backward, name)
        if there or name in ("embedding", "attention"):
            cells = (there, there * T, back * T, (there + back) * T * sequences)
            share = f"{there / forward.total:.1%}"
            table.add_row(name.replace("_", "-"), share, *(scaled(cell, "FLOP") for cell in cells))
    return table


def _memory(plan: Plan) -> "Table":
    from groundup.accounting.memory import training_memory

    args, gpus = plan.args, plan.args.gpus
    sequences = -(-plan.batch_size // args.accumulation)
    chosen = (args.dtype, args.optimizer, args.fused_attention, args.checkpoint)
    memory = training_memory(plan.config, sequences, plan.context, *chosen)
    title = f"memory in training: {args.dtype}, {args.optimizer}, {sequences:,} × {plan.context:,} tokens at a time"
    spread = (f"per GPU, spread evenly over {gpus:,}",) if gpus > 1 else ()
    table = _table(title, "", "together", *spread)
    names = {"masters": "fp32 masters", "moments": f"{args.optimizer} moments", "logits": "logits and their gradient"}
    for name, amount in (*vars(memory).items(), ("total", memory.total)):
        if name == "total":
            table.add_section()
        table.add_row(names.get(name, name), scaled(amount, "B"), *(scaled(amount / gpus, "B") for _ in spread))
    each, there = memory.total / gpus, plan.machine.memory_bytes
    verdict = "fits" if each <= there else "does not fit (more --gpus, --accumulation or --checkpoint 1)"
    table.caption = f"{each / there:.0%} of the {scaled(there, 'B')} of {plan.machine.name}: {verdict}"
    return table


def _activations(plan: Plan) -> "Table":
    from groundup.accounting.flops import training_flops
    from groundup.accounting.memory import activation_bytes, best_checkpoint

    config, T, dtype = plan.config, plan.context, plan.args.dtype
    best = best_checkpoint(config, T, dtype)
    ways = {"scores in memory": (False, 0), "fused attention": (True, 0), "fused, each layer recomputed": (True, 1)}
    if best > 1:
        ways[f"fused, {best} layers recomputed at a time"] = (True, best)
    plain = training_flops(config, T).total
    table = _table(f"activations of one sequence of {T:,} tokens", "kept for the backward pass", "bytes", "FLOPs")
    for name, (fused, checkpoint) in ways.items():
        amount = activation_bytes(config, 1, T, dtype, fused, checkpoint)
        factor = training_flops(config, T, checkpoint > 0).total / plain
        table.add_row(name, scaled(amount, "B"), f"× {factor:.2f}")
    return table


def _training_run(plan: Plan) -> "Table":
    from groundup.accounting.costs import Prices, run_cost
    from groundup.accounting.flops import rule_of_thumb_flops, training_flops

    args, machine, tokens = plan.args, plan.machine, plan.tokens
    prices = Prices(args.price, args.carbon, args.power_overhead)
    flops = (rule_of_thumb_flops(plan.config, tokens), training_flops(plan.config, plan.context).total * tokens)
    costs = [run_cost(each, machine, args.gpus, args.mfu, args.dtype, prices) for each in flops]
    achieved = scaled(args.mfu * machine.peak(args.dtype), "FLOP/s")
    where = f"{args.gpus:,} × {machine.name} at {achieved} each (MFU {args.mfu:.1%})"
    table = _table(f"a run of {count(tokens)} tokens on {where}", "", "by 6 N D", "by component")
    table.add_row("FLOPs", *(f"{each:.4g}" for each in flops))
    table.add_row("steps", *(f"{math.ceil(tokens / (plan.batch_size * plan.context)):,}",) * 2)
    table.add_row("time", *(duration(cost.seconds) for cost in costs))
    table.add_row("GPU-hours", *(count(cost.gpu_hours) for cost in costs))
    table.add_row(f"at ${args.price:.2f} an hour", *(f"${count(cost.dollars)}" for cost in costs))
    if machine.watts is None:
        table.caption = f"the power of {machine.name} is not known; --watts gives energy and carbon"
        return table
    table.add_row("energy", *(scaled(1000 * (cost.kilowatt_hours or 0), "Wh") for cost in costs))
    table.add_row("carbon, CO2e", *(mass(cost.kilograms or 0) for cost in costs))
    table.caption = f"{machine.watts:,.0f} W × {args.power_overhead:g}; {args.carbon:g} kg CO2e per kWh"
    return table


def _inference(plan: Plan) -> "Table":
    from groundup.accounting.costs import decode, prefill
    from groundup.accounting.memory import cache_bytes, weight_bytes

    config = replace(plan.config, prediction_heads=0)  # they are for training only
    machine, rows, T, dtype = plan.machine, plan.args.requests, plan.context, plan.args.dtype
    weights, cache = weight_bytes(config, dtype), cache_bytes(config, rows, T, dtype)
    gpus = math.ceil((weights + cache) / machine.memory_bytes)
    title = f"inference at best: {rows:,} × {T:,} tokens on {gpus:,} × {machine.name}, {dtype}"
    table = _table(title, "", f"prefill of {rows * T:,} tokens", f"decoding {rows:,} more")
    works, made = (prefill(config, rows, T, dtype), decode(config, rows, T, dtype)), (rows * T, rows)
    table.add_row("FLOPs", *(scaled(work.flops, "FLOP") for work in works))
    table.add_row("weights and cache moved", *(scaled(work.bytes, "B") for work in works))
    table.add_row("intensity, FLOPs a byte", *(f"{work.intensity:,.4g}" for work in works))
    table.add_row("bound by", *(work.bound(machine, dtype) for work in works))
    seconds = [work.seconds(machine, dtype, gpus) for work in works]
    table.add_row("time", *(duration(each) for each in seconds))
    table.add_row("tokens a second", *(f"{many / each:,.4g}" for many, each in zip(made, seconds, strict=True)))
    table.caption = (
        f"weights {scaled(weights, 'B')}; cache {scaled(cache, 'B')}, {scaled(cache / rows / T, 'B')} a token; "
        f"arithmetic bounds from {machine.ridge(dtype):,.0f} FLOPs a byte on"
    )
    return table


def _last_line(plan: Plan) -> str:
    args, name = plan.args, plan.args.model
    if args.plot is None:
        return f"next: groundup account {name} --plot shares.png; or another --hardware, --context or --dtype"
    from groundup.core.files import write_bytes
    from groundup.models.presets import PRESETS, preset
    from groundup.web.accounting_chart import component_shares_chart

    family = [each for each in PRESETS if each.partition("-")[0] == name.partition("-")[0]]
    beside = args.compare or (family if len(family) > 1 else OTHERS)
    sizes = {each: preset(each) for each in beside} | {name: plan.config}
    write_bytes(args.plot, component_shares_chart(sizes, name, CONTEXTS, plan.context))
    return f"shares of the components in {len(sizes)} decoders: {args.plot}"


def scaled(value: float, unit: str) -> str:
    """With four digits and the prefix that suits: 4.513 TFLOP. Beyond exa as a power of ten."""
    if value and value >= 1e21:
        return f"{value:.3e} {unit}"
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def count(value: float) -> str:
    """26.36 million; 15.6 trillion; small ones in full."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:,.4g} {word}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """In the unit that suits, up to days."""
    for size, word in ((2 * 86_400, "days"), (2 * 3600, "hours"), (120, "minutes"), (1, "s"), (1e-3, "ms")):
        if seconds >= size:
            unit = {"days": 86_400, "hours": 3600, "minutes": 60}.get(word, size)
            return f"{seconds / unit:,.4g} {word}" if seconds / unit < 10_000 else f"{seconds / unit:,.0f} {word}"
    return f"{1e6 * seconds:.4g} µs"


def mass(kilograms: float) -> str:
    """kg, or tonnes."""
    return f"{kilograms / 1000:,.4g} t" if kilograms >= 1000 else f"{kilograms:.4g} kg"
