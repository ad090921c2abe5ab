"""Which tokens of which sequences the next forward pass computes: continuous batching. No torch.

Before every step sequences join and leave the batch (Orca, Yu et al. 2022), so nobody waits for the longest one:

    for each sequence, in the order of arrival:
        running:  one token if it decodes; else the next chunk of its prompt, within what is left of the budget
        waiting:  admit it if its blocks, and one more for each that runs, are free; after the first refusal nobody.
                  Where one ahead is reading the same beginning, it waits to share that

- The budget of tokens a step bounds how long a step takes. Tokens that decode come off it first, so that a long prompt
  is read in chunks beside them and delays no one (Sarathi-Serve, Agrawal et al. 2024, arXiv:2403.02310, section 4).
- A sequence that needs a block when none is free takes it from the last one in the order, which goes back to wait and
  computes its tokens again later ("recomputation", Kwon et al. 2023, arXiv:2309.06180, section 4.5).
- Priority p moves a request back by p · `PATIENCE` arrivals. The order never changes afterwards: only so many later
  requests can ever overtake one, and the first in the order always gets what it needs. So nobody starves.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge

from groundup.core.errors import ConfigError, InputError
from groundup.inference.block_allocator import BlockAllocator, block_digest

PATIENCE = 64
MAX_PRIORITY = 100


@dataclass(frozen=True)
class Limits:
    """`batch_invariant` computes every sequence by itself, in the same pieces whatever happens beside it, so that its
    logits are the same to the last bit; that gives up the speed of batches. `cache_bytes` bounds keys and values."""

    max_running: int = 128
    tokens_per_step: int = 2048
    block_size: int = 16
    cache_bytes: int = 512 * 2**20
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        for name in ("max_running", "block_size", "cache_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.tokens_per_step <= self.max_running:
            raise ConfigError(
                f"tokens_per_step is {self.tokens_per_step} and max_running {self.max_running}; it must be larger, so "
                "that beside all that decode there is room for a prompt."
            )


@dataclass(eq=False)
class TokenSequence:
    """A prompt and what was sampled behind it. Positions below `computed` are in the cache."""

    id: int
    tokens: list[int]
    prompt_length: int
    order: int
    computed: int = 0
    table: list[int] = field(default_factory=list)
    row: int | None = None  # a place among those that run, which is also that of its states and rings
    digests: list[bytes] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Tokens that are not in the cache; 1 where it decodes."""
        return len(self.tokens) - self.computed


@dataclass(frozen=True)
class Chunk:
    """The tokens of one sequence in one step, at positions start to start + count - 1."""

    sequence: TokenSequence
    start: int
    count: int

    @property
    def samples(self) -> bool:
        """Whether the next token is sampled behind it."""
        return self.start + self.count == len(self.sequence.tokens)


@dataclass(frozen=True)
class Step:
    """What to do, in this order: clear rows, copy blocks (from, to), compute chunks."""

    fresh_rows: list[int]
    copies: list[tuple[int, int]]
    chunks: list[Chunk]


class Scheduler:
    """Owns the queues and the allocator; what a step computed is reported by `computed`, `append` and `remove`.

    Invariant: both queues are sorted by `order`, and a sequence holds blocks and a row exactly while it runs.
    """

    def __init__(self, limits: Limits, num_blocks: int, share_prefixes: bool = True) -> None:
        self.limits = limits
        self.allocator = BlockAllocator(num_blocks, limits.block_size)
        self.share_prefixes = share_prefixes and not limits.batch_invariant
        self.waiting: list[TokenSequence] = []
        self.running: list[TokenSequence] = []
        self.preemptions = 0
        self._free_rows = list(reversed(range(limits.max_running)))
        self._arrivals = 0

    def add(self, tokens: list[int], most_tokens: int, priority: int = 0) -> TokenSequence:
        """Join the queue; the text will have at most so many tokens. Lower priorities are served earlier."""
        needed = self.allocator.blocks_for(most_tokens) + 1  # one more, so that a shared one can be copied
        if needed > self.allocator.num_blocks:
            raise InputError(
                f"A text of up to {most_tokens} tokens needs {needed} blocks of the cache, which has "
                f"{self.allocator.num_blocks}; lower max_tokens or raise cache_bytes."
            )
        if abs(priority) > MAX_PRIORITY:
            raise InputError(f"The priority is {priority}; it must be between -{MAX_PRIORITY} and {MAX_PRIORITY}.")
        order = self._arrivals + priority * PATIENCE
        sequence = TokenSequence(self._arrivals, list(tokens), len(tokens), order)
        self._arrivals += 1
        insort(self.waiting, sequence, key=_place)
        return sequence

    def schedule(self) -> Step:
        """The next step; without chunks only where nothing waits or runs."""
        step = Step([], [], [])
        budget = most = self.limits.tokens_per_step - sum(sequence.remaining == 1 for sequence in self.running)
        admitting = True
        being_read: set[bytes] = set()  # blocks that those ahead are going to compute
        for sequence in self._in_order():
            joins = sequence.row is None
            if joins:
                if self._may_be_shared_soon(sequence, being_read):
                    continue
                admitting = admitting and budget > 0 and self._admit(sequence, step)
                if not admitting:
                    continue
            elif not self._grow(sequence):
                admitting = False
                continue
            decodes = sequence.remaining == 1
            count = self._count(sequence, budget, most)
            if count > 0:
                step.chunks.append(Chunk(sequence, sequence.computed, count))
            budget -= count if joins or not decodes else 0
            if self.share_prefixes and not decodes:
                being_read.update(self._digests(sequence)[sequence.computed // self.limits.block_size :])
        assert step.chunks or not (self.waiting or self.running), "somebody waits and nothing is computed"
        return step

    def computed(self, chunk: Chunk) -> None:
        """Its keys and values are in the cache; blocks that are full now may be shared."""
        sequence, size = chunk.sequence, self.limits.block_size
        before = sequence.computed
        sequence.computed = chunk.start + chunk.count
        if self.share_prefixes:
            digests = self._digests(sequence)
            for place in range(before // size, sequence.computed // size):
                self.allocator.register(sequence.table[place], digests[place])

    def append(self, sequence: TokenSequence, token: int) -> None:
        """A token was sampled."""
        sequence.tokens.append(token)

    def remove(self, sequence: TokenSequence) -> None:
        """It has ended or was cancelled: its blocks and its row are free from now on."""
        if sequence.row is None:
            self.waiting.remove(sequence)
        else:
            self._stop(sequence)

    def _in_order(self) -> Iterator[TokenSequence]:
        """All by place, as the queues are now: who is preempted on the way comes later in the order, and then waits."""
        return merge(tuple(self.running), tuple(self.waiting), key=_place)

    def _may_be_shared_soon(self, sequence: TokenSequence, being_read: set[bytes]) -> bool:
        """Whether the next block that it would compute is about to be there: many ask for answers to one prompt."""
        if not being_read:
            return False
        digests = self._digests(sequence)
        known = len(self.allocator.find(digests))
        return known < len(digests) and digests[known] in being_read

    def _admit(self, sequence: TokenSequence, step: Step) -> bool:
        """Give it a row and blocks for all of its tokens; as far as its text is known, those that hold it."""
        allocator, size, length = self.allocator, self.limits.block_size, len(sequence.tokens)
        shared = allocator.find(self._digests(sequence)) if self.share_prefixes else []
        known = min(len(shared) * size, length - 1)  # the last token is computed in any case: its logits are needed
        copied = known < len(shared) * size
        missing = allocator.blocks_for(length) - len(shared)
        for block in shared:  # before there is room for more, so that making it takes none of these
            allocator.share(block)
        if not self._make_room(sequence, missing + copied):
            allocator.release(shared)
            return False
        own = [allocator.allocate() for _ in range(missing)]
        sequence.table, sequence.computed, sequence.row = shared + own, known, self._free_rows.pop()
        if copied:
            self._copy_on_write(sequence, len(shared) - 1, step)
        step.fresh_rows.append(sequence.row)
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=_place)
        return True

    def _make_room(self, sequence: TokenSequence, blocks: int) -> bool:
        """Whether it can be admitted; those behind it in the order that stand in its way are preempted."""
        behind = [other for other in self.running if _place(other) > _place(sequence)]
        ahead = len(self.running) - len(behind)
        most_free = self.allocator.num_free + sum(len(other.table) for other in behind)
        if ahead == self.limits.max_running or most_free < blocks + ahead:
            return False
        while behind and not self._fits(blocks):
            self._preempt(behind.pop())
        return self._fits(blocks)

    def _fits(self, blocks: int) -> bool:
        """A row, the blocks, and one more for each that runs, without which it would soon be preempted again."""
        return bool(self._free_rows) and blocks + len(self.running) <= self.allocator.num_free

    def _grow(self, sequence: TokenSequence) -> bool:
        """A block for the newest token, if need be from the last in the order; False where that is itself."""
        if self.allocator.blocks_for(len(sequence.tokens)) <= len(sequence.table):
            return True
        while self.allocator.num_free == 0:
            last = self.running[-1]
            self._preempt(last)
            if last is sequence:
                return False
        sequence.table.append(self.allocator.allocate())
        return True

    def _copy_on_write(self, sequence: TokenSequence, place: int, step: Step) -> None:
        """Before a sequence writes into a block that others hold, or may find, it gets one of its own."""
        source = sequence.table[place]
        assert self.allocator.is_shared(source)
        target = self.allocator.allocate()
        self.allocator.release([source])
        sequence.table[place] = target
        step.copies.append((source, target))

    def _count(self, sequence: TokenSequence, budget: int, most: int) -> int:
        """How many tokens it may compute in this step: of a budget of `most`, this is left."""
        if sequence.remaining == 1:
            return 1
        if not self.limits.batch_invariant:
            if budget < sequence.remaining <= most:  # rather whole in the next step: two forward passes cost more
                return 0
            return min(sequence.remaining, max(budget, 0))
        if sequence.computed >= sequence.prompt_length:  # after a preemption: one by one, as they were sampled
            return 1
        return min(sequence.prompt_length - sequence.computed, self.limits.tokens_per_step) if budget > 0 else 0

    def _preempt(self, sequence: TokenSequence) -> None:
        self._stop(sequence)
        self.preemptions += 1
        insort(self.waiting, sequence, key=_place)

    def _stop(self, sequence: TokenSequence) -> None:
        assert sequence.row is not None
        self.running.remove(sequence)
        self._free_rows.append(sequence.row)
        self.allocator.release(sequence.table)
        sequence.row, sequence.table, sequence.computed = None, [], 0

    def _digests(self, sequence: TokenSequence) -> list[bytes]:
        """Of all full blocks of its text, which only grows: what was hashed once is kept."""
        size, digests = self.limits.block_size, sequence.digests
        for at in range(len(digests), len(sequence.tokens) // size):
            before = digests[-1] if at else b""
            digests.append(block_digest(before, sequence.tokens[at * size : (at + 1) * size]))
        return digests


def _place(sequence: TokenSequence) -> tuple[int, int]:
    return sequence.order, sequence.id
