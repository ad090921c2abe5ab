"""Generation and scoring with a language model.

Requests join and leave between steps: `Engine.add` puts one in the queue, `Engine.step` computes the next tokens of all
that run, `Engine.cancel` ends one at once. `generate` and `stream` are these three in a loop.

A step is what `scheduler.py` decides: chunks of tokens, one for each sequence. Chunks of similar lengths (up to the
same power of two) share a forward pass, padded on the right, so padding is less than half of it and what decodes is
never padded. Shapes: B batch, T time, C continuation, D width, V vocabulary.
"""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from groundup.checkpoint.store import Checkpoint, latest_checkpoint, read_checkpoint
from groundup.core.errors import InputError, MissingError
from groundup.inference.decode_step import DecodeStep, decode_step
from groundup.inference.forward_pass import eagerly
from groundup.inference.paged_cache import PagedCache
from groundup.inference.prompt_scoring import text_logprobs
from groundup.inference.requests import Completion, Delta, Load, Request, TokenLogprob
from groundup.inference.sampling import Best, Text, change_logits, sample, token_logprobs, uniform
from groundup.inference.scheduler import Chunk, Limits, Scheduler, TokenSequence
from groundup.inference.sequence import Generation
from groundup.kernels.peak import fastest_dtype
from groundup.models.building import build_model
from groundup.models.language_model import LanguageModel
from groundup.models.mixture_of_experts import MixtureOfExperts
from groundup.models.quantized_weight import put_quantized
from groundup.tokenization.bpe import BytePairTokenizer

MAX_BATCH = 128
STAGES_BY_ALIGNMENT = ("grpo", "sft", "pretrain")


class Engine:
    """A model and its tokenizer, ready to generate. To be used from one thread; the weights are never changed."""

    def __init__(self, model: LanguageModel, tokenizer: BytePairTokenizer, limits: Limits | None = None) -> None:
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
        self.limits = limits or Limits()
        self._decode_step: DecodeStep | None = None
        self._live: dict[int, Live] = {}
        self._mailboxes: dict[int, deque[Delta]] = {}  # of requests whose deltas `step` does not return
        self._unclaimed: list[tuple[int, Delta]] = []  # of the others, made while somebody else was served

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete every request. All are checked before the first is run."""
        generations = [self.new_generation(request) for request in requests]
        if not self._live:
            self.forget()  # the model may have been trained since
        numbers = [self._enter(generation, 0) for generation in generations]
        self._mailboxes |= {number: deque() for number in numbers}
        try:
            while any(generation.finish_reason is None for generation in generations):
                self._advance()
        finally:
            for number in numbers:
                self.cancel(number)
        return [generation.completion() for generation in generations]

    def stream(self, request: Request) -> Iterator[Delta]:
        """Complete one request piece by piece; closing the iterator stops the work."""
        number = self.add(request)
        mailbox = self._mailboxes[number] = deque()
        try:
            while number in self._live or mailbox:
                while not mailbox:
                    self._advance()
                yield mailbox.popleft()
        finally:
            self.cancel(number)

    def add(self, request: Request, priority: int = 0) -> int:
        """Put a request in the queue; returns the number by which `step` and `cancel` know it. Lower priorities are
        served earlier: each unit lets it overtake `scheduler.PATIENCE` requests."""
        return self._enter(self.new_generation(request), priority)

    def step(self) -> list[tuple[int, Delta]]:
        """Compute the next tokens of what runs; what can be shown now of each request, the last with a finish reason.
        A step that reads prompts only has nothing to show."""
        if not self._unclaimed:
            self._advance()
        deltas, self._unclaimed = self._unclaimed, []
        return deltas

    def cancel(self, number: int) -> None:
        """Forget a request; its memory is free at once. Harmless on one that has ended."""
        live = self._live.pop(number, None)
        if live is not None:
            self.scheduler.remove(live.sequence)
        self._mailboxes.pop(number, None)
        self._unclaimed = [(other, delta) for other, delta in self._unclaimed if other != number]

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._live or self._unclaimed)

    @property
    def load(self) -> Load:
        """What runs and waits, and how full the memory is. May be read from another thread."""
        if "scheduler" not in self.__dict__:  # no request has come yet
            return Load()
        scheduler = self.scheduler
        used = 1 - scheduler.allocator.num_free / scheduler.allocator.num_blocks
        return Load(len(scheduler.running), len(scheduler.waiting), used, scheduler.preemptions)

    def compile(self) -> bool:
        """Decode by compiled functions from now on (`decode_step.py`); False, said once, where that cannot be done."""
        if not self.limits.batch_invariant:  # whose shapes a compiled step would round up with the table
            vocab_size = self.tokenizer.vocab_size
            self._decode_step = decode_step(self.model, self.cache.whole, self.limits.block_size, vocab_size)
        return self._decode_step is not None

    def forget(self) -> None:
        """Compute beginnings of texts anew that were kept to be shared. To be called when the weights have changed, and
        only while no request runs; `generate` does so by itself."""
        assert not self._live, "requests run with the keys and values that would be forgotten"
        self.scheduler.allocator.forget()

    @functools.cached_property
    def cache(self) -> PagedCache:
        """The memory, made when the first request comes: a model that only scores needs none."""
        return PagedCache(self.model, self.limits)

    @functools.cached_property
    def scheduler(self) -> Scheduler:
        """The queues and the blocks' owners."""
        return Scheduler(self.limits, self.cache.num_blocks, self.cache.by_position)

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[float, bool]]:
        """For each (context ids, continuation ids): Σ log p of the continuation, and whether greedy decoding gives it.

        A context that does not fit is cut on the left, as lm-eval does; an empty one is an error of the caller.
        """
        results: list[tuple[float, bool]] = []
        for start in range(0, len(pairs), MAX_BATCH):
            rows = [self._score_row(*pair) for pair in pairs[start : start + MAX_BATCH]]
            tokens_BT = pad([row[0] for row in rows])
            with eagerly():
                hidden_BTD = self.model(tokens_BT)
                for hidden_TD, (inputs, continuation) in zip(hidden_BTD, rows, strict=True):
                    # Logits of these only: V is large.
                    scored_CD = hidden_TD[len(inputs) - len(continuation) : len(inputs)]
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

    def prompt_logprobs(self, prompt: Sequence[int], alternatives: int) -> list[TokenLogprob]:
        """The model's log-probability of each token of a prompt but the first, with so many of the likeliest."""
        assert len(prompt) <= self.context_length, "the prompt does not fit into the context"
        return text_logprobs(self.model, self.tokenizer.vocab_size, prompt, alternatives)

    def new_generation(self, request: Request) -> Generation:
        """A request that has been checked, with nothing sampled yet."""
        room = self.context_length - len(request.prompt)
        if not request.prompt:
            raise InputError("The prompt is empty; give at least one token, such as <|endoftext|>.")
        if room < 1:
            raise InputError(
                f"The prompt has {len(request.prompt)} tokens and the model's context holds {self.context_length}; "
                "shorten the prompt, it must leave room for at least one token."
            )
        for token, _ in request.sampling.logit_bias:
            if token >= self.tokenizer.vocab_size:
                raise InputError(f"logit_bias names token {token}; the vocabulary has {self.tokenizer.vocab_size}.")
        return Generation(request, self.tokenizer, min(request.sampling.max_tokens, room))

    def _enter(self, generation: Generation, priority: int) -> int:
        prompt = list(generation.request.prompt)
        sequence = self.scheduler.add(prompt, len(prompt) + generation.limit - 1, priority)
        self._live[sequence.id] = Live(generation, sequence)
        return sequence.id

    @torch.inference_mode()
    def _advance(self) -> None:
        """One step of everything that runs."""
        step = self.scheduler.schedule()
        for row in step.fresh_rows:
            self.cache.clear_row(row)
        for source, target in step.copies:
            self.cache.copy_block(source, target)
        rows: list[Live] = []
        logits: list[Tensor] = []
        best: Best | None = None
        for chunks in self._groups(step.chunks):
            rows += [self._live[chunk.sequence.id] for chunk in chunks if chunk.samples]
            logits_bV, best = self._logits(chunks)
            logits.append(logits_bV)
            for chunk in chunks:
                self.scheduler.computed(chunk)
        if rows:
            self._draw(*((logits[0], best) if len(logits) == 1 else (torch.cat(logits), None)), rows)

    def _groups(self, chunks: list[Chunk]) -> list[list[Chunk]]:
        """Those that share a forward pass; neighbours in the cache stand side by side."""
        if self.limits.batch_invariant:
            return [[chunk] for chunk in chunks]
        groups: dict[int, list[Chunk]] = {}
        for chunk in sorted(chunks, key=lambda chunk: chunk.sequence.row or 0):
            groups.setdefault((chunk.count - 1).bit_length(), []).append(chunk)
        return list(groups.values())

    def _logits(self, chunks: list[Chunk]) -> tuple[Tensor, Best | None]:
        """Compute chunks; logits (b, V) of what follows those that end a text, and the largest if a compiled step found
        them on the way."""
        if self._decode_step is not None and all(chunk.count == 1 and chunk.samples for chunk in chunks):
            last = [chunk.sequence.tokens[chunk.start] for chunk in chunks]
            tables = [chunk.sequence.table for chunk in chunks]
            return self._decode_step(last, [chunk.start for chunk in chunks], tables)
        with eagerly():  # even where training compiled the blocks: these shapes change every time
            hidden_BTD = self._forward(chunks)
            ending = [row for row, chunk in enumerate(chunks) if chunk.samples]
            if not ending:
                return torch.empty(0, self.tokenizer.vocab_size), None
            last_bD = hidden_BTD[ending, [chunks[row].count - 1 for row in ending]]
            return self.model.unembed(last_bD)[:, : self.tokenizer.vocab_size], None

    def _forward(self, chunks: list[Chunk]) -> Tensor:
        """Hidden states of chunks."""
        ends = [chunk.start + chunk.count for chunk in chunks]
        tokens_BT = pad([c.sequence.tokens[c.start : end] for c, end in zip(chunks, ends, strict=True)])
        positions_BT = pad([range(c.start, end) for c, end in zip(chunks, ends, strict=True)], value=-1)
        with self.cache.of(chunks, positions_BT) as cache:
            return self.model(tokens_BT, positions_BT, cache)

    def _draw(self, logits_BV: Tensor, best: Best | None, rows: list["Live"]) -> None:
        """Sample a token for each row, which goes on with it or has ended; `best` if it is known."""
        generations = [row.generation for row in rows]
        settings = [each.request.sampling for each in generations]
        texts = [Text(each.request.prompt, each.ids) for each in generations]
        allowed = [None if each.constraint is None else each.constraint.allowed() for each in generations]
        uniforms = [uniform(s.seed, len(each.ids)) for s, each in zip(settings, generations, strict=True)]
        changed_BV = change_logits(logits_BV, settings, texts, allowed)
        ids_B, logprobs_B = sample(changed_BV, settings, uniforms, best if changed_BV is logits_BV else None)
        ids, wanted = ids_B.tolist(), [each.request.alternatives for each in generations]
        of_model = token_logprobs(logits_BV, ids, wanted)
        for row, token, logprob, its_own in zip(rows, ids, logprobs_B.tolist(), of_model, strict=True):
            self._hand_over(row, row.generation.push(token, logprob, its_own))

    def _hand_over(self, row: "Live", delta: Delta) -> None:
        number = row.sequence.id
        if delta.finish_reason is None:
            self.scheduler.append(row.sequence, *delta.ids)
        else:
            self.scheduler.remove(row.sequence)
            del self._live[number]
        if number in self._mailboxes:
            self._mailboxes[number].append(delta)
        else:
            self._unclaimed.append((number, delta))


class Live(NamedTuple):
    """A request that waits or runs: what it shows and what it holds."""

    generation: Generation
    sequence: TokenSequence


def pad(rows: Sequence[Sequence[int]], value: int = 0) -> Tensor:
    """Rows of ids as one tensor (B, T), padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def load_engine(path: Path, dtype: torch.dtype | None = None, limits: Limits | None = None) -> Engine:
    """An engine from a checkpoint folder, a folder of checkpoints, or a run (its most aligned stage's newest one).

    `dtype` None takes the format in which this machine is fastest.
    """
    checkpoint = find_checkpoint(path)
    if not checkpoint.tokenizer.exists():
        raise MissingError(f"{checkpoint.path} was imported without a tokenizer, so it cannot be given text.")
    model = load_model(checkpoint, dtype or fastest_dtype())
    return Engine(model, BytePairTokenizer.load(checkpoint.tokenizer), limits)


def load_model(checkpoint: Checkpoint, dtype: torch.dtype) -> LanguageModel:
    """A checkpoint's model for use, not for training."""
    model, weights = build_model(checkpoint.config), checkpoint.stored_weights()
    put_quantized(model, weights)
    model.load_state_dict(weights)
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
