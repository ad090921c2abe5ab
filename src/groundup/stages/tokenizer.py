"""Corpus to tokenizer: learn the vocabulary, measure it beside simpler ones on text that it has not seen.

    out/tokenizer.json   the vocabulary
        result.json      sizes, seconds, bytes per token, the comparison

Training takes seconds and is deterministic, so a run that was stopped simply starts again and ends with the same file.
"""

import itertools
import time
from pathlib import Path
from typing import Any

from groundup.core.runs import Run, finished
from groundup.corpus.documents import read_texts
from groundup.corpus.sources import is_corpus, training_texts
from groundup.stages.texts import text_fingerprint
from groundup.stages.tokenizer_evaluation import short_names
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.byte_tokenizer import ByteTokenizer
from groundup.tokenization.character_tokenizer import CharacterTokenizer
from groundup.tokenization.config import TokenizerConfig
from groundup.tokenization.evaluation import compare_tokenizers
from groundup.tokenization.tokenizer import Tokenizer
from groundup.tokenization.tokenizer_file import FILE_NAME
from groundup.tokenization.vocabulary_files import load_vocabulary
from groundup.tokenization.word_tokenizer import WordTokenizer

COMPARED_CHARACTERS = 1_000_000  # of training text, where there is no held-out text


def run_tokenizer(config: TokenizerConfig, corpus: Path, out: Path) -> dict[str, Any]:
    """Train on a corpus folder or on plain text files; returns what `result.json` holds.

    The comparison is on the held-out split of a corpus folder; plain text has none, so it is on the first documents of
    the training text (`compared_on` says which).
    """
    inputs = {"corpus": text_fingerprint(corpus)}
    others = {path: load_vocabulary(Path(path)) for path in config.compare}
    inputs |= {f"compare {path}": tokenizer.fingerprint for path, tokenizer in others.items()}
    done = finished(out, config, inputs)
    if done is not None and (out / FILE_NAME).exists():
        return done
    texts = training_texts(corpus)
    with Run(out, config, inputs) as run:
        start = time.perf_counter()
        tokenizer = train_bpe(texts, config.vocab_size, config.pattern, config.special_tokens)
        seconds = time.perf_counter() - start
        tokenizer.save(out)
        tokenizers: dict[str, Tokenizer] = {
            "bpe": tokenizer,
            "byte": ByteTokenizer(),
            "character": CharacterTokenizer.train(texts),
            "word": WordTokenizer.train(texts, config.vocab_size),
        }
        heldout = read_texts(corpus, "heldout") if is_corpus(corpus) else []
        names = short_names(list(others), list(tokenizers))
        tokenizers |= {names[path]: tokenizer for path, tokenizer in others.items()}
        rows = compare_tokenizers(tokenizers, heldout or _first(texts, COMPARED_CHARACTERS))
        return run.finish(
            {
                "vocab_size": tokenizer.vocab_size,
                "seconds": seconds,
                "bytes_per_token": rows[0]["bytes_per_token"],
                "compared_on": "heldout" if heldout else "train",
                "comparison": rows,
                "tokenizer_fingerprint": tokenizer.fingerprint,
            }
        )


def _first(texts: list[str], characters: int) -> list[str]:
    """The first texts that have so many characters together, the last of them whole."""
    ends = itertools.accumulate(map(len, texts), initial=0)
    return [text for text, start in zip(texts, ends, strict=False) if start < characters]
