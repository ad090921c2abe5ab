"""Tokens of a text that comes in parts: the same ids, and the same text back, as if it had come at once.

Encoding holds back what the next part may still change, from the last place where the text may be cut (`cutting.py`);
so memory follows the parts, not the text. Decoding holds back the bytes of an unfinished character.
"""

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from groundup.tokenization.tokenizer import SpecialPolicy, Tokenizer

if TYPE_CHECKING:
    from groundup.tokenization.bpe import BytePairTokenizer

LEAST = 4096  # bytes that are collected before a cut is looked for


def encode_parts(tokenizer: "BytePairTokenizer", parts: Iterable[str], allow_special: SpecialPolicy) -> Iterator[int]:
    """The ids of the text that the parts make together, wherever it was divided."""
    cut = tokenizer.text_cut()
    held, size, wanted = [], 0, LEAST
    for part in parts:
        held.append(part)
        size += len(part)
        if size < wanted:
            continue
        data = "".join(held).encode("utf-8", "surrogatepass")  # half a pair of surrogates may wait for the other half
        place = cut(data)
        yield from tokenizer.encode(data[:place].decode("utf-8", "surrogatepass"), allow_special=allow_special)
        held = [data[place:].decode("utf-8", "surrogatepass")]
        size = len(held[0])
        wanted = max(LEAST, 2 * size)  # text without a place to cut is not searched again for every part
    yield from tokenizer.encode("".join(held), allow_special=allow_special)


class StreamDecoder:
    """Token ids to text as they come: each push returns whole characters and keeps the bytes of an unfinished one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; may be empty."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for an unfinished character, or nothing. The decoder starts afresh."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
