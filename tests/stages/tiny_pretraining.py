"""A pretraining of a second in which everything that carries state from step to step is on.

Packed documents of a mixture whose weights change, a batch that grows and passes in two parts, Muon and AdamW, a guard
that skips and goes back, an average of the weights, and a checkpoint every few steps, written in the background.
"""

import json
import random
from pathlib import Path

from tiny_quickstart import COMMON, RARE, write_notes

from groundup.batches.config import CORPUS, DataConfig, MixturePhase
from groundup.core.config import encode
from groundup.core.files import write_json
from groundup.models.presets import llama
from groundup.optim.batch_ramp import BatchRamp
from groundup.optim.config import OptimizerConfig
from groundup.stages.config import ComputeConfig, PretrainConfig
from groundup.stages.token_shards import TokenShardsConfig, run_token_shards
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS
from groundup.training.config import AverageConfig, GuardConfig

STEPS = 30
EXPONENTIAL, LATEST = AverageConfig("exponential", 0.8), AverageConfig("latest", snapshots=3, every=2)
BYTES = BytePairTokenizer([], special_tokens={name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)})


def write_inputs(place: Path) -> None:
    """`notes`, a tokenizer of bytes, and token shards of a second source: documents shorter and longer than a row."""
    write_notes(place / "notes")
    BYTES.save(place / "tokenizer")
    generator = random.Random(0)
    texts = [" ".join(generator.choices(COMMON + RARE, k=generator.randrange(1, 25))) for _ in range(80)]
    (place / "letters.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run_token_shards(TokenShardsConfig(), place / "tokenizer", [place / "letters.jsonl"], place / "letters")


def tiny_pretraining(place: Path, dtype: str = "float32") -> PretrainConfig:
    """Its config, for the inputs under `place`. Intervals do not divide each other, as a user may choose them."""
    return PretrainConfig(
        model=llama(260, 48, width=32, depth=2, num_heads=2, num_kv_heads=1, mlp_width=64, qk_norm=True),
        optimizer=OptimizerConfig(warmup_steps=2),
        compute=ComputeConfig(dtype, compile=False, threads=1),
        steps=STEPS,
        batch_size=4,
        batch_ramp=BatchRamp(0.5, 8),
        accumulate=2,
        data=DataConfig(
            packing="documents",
            sources={"letters": place / "letters"},
            weights={CORPUS: 0.75, "letters": 0.25},
            weight_changes=(MixturePhase(0.5, {CORPUS: 0.25, "letters": 0.75}),),
        ),
        guard=GuardConfig(factor=1.2, window=6, patience=2, rollbacks=100),
        average=EXPONENTIAL if dtype == "float32" else LATEST,
        log_every=2,
        evaluate_every=7,
        evaluate_windows=4,
        sample_tokens=8,
        checkpoint_every=3,
    )


def command(place: Path, config: PretrainConfig) -> list[str]:
    """Write the config; the words of the command line that trains with it, but for where to."""
    write_json(place / "config.json", encode(config))
    words = {"config": place / "config.json", "corpus": place / "notes", "tokenizer": place / "tokenizer"}
    return ["pretrain", *(word for name, path in words.items() for word in (f"--{name}", str(path)))]
