"""What a training step takes of memory by accounting, and which layers to compute again so that it fits.

Recomputing costs a third more arithmetic however many layers are computed again at a time, so that number is the one
that leaves the fewest bytes (`accounting/memory.py`), and it is chosen only where keeping everything does not fit.
"""

import os
from dataclasses import replace

from groundup.accounting.memory import best_checkpoint, training_memory
from groundup.core.errors import ConfigError
from groundup.core.logging import get_logger
from groundup.models.config import DecoderConfig
from groundup.stages.config import PretrainConfig

logger = get_logger(__name__)
KNOWN_OPTIMIZERS = {  # of matrices and of the rest: their name in accounting
    ("muon", "adamw"): "muon",
    ("adamw", "adamw"): "adamw",
    ("adam", "adam"): "adam",
    ("lion", "lion"): "lion",
    ("adagrad", "adagrad"): "adagrad",
    ("sgd", "sgd"): "momentum",
}
MOST_OF_MEMORY = 0.9  # that a prediction may take of the machine
FUSED_ATTENTION = False  # on a CPU ours keeps its weights


def predicted_memory(config: PretrainConfig, dtype: str, recompute: int) -> dict[str, int]:
    """Bytes by accounting; nothing of what is no decoder, and no moments of optimizers that accounting does not
    know."""
    if not isinstance(config.model, DecoderConfig):
        return {}
    kinds = (config.optimizer.matrices.kind, config.optimizer.rest.kind)
    known = KNOWN_OPTIMIZERS.get(kinds)
    rows, context = config.batch_size // config.accumulate, config.model.context_length
    how = {"fused_attention": FUSED_ATTENTION, "checkpoint": recompute}
    memory = vars(training_memory(config.model, rows, context, dtype, known or "sgd", **how))
    return {part: amount for part, amount in memory.items() if known or part != "moments"}


def fitted(config: PretrainConfig) -> PretrainConfig:
    """The config with the `recompute` that its `memory_limit` asks for, where it has one."""
    if not config.memory_limit or config.recompute or not isinstance(config.model, DecoderConfig):
        return config
    dtype, limit = weights_format(config), config.memory_limit * 1e9
    kept = sum(predicted_memory(config, dtype, 0).values())
    if kept <= limit:
        return config
    recompute = best_checkpoint(config.model, config.model.context_length, dtype, FUSED_ATTENTION)
    needed = sum(predicted_memory(config, dtype, recompute).values())
    if needed > limit:
        raise ConfigError(
            f"A step takes about {kept / 1e9:.2f} GB, {needed / 1e9:.2f} GB where activations are computed again, and "
            f"memory_limit is {config.memory_limit:g} GB; raise accumulate (now {config.accumulate}), lower batch_size "
            f"(now {config.batch_size}), or take a smaller model."
        )
    logger.info(
        "a step takes about %.2f GB, more than the limit of %g GB: activations of %d layers at a time are computed "
        "again, %.2f GB",
        *(kept / 1e9, config.memory_limit, recompute, needed / 1e9),
    )
    return replace(config, recompute=recompute)


def require_memory(config: PretrainConfig) -> None:
    """Refuse what would not fit, before anything is allocated."""
    predicted = predicted_memory(config, weights_format(config), config.recompute)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if predicted and (needed := sum(predicted.values())) > MOST_OF_MEMORY * there:
        raise ConfigError(
            f"A step of this config takes about {needed / 1e9:.1f} GB, and this machine has {there / 1e9:.1f} GB; "
            f"lower batch_size (now {config.batch_size}), raise accumulate, recompute, or take a smaller model."
        )


def weights_format(config: PretrainConfig) -> str:
    """That of the weights, by the config alone; "auto" is taken for bfloat16."""
    return "float32" if config.compute.dtype in ("float32", "autocast") else "bfloat16"
