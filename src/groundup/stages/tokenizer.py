"""Corpus to tokenizer: learn the vocabulary, measure it beside simpler ones on text that it has not seen.

    out/tokenizer.json   the vocabulary
        result.json      sizes, seconds, bytes per token, the comparison

Text is streamed, so it may be larger than memory; counting is resumed after a stop (`tokenizer_training.py`), and the
result is the same. The simpler tokenizers beside it learn from the first `SAMPLE_CHARACTERS` of the text.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from groundup.core.runs import Run, finished
from groundup.corpus.documents import read_texts
from groundup.corpus.sources import is_corpus
from groundup.corpus.text_stream import TextUnit, read_unit, text_units, units_fingerprint
from groundup.stages.texts import text_fingerprint
from groundup.stages.tokenizer_evaluation import short_names
from groundup.stages.tokenizer_training import train_on_units
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.byte_tokenizer import ByteTokenizer
from groundup.tokenization.character_tokenizer import CharacterTokenizer
from groundup.tokenization.config import TokenizerConfig
from groundup.tokenization.evaluation import compare_tokenizers
from groundup.tokenization.tokenizer import Tokenizer
from groundup.tokenization.tokenizer_file import FILE_NAME
from groundup.tokenization.vocabulary_files import load_vocabulary
from groundup.tokenization.word_tokenizer import WordTokenizer

SAMPLE_BLOCK_BYTES = 1 << 18
SAMPLE_CHARACTERS = 16_000_000  # of training text, for the simpler tokenizers
COMPARED_CHARACTERS = 1_000_000  # of training text, where there is no held-out text


def run_tokenizer(config: TokenizerConfig, corpus: Path, out: Path, threads: int = 0) -> dict[str, Any]:
    """Train on a corpus folder, or on a file, folder or glob of texts; returns what `result.json` holds.

    The comparison is on the held-out split of a corpus folder; plain text has none, so it is on the first documents of
    the training text (`compared_on` says which).
    """
    train = corpus / "train.jsonl" if is_corpus(corpus) else corpus
    units = text_units([train], config.column)
    inputs = {"corpus": text_fingerprint(corpus) if is_corpus(corpus) else units_fingerprint(units)}
    others = {path: load_vocabulary(Path(path)) for path in config.compare}
    inputs |= {f"compare {path}": tokenizer.fingerprint for path, tokenizer in others.items()}
    done = finished(out, config, inputs)
    if done is not None and (out / FILE_NAME).exists():
        return done
    with Run(out, config, inputs) as run:
        start = time.perf_counter()
        tokenizer = train_on_units(
            units, config.vocab_size, config.pattern, config.special_tokens, threads=threads, state_folder=out
        )
        seconds = time.perf_counter() - start
        tokenizer.save(out)
        texts = _first(_texts(units, tokenizer), SAMPLE_CHARACTERS)
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


def _texts(units: Sequence[TextUnit], tokenizer: BytePairTokenizer) -> Iterator[str]:
    cut = tokenizer.text_cut()
    for unit in units:
        yield from (data.decode() for data in read_unit(unit, cut, SAMPLE_BLOCK_BYTES))


def _first(texts: Iterable[str], characters: int) -> list[str]:
    """The first texts that have so many characters together, the last of them whole."""
    found, size = [], 0
    for text in texts:
        if size >= characters:
            break
        found.append(text)
        size += len(text)
    return found
