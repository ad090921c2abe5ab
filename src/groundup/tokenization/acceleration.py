"""When the compiled kernels pay, and how a tokenizer gets at them.

Plain Python answers at once and handles some 10 MB/s; the kernels handle hundreds, but loading them takes half a
second, and compiling them, once on a machine, half a minute. So a tokenizer begins with Python and changes over when
it has seen enough text: a megabyte where the kernels are on disk already, much more where they would be compiled.
Results are the same to the bit. `tokenizer.compile()` asks for the kernels at once.
"""

import sys
from functools import cache
from typing import TYPE_CHECKING

from groundup.core.logging import get_logger
from groundup.tokenization.patterns import PATTERNS

if TYPE_CHECKING:
    from groundup.tokenization.bpe import BytePairTokenizer
    from groundup.tokenization.compiled.encoder import CompiledEncoder

WORTH_LOADING = 1 << 20  # bytes of text: half a second of Python
WORTH_COMPILING = 1 << 26  # half a minute or more of Python
LONGEST_WHOLE_PIECE = 255  # bytes of a pre-token that the kernels remember
MOST_MERGES = (1 << 21) - 256  # a token's number has 21 bits
MOST_WHOLE_PIECES = 4096  # they must fit into the smallest cache
_KERNELS = "groundup.tokenization.compiled.layout"
_NAMES = {value: name for name, value in PATTERNS.items()}
logger = get_logger(__name__)


def pays(size: float, kernel: str) -> bool:
    """Whether so much text is worth a kernel, which may be loaded, on disk, or not compiled yet."""
    loaded = _KERNELS in sys.modules
    if loaded and _was_on_disk(kernel):
        return True
    if size < WORTH_LOADING:
        return False
    from groundup.tokenization.compiled.layout import is_on_disk

    return size >= WORTH_COMPILING or is_on_disk(kernel)


@cache
def _was_on_disk(kernel: str) -> bool:
    """As `is_on_disk`, looked up once."""
    from groundup.tokenization.compiled.layout import is_on_disk

    return is_on_disk(kernel)


def announce(kernel: str) -> None:
    """Say so where the next call will compile for a while."""
    from groundup.tokenization.compiled.layout import is_on_disk

    if not is_on_disk(kernel):
        logger.info("Compiling the tokenizer's kernels: about half a minute, once on this machine ...")


def compiled_pattern(expression: str) -> str | None:
    """The name of a pattern that the kernels know; None for a pattern of the user's own."""
    return _NAMES.get(expression)


def compiled_encoder(tokenizer: "BytePairTokenizer") -> "CompiledEncoder | None":
    """The tokenizer's kernels; None for a pattern of the user's own, which only the `regex` module understands.

    None too for a vocabulary that does not fit their tables.
    """
    import numpy as np

    name = compiled_pattern(tokenizer.pattern)
    pieces = tokenizer.whole_pieces
    if name is None or len(tokenizer.merges) > MOST_MERGES or len(pieces) > MOST_WHOLE_PIECES:
        return None
    if any(len(piece) > LONGEST_WHOLE_PIECE for piece in pieces):
        return None
    announce("encode_text")
    from groundup.tokenization.compiled.encoder import CompiledEncoder
    from groundup.tokenization.compiled.layout import is_on_disk

    # Reading a rank file is too small a task to be compiled for its own sake, but the next one is read faster.
    if not is_on_disk("recover"):
        from groundup.tokenization.compiled.recovery import recover_pairs

        recover_pairs(np.zeros(2, np.uint8), np.full(1, 2), np.full(1, 256))

    merges = np.array(tokenizer.merges, dtype=np.int32).reshape(-1, 2)
    ids = np.array(tokenizer.ids or range(256 + len(merges)), dtype=np.uint32)
    return CompiledEncoder(merges, ids, name, pieces)
