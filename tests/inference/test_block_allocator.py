"""The block allocator against a plain account of who holds what."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from groundup.inference.block_allocator import BlockAllocator, block_digest

NUM_BLOCKS = 6


class AllocatorMachine(RuleBasedStateMachine):
    """Holders are lists of blocks; `texts` is which text each block was last made known with."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = BlockAllocator(NUM_BLOCKS, 4)
        self.holders: list[list[int]] = []
        self.texts: dict[int, bytes] = {}

    def held(self) -> set[int]:
        return {block for holder in self.holders for block in holder}

    @precondition(lambda self: self.allocator.num_free)
    @rule(new=st.booleans())
    def allocate(self, new: bool) -> None:
        known = {block for block in self.texts if block not in self.held()}
        unknown = set(range(NUM_BLOCKS)) - self.held() - known
        block = self.allocator.allocate()
        assert block not in self.held()
        assert block in (unknown or known), "what is known goes last"
        self.texts.pop(block, None)
        if new or not self.holders:
            self.holders.append([])
        self.holders[-1].append(block)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.allocator.release(self.holders.pop(data.draw(st.integers(0, len(self.holders) - 1))))

    @rule(text=st.integers(0, 4))
    def share(self, text: int) -> None:
        digest = block_digest(b"", [text])
        found = self.allocator.find([digest])
        assert found == [block for block, known in self.texts.items() if known == digest]
        for block in found:
            self.allocator.share(block)
            self.holders.append([block])

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), text=st.integers(0, 4))
    def register(self, data: st.DataObject, text: int) -> None:
        block, digest = data.draw(st.sampled_from(sorted(self.held()))), block_digest(b"", [text])
        self.allocator.register(block, digest)
        if block not in self.texts and digest not in self.texts.values():
            self.texts[block] = digest

    @rule()
    def forget(self) -> None:
        self.allocator.forget()
        self.texts.clear()

    @invariant()
    def every_block_is_free_or_held(self) -> None:
        assert self.allocator.num_free == NUM_BLOCKS - len(self.held())
        for block in self.held():
            times = sum(holder.count(block) for holder in self.holders)
            assert self.allocator.is_shared(block) == (times > 1 or block in self.texts)

    def teardown(self) -> None:
        for holder in self.holders:
            self.allocator.release(holder)
        taken = {self.allocator.allocate() for _ in range(NUM_BLOCKS)}
        assert taken == set(range(NUM_BLOCKS))
        assert self.allocator.num_free == 0


TestAllocator = AllocatorMachine.TestCase
TestAllocator.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_block_is_not_freed_twice() -> None:
    allocator = BlockAllocator(2, 4)
    block = allocator.allocate()
    allocator.release([block])
    with pytest.raises(AssertionError, match="is free already"):
        allocator.release([block])
    with pytest.raises(AssertionError, match="holds nothing"):
        allocator.share(block)
    with pytest.raises(AssertionError, match="is free"):
        allocator.register(block, b"x")


def test_the_text_that_was_freed_longest_ago_goes_first_and_its_end_before_its_beginning() -> None:
    allocator = BlockAllocator(5, 1)
    older, newer = [allocator.allocate() for _ in range(2)], [allocator.allocate() for _ in range(2)]
    for number, block in enumerate([*older, *newer]):
        allocator.register(block, bytes([number]))
    allocator.release(older)
    allocator.release(newer)
    assert [allocator.allocate() for _ in range(5)] == [4, older[1], older[0], newer[1], newer[0]]


def test_digests_are_of_the_whole_text_in_front() -> None:
    first, other = block_digest(b"", [1, 2]), block_digest(b"", [1, 3])
    assert block_digest(first, [5, 6]) == block_digest(block_digest(b"", (1, 2)), (5, 6))
    assert len({first, other, block_digest(first, [5, 6]), block_digest(other, [5, 6]), block_digest(b"", [5, 6])}) == 5


def test_a_beginning_is_found_as_far_as_it_is_known() -> None:
    allocator = BlockAllocator(4, 1)
    blocks = [allocator.allocate() for _ in range(3)]
    for block, digest in zip(blocks, (b"a", b"b", b"c"), strict=True):
        allocator.register(block, digest)
    assert allocator.find([b"a", b"b", b"c", b"d"]) == blocks
    assert allocator.find([b"a", b"x", b"c"]) == blocks[:1]
    assert allocator.find([b"x", b"b"]) == []
