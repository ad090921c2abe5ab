"""A tiny model of every kind that can generate, and the plainest greedy decoding there is."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

from groundup.inference.requests import Request, Sampling
from groundup.models.config import DecoderConfig, Layer
from groundup.models.hierarchical import Hierarchical
from groundup.models.hierarchical_config import FixedPatches, HierarchicalConfig, SpacePatches
from groundup.models.initialization import initialize
from groundup.models.language_model import LanguageModel
from groundup.models.lstm import Lstm
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import (
    Attention,
    DeltaRule,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    NoChannel,
    SequenceMixer,
    SharedAttention,
    StateSpace,
)
from groundup.models.position_config import Alibi, NoPosition

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from random_decoders import noisy_decoder, random_decoder

V, CONTEXT = 41, 24
FULL, RING = Attention(num_heads=2, num_kv_heads=1), Attention(num_heads=4, num_kv_heads=2, window=5)


class Letters:
    """A tokenizer of V letters: what the engine asks of one."""

    vocab_size = V

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(65 + token for token in ids)


def decoder(*sequences: SequenceMixer, **changes: Any) -> Callable[[], LanguageModel]:
    """One with these sequence mixers, layer by layer."""
    layers = tuple(Layer(sequence, GatedMLP(20)) for sequence in sequences)
    shape = {"vocab_size": V, "context_length": CONTEXT, "width": 32, "depth": len(layers), "layers": layers}
    return lambda: noisy_decoder(DecoderConfig(**{**shape, **changes}), 1)


def other(make: Callable[[], LanguageModel]) -> Callable[[], LanguageModel]:
    """One that is no `Decoder`, with its vectors off their initial values and a larger output."""

    def made() -> LanguageModel:
        model = make()
        initialize(model, 1)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.3 * torch.rand(parameter.shape, generator=generator))
                elif "embedding" in name:
                    parameter.normal_(0, 0.5, generator=generator)
        return model.eval()

    return made


def hierarchical(**changes: Any) -> Callable[[], LanguageModel]:
    """Full attention over patches, rings and full attention over bytes."""
    shape: dict[str, Any] = {
        "vocab_size": 260,
        "context_length": CONTEXT,
        "width": 24,
        "depth": 2,
        "layers": (Layer(Attention(3, 3), GatedMLP(32)),),
        "local_width": 16,
        "encoder_depth": 2,
        "decoder_depth": 2,
        "local_layers": (Layer(FULL, GatedMLP(20)), Layer(Attention(2, 1, window=4), GatedMLP(20))),
    }
    return other(lambda: Hierarchical(HierarchicalConfig(**{**shape, **changes})))


KINDS: dict[str, Callable[[], LanguageModel]] = {
    "attention": decoder(FULL, FULL),
    "ring": decoder(RING, RING),
    "rings and full": decoder(RING, FULL, Attention(2, 2, window=2)),
    "alibi, sinks, soft cap": decoder(Attention(2, 1, position=Alibi(), sinks=True, soft_cap=2.0), FULL),
    "learned positions": decoder(Attention(2, 2, position=NoPosition()), position_embedding="learned"),
    "latents": decoder(*[LatentAttention(2, 6, 5, rotary_width=4, latent_width=7)] * 2),
    "shared keys": decoder(FULL, SharedAttention(), RING, SharedAttention()),
    "linear": decoder(LinearAttention(2), LinearAttention(2, position=NoPosition())),
    "delta rule": decoder(DeltaRule(2), DeltaRule(2, gated=False, convolution=1)),
    "state space": decoder(StateSpace(head_width=8, state_width=4), StateSpace(head_width=16, convolution=1)),
    "hybrid": decoder(StateSpace(head_width=8, state_width=4), FULL, DeltaRule(2), RING),
    "n-grams": decoder(FULL, ngram_lengths=(2, 4), ngram_buckets=100),
    "n-grams and states": decoder(LinearAttention(2), ngram_lengths=(3,), ngram_buckets=100),
    "experts": decoder(FULL, layers=(Layer(FULL, MixtureOfExperts(4, 2, 8)), Layer(RING, NoChannel())), depth=2),
    "patches of words": hierarchical(patches=SpacePatches()),
    "fixed patches": hierarchical(patches=FixedPatches(3)),
    "patches with states": hierarchical(layers=(Layer(LinearAttention(3, position=NoPosition()), GatedMLP(32)),)),
    "lstm": other(lambda: Lstm(LstmConfig(vocab_size=V, context_length=CONTEXT, width=24, depth=2))),
} | {f"random {seed}": (lambda seed=seed: random_decoder(seed)) for seed in range(100, 108)}


def random_requests(count: int, seed: int) -> list[Request]:
    """Prompts of all lengths, many with common beginnings, some that stop early. For bytes they are words."""
    random = Random(seed)
    beginnings = [[random.choice((32, 40, random.randrange(V))) for _ in range(CONTEXT)] for _ in range(3)]
    requests = []
    for _ in range(count):
        length = random.randint(1, CONTEXT - 1)
        common = random.choice((0, length, random.randint(0, length)))
        prompt = random.choice(beginnings)[:common]
        prompt = [*prompt, *(random.choice((32, random.randrange(V))) for _ in range(length - common))]
        stops = tuple(random.sample(range(V), random.choice((0, 8))))
        requests.append(Request(tuple(prompt), Sampling(random.randint(1, 8), 0.0), stop_ids=stops))
    return requests


@torch.no_grad()
def greedy_by_full_forward(model: LanguageModel, requests: Sequence[Request]) -> list[list[int]]:
    """For each token a forward pass over all tokens so far, without a cache; the requests are rows of it."""
    texts, done = [list(request.prompt) for request in requests], [False] * len(requests)
    while not all(done):
        longest = max(map(len, texts))
        tokens_BT = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        hidden_BD = model(tokens_BT)[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]
        for row, token in enumerate(model.unembed(hidden_BD)[:, :V].argmax(dim=-1).tolist()):
            request, text = requests[row], texts[row]
            if not done[row]:
                text.append(token)
                new = len(text) - len(request.prompt)
                full = new == request.sampling.max_tokens or len(text) == CONTEXT
                done[row] = full or token in request.stop_ids
    return [text[len(request.prompt) :] for text, request in zip(texts, requests, strict=True)]
