"""Pretrainings by name, with settings that others have published, or that suit a laptop. What to expect of each, and
how that is known, is in docs/recipes.md.

    tinystories_17m   the model of Stanford's CS336, assignment 1, on TinyStories
    owt               the same model and the same number of tokens on OpenWebText, with a vocabulary of 32,000
    speedrun_gpt2     the loss of GPT-2's 124M decoder in a fifth of the tokens, with Muon
    laptop            an hour on a CPU, on any text

The vocabulary's size in a recipe is that of the tokenizer that its numbers are for; a run takes its tokenizer's.
"""

from dataclasses import replace

from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixer_config import Attention, DenseMLP
from groundup.models.position_config import Rotary
from groundup.models.presets import cs336, llama
from groundup.optim.config import OptimizerConfig
from groundup.optim.optimizer_config import AdamW, Muon
from groundup.optim.schedule_config import Cosine, Wsd
from groundup.stages.config import PretrainConfig

GPT2_VOCABULARY = 50_257


def tinystories_17m() -> PretrainConfig:
    """10,000 steps of 128 rows of 256 tokens, the course's 327.68 million; AdamW with one rate for all, as there.

    The course leaves the optimizer's numbers open. These are of a participant's sweep, whose optimum they were.
    """
    optimizer = OptimizerConfig(
        matrices=AdamW(),
        learning_rate=2e-3,
        embedding_learning_rate=2e-3,
        weight_decay=0.01,
        schedule=Cosine(final_fraction=0.1),
        warmup_steps=300,
    )
    return PretrainConfig(
        model=cs336(width=512, mlp_width=1344, depth=4, num_heads=16),
        optimizer=optimizer,
        steps=10_000,
        batch_size=128,
        accumulate=4,  # 3 GB at once, 1 GB in parts
        evaluate_every=250,
        evaluate_windows=512,
        checkpoint_every=250,
    )


def owt() -> PretrainConfig:
    """The course's experiment on OpenWebText: "the same model architecture and total training iterations"."""
    same = tinystories_17m()
    return replace(same, model=replace(same.model, vocab_size=32_000))


def speedrun_gpt2() -> PretrainConfig:
    """3,800 steps of 524,288 tokens: the Muon baseline of the NanoGPT speedrun's optimization track, of which width,
    heads, squared ReLU, half-turned rotary positions, soft-capped logits, rates and schedule are.

    Made for 8 GPUs of 64 rows each; this version has no data parallelism, so one device takes the batch in parts.
    Other than there: no biases, no norm behind the embedding (so its rate is 0.1, not 0.3), a bound on logits by tanh.
    """
    attention = Attention(num_heads=6, num_kv_heads=6, position=Rotary(base=1024.0, fraction=0.5))
    model = DecoderConfig(
        vocab_size=GPT2_VOCABULARY,
        context_length=1024,
        width=768,
        depth=12,
        layers=(Layer(attention, DenseMLP(activation="squared_relu")),),
        logit_soft_cap=15.0,
    )
    optimizer = OptimizerConfig(
        matrices=Muon(),
        matrix_learning_rate=0.02,
        rest=AdamW(beta1=0.8, epsilon=1e-10),
        learning_rate=1 / 320,
        embedding_learning_rate=0.1,
        weight_decay=0.01,
        schedule=Wsd(decay_fraction=0.7),
    )
    return PretrainConfig(
        model=model,
        optimizer=optimizer,
        steps=3800,
        batch_size=512,
        accumulate=32,  # 16 rows at once: 8 GB
        evaluate_every=250,
        evaluate_windows=512,
        checkpoint_every=250,
    )


def laptop() -> PretrainConfig:
    """An hour on whatever the CPU is: the steps follow from its speed. A model that is small enough to read millions of
    tokens in that hour. A text of one's own is short: it is read six times at most, with dropout, because what a model
    of this size learns from further passes is the text by heart."""
    model = llama(width=256, qk_norm=True)
    return PretrainConfig(
        model=replace(model, dropout=0.1),
        optimizer=OptimizerConfig(schedule=Wsd()),
        budget="1h,6epochs",
        evaluate_every=250,
        checkpoint_every=250,
    )
