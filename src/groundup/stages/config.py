"""What the stages are asked for, as data; no torch, so that the command line's help is instant."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from groundup.accounting.budget import parse_budgets
from groundup.alignment.config import GrpoConfig
from groundup.batches.config import DataConfig
from groundup.core.config import WATCHING, nearest
from groundup.core.errors import ConfigError
from groundup.corpus.config import CorpusConfig
from groundup.models.config import DecoderConfig
from groundup.models.model_config import ModelConfig
from groundup.optim.batch_ramp import BatchRamp, rows_before
from groundup.optim.config import OptimizerConfig
from groundup.optim.optimizer_config import AdamW
from groundup.optim.schedule_config import Constant
from groundup.tokenization.config import TokenizerConfig
from groundup.training.config import AverageConfig, GuardConfig

DTYPES = ("auto", "float32", "bfloat16", "autocast", "float16", "float8")
SINKS = ("tensorboard", "wandb", "trackio")


@dataclass(frozen=True)
class ComputeConfig:
    """How to compute. dtype "auto" measures whether bf16 matrix products are faster here than fp32 ones, and takes
    bfloat16 or float32; `threads` 0 means one for each core; `compile` needs a C++ compiler and runs eager without."""

    dtype: str = "auto"
    """One of auto; float32; bfloat16 (weights, with fp32 masters); autocast (fp32 weights, bf16 products); float16
    (with fp32 masters and a scaled loss); float8 (emulated: bf16 weights whose products round to float8)."""
    compile: bool = True
    threads: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}; choose one of {', '.join(DTYPES)}.")
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; it must be 0 (one for each core) or more.")


@dataclass(frozen=True)
class PretrainConfig:
    """Next-token training from random weights. The model's `vocab_size` is taken from the tokenizer.

    Where memory is short: `accumulate` cuts each batch into so many parts, one after the other; with `recompute`, the
    activations inside so many layers at a time are computed again in the backward pass; a `memory_limit` in GB that a
    step would exceed by accounting chooses that number. `budget` ("10min", "1e15flops",
    "20tok/param", "4epochs", or several: "1h,4epochs", of which the least holds) decides the steps instead; for a time
    they are derived from the first ones, which are measured.
    `start_from`: a checkpoint or run whose weights to start from. The newest `keep_checkpoints` stay, and those of
    every `keep_every` steps where that is not 0."""

    model: ModelConfig = field(default_factory=DecoderConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    steps: int = 500
    budget: str = ""
    start_from: Path | None = None
    batch_size: int = 16
    batch_ramp: BatchRamp = field(default_factory=BatchRamp)
    data: DataConfig = field(default_factory=DataConfig)
    accumulate: int = 1
    recompute: int = 0
    memory_limit: float = 0.0
    guard: GuardConfig = field(default_factory=GuardConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 50
    evaluate_windows: int = 64
    checkpoint_every: int = 50
    keep_checkpoints: int = 2
    keep_every: int = 0
    log_to: tuple[str, ...] = field(default=(), metadata=WATCHING)
    """Where the metrics are shown besides: tensorboard, wandb, trackio."""
    dashboard: bool = field(default=True, metadata=WATCHING)
    """A panel with curves where there is a terminal; without it, a bar."""
    sample_prompts: tuple[str, ...] = field(default=("",), metadata=WATCHING)
    """What the model continues at each evaluation; "" lets it begin a text. None: no samples."""
    sample_tokens: int = field(default=48, metadata=WATCHING)
    """How long a sample is."""

    def __post_init__(self) -> None:
        require_positive(
            self,
            "steps",
            "keep_checkpoints",
            "batch_size",
            "log_every",
            "evaluate_every",
            "evaluate_windows",
            "checkpoint_every",
            "accumulate",
            "sample_tokens",
        )
        named = [name for words in self.log_to for name in words.split(",") if name]  # with commas or spaces
        object.__setattr__(self, "log_to", tuple(dict.fromkeys(named)))
        for name in self.log_to:
            if name not in SINKS:
                raise ConfigError(f"There is no {name!r} to log to; {nearest(name, SINKS)}")
        if self.budget:
            parse_budgets(self.budget)
        if self.batch_size % self.accumulate:
            raise ConfigError(f"batch_size {self.batch_size} cannot be cut into {self.accumulate} equal parts.")
        for name in ("recompute", "keep_every", "memory_limit"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")

    def rows_before(self, step: int) -> int:
        """Rows of all batches before a step; each part of an accumulated batch has as many as the others."""
        return rows_before(self.batch_ramp, step, self.batch_size, self.accumulate)


@dataclass(frozen=True)
class Variant:
    """One of several pretrainings that are compared."""

    name: str
    pretrain: PretrainConfig


@dataclass(frozen=True)
class AblationConfig:
    """Pretrainings beside the first of them, the base. Each is trained with `seeds` seeds, which decide the weights and
    the order of the data, for as many FLOPs as the base's steps take; `steps` of the others are derived from that."""

    variants: tuple[Variant, ...]
    seeds: int = 3

    def __post_init__(self) -> None:
        require_positive(self, "seeds")
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"The variants are {', '.join(names) or 'none'}; there must be some, each with its name.")
        for name in names:
            if not re.fullmatch(r"\w[\w.+-]*( [\w.+-]+)*", name):
                raise ConfigError(f"A variant is called {name!r}; it names a folder: use letters, digits and - . + _.")


@dataclass(frozen=True)
class EvaluateConfig:
    """Held-out bits per byte against baselines, samples, and a likelihood task.

    `stride` is by how many tokens the scored windows move on: the context length gives lm-eval's rolling windows,
    0 means that; smaller ones give each token more context.
    """

    compute: ComputeConfig = field(default_factory=lambda: ComputeConfig(compile=False))
    stride: int = 0
    kneser_ney_order: int = 8
    baselines: bool = True
    continuation_questions: int = 200
    sample_prompts: tuple[str, ...] = ("Fellow citizens,", "The state of the Union", "We must", "Our army and navy")
    sample_tokens: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "kneser_ney_order", "sample_tokens")


@dataclass(frozen=True)
class SftConfig:
    """Supervised fine-tuning on verifiable instructions, until greedy accuracy on validation instructions reaches
    `target_accuracy` or `max_steps` is reached; then the learning rate falls to zero over `anneal_steps`.

    A target below 1 leaves reinforcement learning something to do; annealing settles the weights before it.
    """

    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            matrix_learning_rate=0.005,
            learning_rate=1e-3,
            embedding_learning_rate=0.01,
            schedule=Constant(),
            warmup_steps=5,
            weight_decay=0.0,
        )
    )
    compute: ComputeConfig = field(default_factory=lambda: ComputeConfig(compile=False))
    max_steps: int = 200
    batch_size: int = 64
    evaluate_every: int = 10
    target_accuracy: float = 0.2
    anneal_steps: int = 20
    validation_examples: int = 200
    heldout_examples: int = 500
    pass_at_8_examples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "max_steps", "batch_size", "evaluate_every", "validation_examples", "heldout_examples")
        if self.anneal_steps < 0:
            raise ConfigError(f"anneal_steps is {self.anneal_steps}; it must be 0 or more.")
        if not 0 < self.target_accuracy <= 1:
            raise ConfigError(f"target_accuracy is {self.target_accuracy}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class RlConfig:
    """Reinforcement learning from verifiable rewards with GRPO."""

    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            matrices=AdamW(),
            learning_rate=5e-5,
            embedding_learning_rate=5e-5,
            schedule=Constant(),
            warmup_steps=5,
            weight_decay=0.0,
        )
    )
    compute: ComputeConfig = field(default_factory=lambda: ComputeConfig(compile=False))
    evaluate_every: int = 20
    checkpoint_every: int = 10
    heldout_examples: int = 500
    pass_at_8_examples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "evaluate_every", "checkpoint_every", "heldout_examples")


@dataclass(frozen=True)
class QuickstartConfig:
    """Every stage's config; `control` also runs GRPO with a random reward, which must not help."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    grpo: RlConfig = field(default_factory=RlConfig)
    control: bool = True


def require_positive(config: object, *names: str) -> None:
    """Raise a `ConfigError` for the first named field that is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be at least 1.")


@dataclass(frozen=True)
class ServingBenchmarkConfig:
    """How a server is asked."""

    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of clients, one level each."""
    requests: int = 0
    """Requests of each level; 0 for eight of each client."""
    rate: float | None = None
    """Requests a second, at random times."""
    prompt_tokens: int = 64
    """About how long random prompts are."""
    output_tokens: int = 64
    """How long answers are."""
    prompts: Path | None = None
    """A file with a prompt on each line, instead of random ones."""
    seed: int = 0
    """The same seed asks the same."""

    def __post_init__(self) -> None:
        if not self.concurrency or min(self.concurrency) < 1:
            raise ConfigError(f"concurrency is {self.concurrency}; give one or more numbers of at least 1.")
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.requests < 0 or (self.rate is not None and not self.rate > 0):
            raise ConfigError(f"requests is {self.requests} and rate {self.rate}; neither may be below 0.")
