"""The quickstart: everything from raw text to an aligned model, on two CPU cores in about ten minutes.

The model is small for its text on purpose. In five minutes on two cores a decoder of width 192 reads 2 million tokens
and reaches fewer bits per byte than one of width 256, which is as good per token but reads 40 % less. A table for
pairs of tokens costs hardly any time; what else was tried is in experiments/.
`short` is the same path with fewer steps, for checks: about two minutes, and a model that has learnt little.
"""

from dataclasses import replace

from groundup.alignment.config import GrpoConfig
from groundup.models.presets import llama
from groundup.optim.config import OptimizerConfig
from groundup.optim.optimizer_config import Muon
from groundup.optim.schedule_config import Wsd
from groundup.stages.config import PretrainConfig, QuickstartConfig, RlConfig, SftConfig


def quickstart() -> QuickstartConfig:
    """About ten minutes on two cores; the expected numbers are in BENCHMARKS.md."""
    plain = llama(width=192, num_heads=3, num_kv_heads=3, mlp_width=512, qk_norm=True)
    optimizer = OptimizerConfig(matrices=Muon(iterations=3), learning_rate=6e-3, schedule=Wsd())
    return QuickstartConfig(
        pretrain=PretrainConfig(
            model=replace(plain, ngram_lengths=(2,)), optimizer=optimizer, steps=450, evaluate_every=75
        ),
        sft=SftConfig(target_accuracy=0.4),
        grpo=RlConfig(grpo=GrpoConfig(steps=50, updates=2, kl_coefficient=0.4), evaluate_every=10),
    )


def short() -> QuickstartConfig:
    """About two minutes: fewer steps, smaller evaluations, no control run; uncompiled, which is faster this soon."""
    full = quickstart()
    pretrain = replace(
        full.pretrain,
        optimizer=replace(full.pretrain.optimizer, warmup_steps=5),
        compute=replace(full.pretrain.compute, compile=False),
        steps=50,
        evaluate_every=25,
        checkpoint_every=25,
    )
    few = {"heldout_examples": 200, "pass_at_8_examples": 0}
    return replace(
        full,
        pretrain=pretrain,
        evaluate=replace(full.evaluate, kneser_ney_order=5, continuation_questions=40, sample_tokens=32),
        sft=replace(full.sft, max_steps=20, anneal_steps=5, validation_examples=100, **few),
        grpo=replace(full.grpo, grpo=replace(full.grpo.grpo, steps=5, prompts=8), **few),
        control=False,
    )
