"""The whole story on generated text, so small that it takes a second or two."""

import random
from dataclasses import replace
from pathlib import Path

from groundup.alignment.config import GrpoConfig
from groundup.corpus.config import CorpusConfig
from groundup.models.presets import llama
from groundup.stages.config import (
    ComputeConfig,
    EvaluateConfig,
    PretrainConfig,
    QuickstartConfig,
    RlConfig,
    SftConfig,
)
from groundup.tokenization.config import TokenizerConfig

COMMON = ("the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "they", "have", "this", "on", "be")
RARE = ("river", "village", "harvest", "council", "winter", "letter", "journey", "market", "engine", "garden", "silver")
COMPUTE = ComputeConfig(dtype="float32", compile=False, threads=1)


def write_notes(folder: Path) -> Path:
    """Files of words that pass the corpus filters; the same ones each time."""
    folder.mkdir(parents=True)
    for number in range(24):
        generator = random.Random(number)
        words = [generator.choice(COMMON) if place % 2 else generator.choice(RARE) for place in range(300)]
        (folder / f"{number:02d}.txt").write_text(" ".join(words))
    return folder


def tiny_config(notes: Path) -> QuickstartConfig:
    """Intervals of logging, evaluation and saving that do not divide each other, as a user may choose them."""
    full = QuickstartConfig()
    return QuickstartConfig(
        corpus=CorpusConfig(source="files", inputs=(notes,), seed=1),
        tokenizer=TokenizerConfig(vocab_size=300),
        pretrain=PretrainConfig(
            model=llama(
                context_length=80,
                width=32,
                depth=2,
                num_heads=2,
                num_kv_heads=1,
                mlp_width=64,
                vocab_size=300,
                qk_norm=True,
            ),
            optimizer=replace(full.pretrain.optimizer, warmup_steps=2),
            compute=COMPUTE,
            steps=13,
            batch_size=4,
            log_every=3,
            evaluate_every=5,
            evaluate_windows=4,
            checkpoint_every=4,
            sample_tokens=8,
        ),
        evaluate=EvaluateConfig(
            compute=COMPUTE,
            kneser_ney_order=3,
            continuation_questions=8,
            sample_prompts=("the river",),
            sample_tokens=8,
        ),
        sft=SftConfig(
            optimizer=full.sft.optimizer,
            compute=COMPUTE,
            max_steps=5,
            anneal_steps=3,
            batch_size=8,
            evaluate_every=2,
            validation_examples=10,
            heldout_examples=30,
            pass_at_8_examples=2,
        ),
        grpo=RlConfig(
            grpo=GrpoConfig(steps=4, prompts=2, group_size=2, updates=2, max_tokens=6),
            optimizer=full.grpo.optimizer,
            compute=COMPUTE,
            evaluate_every=3,
            checkpoint_every=2,
            heldout_examples=30,
            pass_at_8_examples=2,
        ),
    )
