"""Output that follows a grammar: after each token, which ones may come next.

The grammars are compiled and matched by the library llguidance (derivatives of regular expressions for the lexer, an
Earley parser behind it), which knows the bytes of each token; what it allows is a mask over the vocabulary, and
sampling sees nothing else. So what is sampled always begins a text of the grammar. At the end of one the model may stop
by its stop token, and must where nothing can follow.
"""

import functools
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from groundup.core.errors import InputError
from groundup.inference.requests import Grammar
from groundup.tokenization.tokenizer import Tokenizer


class Constraint:
    """A grammar and how much of it has been written."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer, stop_id: int) -> None:
        self._vocab_size = tokenizer.vocab_size
        self._matcher = LLMatcher(_known_tokens(tokenizer, stop_id), _compiled(grammar))
        if self._matcher.is_error():
            why = self._matcher.get_error().strip()
            raise InputError(f"The {grammar.kind.replace('_', ' ')} cannot be followed: {why}")

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next (V,)."""
        words = allocate_token_bitmask(1, self._vocab_size)
        fill_next_token_bitmask(self._matcher, words, 0)
        bits = np.unpackbits(words[0].view(np.uint8), bitorder="little")[: self._vocab_size]
        return bits.astype(np.bool_)

    def advance(self, token: int) -> None:
        """A token that was allowed has been sampled."""
        taken = self._matcher.consume_token(token)
        assert taken, f"token {token} is not allowed by the grammar: {self._matcher.get_error()}"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self._matcher.is_stopped()


def check_grammar(grammar: Grammar) -> None:
    """Raise an `InputError` for a grammar that no tokenizer could follow; a server asks before it answers."""
    why = LLMatcher.validate_grammar(_compiled(grammar))
    if why:
        raise InputError(f"The {grammar.kind.replace('_', ' ')} cannot be followed: {' '.join(why.split())}")


def _compiled(grammar: Grammar) -> str:
    try:
        match grammar.kind:
            case "regex":
                return LLMatcher.grammar_from_regex(grammar.definition)
            case "json_schema":
                return LLMatcher.grammar_from_json_schema(grammar.definition)
            case "lark":
                return LLMatcher.grammar_from_lark(grammar.definition)
    except ValueError as error:
        raise InputError(f"The {grammar.kind.replace('_', ' ')} is not valid: {error}") from error


class _Tokens:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, stop_id: int) -> None:
        self._tokenizer, self.eos_token_id = tokenizer, stop_id
        self.tokens = [tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted({stop_id, *getattr(tokenizer, "special_tokens", {}).values()})

    def __call__(self, text: bytes) -> Sequence[int]:
        return list(self._tokenizer.encode(text.decode(errors="replace")))


@functools.lru_cache(maxsize=4)
def _known_tokens(tokenizer: Tokenizer, stop_id: int) -> LLTokenizer:
    """Made once: it takes a second for a vocabulary of 100,000."""
    return LLTokenizer(TokenizerWrapper(_Tokens(tokenizer, stop_id)), n_vocab=tokenizer.vocab_size)
