"""Which block of the paged cache belongs to whom: reference counts and shared prefixes. No torch.

The cache of keys and values is cut into blocks of `block_size` tokens (PagedAttention, Kwon et al. 2023,
arXiv:2309.06180, section 4). A sequence has a table of blocks; position p lies in block table[p // block_size]. So
memory is taken as a text grows, nothing is reserved, and two sequences may hold the same block.

A full block is known by a digest of its tokens and of the digest of the block in front of it,

    digest_i = hash(digest_{i-1}, tokens of block i)

so equal digests mean equal texts from the beginning on, and a new sequence finds the blocks that another one has
computed. A block that nobody holds any more keeps its digest until it is needed for something else: free blocks without
a digest go first, then those that were freed longest ago.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence


class BlockAllocator:
    """Invariant: a block is either free or has at least one reference; a digest stands for at most one block."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self._references = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))  # the next to be taken first
        self._digest_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds, those with a digest included."""
        return len(self._free)

    def blocks_for(self, num_tokens: int) -> int:
        """How many blocks hold so many tokens."""
        return -(-num_tokens // self.block_size)

    def allocate(self) -> int:
        """A block of one's own; there must be a free one."""
        block, _ = self._free.popitem(last=False)
        digest = self._digest_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]
        self._references[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more reference to a block that is held or has a digest."""
        if self._references[block] == 0:
            assert block in self._digest_of, f"block {block} is free and holds nothing"
            del self._free[block]
        self._references[block] += 1

    def release(self, table: Sequence[int]) -> None:
        """Give up one reference to each block, the last first, so that beginnings of texts stay longest."""
        for block in reversed(table):
            assert self._references[block] > 0, f"block {block} is free already"
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None
                if block not in self._digest_of:
                    self._free.move_to_end(block, last=False)

    def is_shared(self, block: int) -> bool:
        """Whether writing into it would change what another sequence holds, or what a digest stands for."""
        return self._references[block] > 1 or block in self._digest_of

    def register(self, block: int, digest: bytes) -> None:
        """Make a full block known; where another one already stands for this text, that one stays."""
        assert self._references[block] > 0, f"block {block} is free"
        if digest not in self._block_of and block not in self._digest_of:
            self._block_of[digest], self._digest_of[block] = block, digest

    def find(self, digests: Sequence[bytes]) -> list[int]:
        """The blocks of the longest known beginning of a text, given the digests of its full blocks."""
        found: list[int] = []
        for digest in digests:
            block = self._block_of.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def forget(self) -> None:
        """No digest stands for anything any more; references stay."""
        self._digest_of.clear()
        self._block_of.clear()


def block_digest(before: bytes, tokens: Sequence[int]) -> bytes:
    """The digest of a full block behind another one; `before` is empty for the first."""
    return hashlib.blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()
