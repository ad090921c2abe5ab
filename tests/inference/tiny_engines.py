"""Engines on tiny decoders with random weights, whose tokens are bytes and the chat's special tokens."""

import torch

from groundup.inference.engine import Engine
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS

BYTES = BytePairTokenizer([], special_tokens={name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)})
SHAPE = {"width": 32, "depth": 2, "num_heads": 2, "num_kv_heads": 1, "mlp_width": 64, "qk_norm": True}


def tiny_engine(seed=0, context_length=48, tokenizer=BYTES, dtype=torch.float32, sharpness=40.0, limits=None):
    """`sharpness` scales the logits: as initialised, a decoder's distribution is nearly uniform."""
    model = Decoder(llama(vocab_size=tokenizer.vocab_size, context_length=context_length, **SHAPE))
    initialize(model, seed)
    with torch.no_grad():
        model.unembedding *= sharpness
    return Engine(model.to(dtype).eval(), tokenizer, limits)


@torch.no_grad()
def full_logits(engine, ids):
    """Logits after each of the ids by one plain forward pass, without a cache or a batch."""
    return engine.model.unembed(engine.model(torch.tensor([list(ids)])))[0]
