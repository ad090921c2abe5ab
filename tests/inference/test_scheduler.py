"""The scheduler without a model: what a step writes into blocks is simulated, and checked when it is read."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from groundup.core.errors import ConfigError, InputError
from groundup.inference.scheduler import PATIENCE, Limits, Scheduler, Step, TokenSequence

SIZE, NUM_BLOCKS = 2, 7
LIMITS = Limits(max_running=3, tokens_per_step=5, block_size=SIZE)
MOST = SIZE * (NUM_BLOCKS - 1)
PROMPTS = st.builds(  # many with common beginnings
    lambda text, length, end: [*(text * MOST)[:length], *end][: MOST - 1],
    st.sampled_from([[0], [0, 1]]),
    st.integers(1, MOST - 1),
    st.lists(st.integers(0, 1), max_size=2),
)


class Simulation:
    """Plays the engine: slots hold the text up to their position, which is what keys and values depend on."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.slots: dict[tuple[int, int], tuple[int, ...]] = {}
        self.limit: dict[int, int] = {}
        self.read = 0

    def add(self, prompt: list[int], new: int, priority: int = 0) -> TokenSequence:
        sequence = self.scheduler.add(prompt, len(prompt) + new - 1, priority)
        self.limit[sequence.id] = len(prompt) + new
        return sequence

    def step(self, token: int = 0) -> Step:
        step = self.scheduler.schedule()
        for source, target in step.copies:
            for offset in range(SIZE):
                self.slots[target, offset] = self.slots[source, offset]
        for chunk in step.chunks:  # all before anything is written: forward passes of a step have no order
            text = chunk.sequence.tokens
            for position in range(chunk.start):
                place = self.place(chunk.sequence, position)
                assert self.slots[place] == tuple(text[: position + 1]), "somebody else's text is read"
        for chunk in step.chunks:
            assert chunk.count >= 1
            self.write(chunk.sequence, chunk.start, chunk.start + chunk.count)
        for chunk in step.chunks:
            self.scheduler.computed(chunk)
        for chunk in step.chunks:
            if chunk.samples:
                if len(chunk.sequence.tokens) + 1 == self.limit[chunk.sequence.id]:
                    self.scheduler.remove(chunk.sequence)
                else:
                    self.scheduler.append(chunk.sequence, token)
        return step

    def place(self, sequence: TokenSequence, position: int) -> tuple[int, int]:
        return sequence.table[position // SIZE], position % SIZE

    def write(self, sequence: TokenSequence, start: int, end: int) -> None:
        for position in range(start, end):
            place = self.place(sequence, position)
            shared = [other for other in self.scheduler.running if other is not sequence and place[0] in other.table]
            assert not shared, "what somebody else reads is overwritten"
            self.slots[place] = tuple(sequence.tokens[: position + 1])
            self.read += 1


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, go on, and are cancelled, in memory for three of them at most."""

    limits, share_prefixes = LIMITS, True

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.limits, NUM_BLOCKS, self.share_prefixes)
        self.simulation = Simulation(self.scheduler)

    def everybody(self) -> list[TokenSequence]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    @rule(prompt=PROMPTS, new=st.integers(1, MOST), priority=st.sampled_from([0, 0, 0, -1, 1]))
    def add(self, prompt: list[int], new: int, priority: int) -> None:
        self.simulation.add(prompt, min(new, MOST - len(prompt) + 1), priority)

    @precondition(lambda self: self.everybody())
    @rule(token=st.integers(0, 1))
    def step(self, token: int) -> None:
        first = min(self.everybody(), key=lambda sequence: (sequence.order, sequence.id))
        step = self.simulation.step(token)
        assert first in [chunk.sequence for chunk in step.chunks], "the first in the order waits"
        if not self.limits.batch_invariant:
            assert sum(chunk.count for chunk in step.chunks) <= self.limits.tokens_per_step

    @precondition(lambda self: self.everybody())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(self.everybody()))
        own = sum(1 for block in sequence.table if sum(block in other.table for other in self.everybody()) == 1)
        free = self.scheduler.allocator.num_free
        self.scheduler.remove(sequence)
        assert self.scheduler.allocator.num_free == free + own

    @invariant()
    def blocks_are_held_by_those_that_run(self) -> None:
        held = Counter(block for sequence in self.everybody() for block in sequence.table)
        assert self.scheduler.allocator.num_free == NUM_BLOCKS - len(held)
        for sequence in self.scheduler.waiting:
            assert (sequence.row, sequence.table, sequence.computed) == (None, [], 0)
        rows = [sequence.row for sequence in self.scheduler.running]
        assert len(set(rows)) == len(rows) <= self.limits.max_running
        assert None not in rows

    def teardown(self) -> None:
        """Everything ends, in a bounded number of steps, and nothing is left."""
        tokens = sum(self.simulation.limit[sequence.id] for sequence in self.everybody())
        for _ in range(2 * tokens):
            if self.everybody():
                self.step(0)
        assert not self.everybody()
        assert self.scheduler.allocator.num_free == NUM_BLOCKS


class PlainMachine(SchedulerMachine):
    share_prefixes = False


class InvariantMachine(SchedulerMachine):
    limits = Limits(max_running=3, tokens_per_step=5, block_size=SIZE, batch_invariant=True)


TestScheduler, TestWithoutSharing = SchedulerMachine.TestCase, PlainMachine.TestCase
TestBatchInvariant = InvariantMachine.TestCase
TestScheduler.settings = TestWithoutSharing.settings = settings(max_examples=60, stateful_step_count=40)
TestBatchInvariant.settings = TestScheduler.settings


def simulation(num_blocks: int = 100, max_running: int = 4, tokens_per_step: int = 100) -> Simulation:
    return Simulation(Scheduler(Limits(max_running, tokens_per_step, SIZE), num_blocks))


def test_what_decodes_goes_first_and_a_long_prompt_is_read_in_chunks() -> None:
    plays = simulation(max_running=2, tokens_per_step=6)
    short, long = plays.add([1], 9), plays.add(list(range(2, 19)), 1)
    counts = []
    while plays.scheduler.running or plays.scheduler.waiting:
        counts.append({chunk.sequence.id: chunk.count for chunk in plays.step().chunks})
    assert counts[:4] == [{short.id: 1, long.id: 5}] * 3 + [{short.id: 1, long.id: 2}]
    assert counts[4:] == [{short.id: 1}] * 5


def test_full_blocks_of_a_known_beginning_are_not_computed_again() -> None:
    plays = simulation()
    plays.add([1, 2, 3, 4, 5], 1)
    plays.step()
    other = plays.add([1, 2, 3, 4, 6, 7], 1)
    (chunk,) = plays.step().chunks
    assert (chunk.sequence, chunk.start, chunk.count) == (other, 4, 2)


def test_a_text_that_is_known_to_its_end_copies_its_last_block() -> None:
    plays = simulation()
    first = plays.add([1, 2, 3, 4], 5)
    plays.step()
    second = plays.add([1, 2, 3, 4], 5)
    step = plays.step()
    assert [(chunk.sequence, chunk.start, chunk.count) for chunk in step.chunks] == [(first, 4, 1), (second, 3, 1)]
    assert step.copies == [(first.table[1], second.table[1])]
    assert first.table[0] == second.table[0]


def test_many_answers_to_one_prompt_read_it_once() -> None:
    plays = simulation(max_running=4, tokens_per_step=7)
    first, *others = [plays.add([1, 2, 3, 4, 5], 2) for _ in range(3)]
    different = plays.add([6], 1)
    assert [chunk.sequence for chunk in plays.step().chunks] == [first, different]
    chunks = plays.step().chunks
    assert [(chunk.sequence, chunk.start, chunk.count) for chunk in chunks[1:]] == [(other, 4, 1) for other in others]


def test_the_last_in_the_order_gives_up_its_blocks_and_starts_again() -> None:
    plays = simulation(num_blocks=7, max_running=2)
    plays.scheduler.share_prefixes = False
    first, last = plays.add([1] * 4, 9), plays.add([2] * 4, 9)
    while first in plays.scheduler.running or not plays.scheduler.preemptions:
        plays.step()
    assert last in plays.scheduler.waiting or last.computed == 0
    while plays.scheduler.running or plays.scheduler.waiting:
        plays.step()
    assert plays.read > 2 * (4 + 8), "the tokens of the one that was preempted are computed again"


def test_only_so_many_later_requests_overtake_one() -> None:
    """A request of a lower rank under an endless stream of more urgent ones."""
    plays = simulation(max_running=1)
    patient = plays.add([1], 1, priority=2)
    overtaken = 0
    while patient in plays.scheduler.waiting:
        plays.add([1], 1)
        overtaken += patient not in [chunk.sequence for chunk in plays.step().chunks]
        assert overtaken <= 2 * PATIENCE
    assert overtaken == 2 * PATIENCE - 1


def test_an_urgent_request_takes_the_place_of_one_that_runs() -> None:
    plays = simulation(max_running=1)
    plays.add([1, 1, 1], 50)
    plays.step()
    urgent = plays.add([2, 2], 2, priority=-1)
    assert [chunk.sequence for chunk in plays.step().chunks] == [urgent]
    assert plays.scheduler.preemptions == 1


def test_nobody_is_preempted_for_one_that_would_not_fit_anyway() -> None:
    plays = simulation(num_blocks=7, max_running=3)
    plays.add([1] * 8, 4, priority=-2)
    plays.step()
    small = plays.add([2], 5)
    plays.step()
    large = plays.add([3] * 10, 1, priority=-1)
    plays.step()
    assert small in plays.scheduler.running
    assert large in plays.scheduler.waiting


def test_limits_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="tokens_per_step is 8 and max_running 8; it must be larger"):
        Limits(max_running=8, tokens_per_step=8)
    with pytest.raises(ConfigError, match="block_size is 0"):
        Limits(block_size=0)
    with pytest.raises(InputError, match=r"up to 20 tokens needs 11 blocks of the cache, which has 10; lower"):
        simulation(num_blocks=10).scheduler.add([1], 20)
    with pytest.raises(InputError, match="The priority is 101; it must be between -100 and 100"):
        simulation().scheduler.add([1], 1, 101)
