"""Generation and scoring with a language model.

Prompts of different lengths share a batch: they are padded on the right, each row writes its keys and values at its own
positions, and a query sees only the slots up to its position. Rows that have ended leave the batch once they are half
of it. Shapes: B batch, T time, C continuation, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from groundup.checkpoint.store import Checkpoint, latest_checkpoint, read_checkpoint
from groundup.core.errors import InputError, MissingError
from groundup.inference.requests import Completion, Delta, Request
from groundup.inference.sampling import sample, uniform
from groundup.inference.sequence import Generation
from groundup.kernels.peak import fastest_dtype
from groundup.models.building import build_model
from groundup.models.cache import KVCache
from groundup.models.language_model import LanguageModel
from groundup.models.mixture_of_experts import MixtureOfExperts
from groundup.tokenization.bpe import BytePairTokenizer

MAX_BATCH = 128
STAGES_BY_ALIGNMENT = ("grpo", "sft", "pretrain")


class Engine:
    """A model and its tokenizer, ready to generate. One call at a time; the weights are never changed."""

    def __init__(self, model: LanguageModel, tokenizer: BytePairTokenizer) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:  # fewer is common: tables are padded to a round number
            raise InputError(
                f"The tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size}; "
                "they do not belong together."
            )
        if any(isinstance(part, MixtureOfExperts) and part.config.routing == "experts" for part in model.modules()):
            raise InputError(
                "In this model experts choose their tokens from the whole row, later ones and padding too, so it can "
                'neither generate nor score texts; train one with routing "tokens" for that.'
            )
        self.model = model
        self.tokenizer = tokenizer
        self.context_length = model.config.context_length

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete every request; batches of at most 128, in order. All are checked before the first is run."""
        generations = [self._generation(request) for request in requests]
        for start in range(0, len(generations), MAX_BATCH):
            for _ in self._decode(generations[start : start + MAX_BATCH]):
                pass
        return [generation.completion() for generation in generations]

    def stream(self, request: Request) -> Iterator[Delta]:
        """Complete one request piece by piece; closing the iterator stops the work."""
        for deltas in self._decode([self._generation(request)]):
            yield deltas[0]

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """For each (context ids, continuation ids): Σ log p of the continuation, and whether greedy decoding gives it.

        A context that does not fit is cut on the left, as lm-eval does; an empty one is an error of the caller.
        """
        results: list[tuple[float, bool]] = []
        for start in range(0, len(pairs), MAX_BATCH):
            rows = [self._score_row(*pair) for pair in pairs[start : start + MAX_BATCH]]
            tokens_BT = pad([row[0] for row in rows])
            with torch.compiler.set_stance("force_eager"):
                hidden_BTD = self.model(tokens_BT)
            for hidden_TD, (inputs, continuation) in zip(hidden_BTD, rows, strict=True):
                scored_CD = hidden_TD[len(inputs) - len(continuation) : len(inputs)]  # logits of these only: V is large
                logprobs_CV = torch.log_softmax(self.model.unembed(scored_CD), dim=-1)
                targets_C = torch.tensor(continuation)
                total = logprobs_CV.gather(-1, targets_C[:, None]).double().sum().item()
                results.append((total, bool((logprobs_CV.argmax(dim=-1) == targets_C).all())))
        return results

    def _score_row(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[list[int], list[int]]:
        assert context, "scoring needs a context of at least one token"
        assert continuation, "scoring needs a continuation of at least one token"
        if len(continuation) > self.context_length:
            raise InputError(
                f"A continuation of {len(continuation)} tokens exceeds the context of {self.context_length}."
            )
        whole = [*context, *continuation]
        return whole[-(self.context_length + 1) :][:-1], list(continuation)

    def _generation(self, request: Request) -> Generation:
        room = self.context_length - len(request.prompt)
        if not request.prompt:
            raise InputError("The prompt is empty; give at least one token, such as <|endoftext|>.")
        if room < 1:
            raise InputError(
                f"The prompt has {len(request.prompt)} tokens and the model's context holds {self.context_length}; "
                "shorten the prompt, it must leave room for at least one token."
            )
        return Generation(request, self.tokenizer, min(request.sampling.max_tokens, room))

    def _decode(self, generations: list[Generation]) -> Iterator[list[Delta]]:
        """Prefill the prompts, then a token at a time for every unfinished generation; yields each step's deltas."""
        with torch.inference_mode():
            prompts = [generation.request.prompt for generation in generations]
            capacity = max(len(g.request.prompt) + g.limit for g in generations)
            cache = self.model.new_cache(len(generations), capacity)
            positions_BT = pad([range(len(prompt)) for prompt in prompts], value=-1)
            hidden_BTD = self._forward(pad(prompts), positions_BT, cache)
            last_BD = hidden_BTD[torch.arange(len(prompts)), torch.tensor([len(prompt) - 1 for prompt in prompts])]
        rows = list(generations)
        while True:
            with torch.inference_mode():
                ids_B, deltas = self._draw(last_BD, rows)
            yield deltas
            going = [at for at, row in enumerate(rows) if row.finish_reason is None]
            if not going:
                return
            with torch.inference_mode():
                if 2 * len(going) <= len(rows):
                    keep = torch.tensor(going)
                    cache.keep_rows(keep)
                    ids_B, rows = ids_B[keep], [rows[at] for at in going]
                positions = [len(row.request.prompt) + len(row.ids) - 1 for row in rows]
                last_BD = self._forward(ids_B[:, None], torch.tensor(positions)[:, None], cache)[:, 0]

    def _draw(self, last_BD: Tensor, rows: list[Generation]) -> tuple[Tensor, list[Delta]]:
        """Sample a token for each row and hand it to its generation, unless that has ended."""
        settings = [row.request.sampling for row in rows]
        uniforms = [uniform(s.seed, len(row.ids)) for s, row in zip(settings, rows, strict=True)]
        ids_B, logprobs_B = sample(self.model.unembed(last_BD)[:, : self.tokenizer.vocab_size], settings, uniforms)
        deltas = []
        for row, token, logprob in zip(rows, ids_B.tolist(), logprobs_B.tolist(), strict=True):
            if row.finish_reason is None:
                deltas.append(row.push(token, logprob))
        return ids_B, deltas

    def _forward(self, tokens_BT: Tensor, positions_BT: Tensor, cache: KVCache) -> Tensor:
        """Eager even where training compiled the blocks: these shapes change with every call."""
        with torch.compiler.set_stance("force_eager"):
            return self.model(tokens_BT, positions_BT, cache)


def pad(rows: Sequence[Sequence[int]], value: int = 0) -> Tensor:
    """Rows of ids as one tensor (B, T), padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def load_engine(path: Path, dtype: torch.dtype | None = None) -> Engine:
    """An engine from a checkpoint folder, a folder of checkpoints, or a run (its most aligned stage's newest one).

    `dtype` None takes the format in which this machine is fastest.
    """
    checkpoint = find_checkpoint(path)
    if not checkpoint.tokenizer.exists():
        raise MissingError(f"{checkpoint.path} was imported without a tokenizer, so it cannot be given text.")
    model = load_model(checkpoint, dtype or fastest_dtype())
    return Engine(model, BytePairTokenizer.load(checkpoint.tokenizer))


def load_model(checkpoint: Checkpoint, dtype: torch.dtype) -> LanguageModel:
    """A checkpoint's model for use, not for training."""
    model = build_model(checkpoint.config)
    model.load_state_dict(checkpoint.weights())
    return model.to(dtype).eval().requires_grad_(False)


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a path means; see `load_engine`."""
    if not path.exists():
        raise MissingError(f"There is no run or checkpoint {path}; `groundup runs` lists what there is.")
    if (path / "COMPLETE").exists() or path.name.startswith("step_"):
        return read_checkpoint(path)
    stages = [path / stage for stage in STAGES_BY_ALIGNMENT if (path / stage / "result.json").exists()]
    for folder in (path, path / "checkpoints", *(stage / "checkpoints" for stage in stages)):
        checkpoint = latest_checkpoint(folder)
        if checkpoint is not None:
            return checkpoint
    raise MissingError(f"{path} holds no checkpoint; train one there first, or name another run.")
