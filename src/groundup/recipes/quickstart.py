"""The quickstart: everything from raw text to an aligned model, on two CPU cores in about ten minutes.

`short` is the same path with fewer steps, for checks: about two minutes, and a model that has learnt little.
"""

from dataclasses import replace

from groundup.stages.config import QuickstartConfig


def quickstart() -> QuickstartConfig:
    """About ten minutes on two cores; the expected numbers are in README.md."""
    return QuickstartConfig()


def short() -> QuickstartConfig:
    """About two minutes: fewer steps, smaller evaluations, no control run."""
    full = QuickstartConfig()
    return replace(
        full,
        pretrain=replace(
            full.pretrain,
            steps=40,
            optimizer=replace(full.pretrain.optimizer, warmup_steps=5),
            compute=replace(full.pretrain.compute, compile=False),
            evaluate_every=20,
            checkpoint_every=20,
        ),
        evaluate=replace(full.evaluate, kneser_ney_order=5, continuation_questions=40, sample_tokens=32),
        sft=replace(full.sft, max_steps=30, validation_examples=100, heldout_examples=200, pass_at_8_examples=0),
        grpo=replace(
            full.grpo, grpo=replace(full.grpo.grpo, steps=5, prompts=8), heldout_examples=200, pass_at_8_examples=0
        ),
        control=False,
    )
