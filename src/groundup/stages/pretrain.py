"""Pretraining: texts and a tokenizer to a checkpoint, resumable at any point."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup.batches.batch import Batches
from groundup.batches.build import training_batches
from groundup.batches.config import CORPUS
from groundup.batches.token_stream import open_tokens, tokens_fingerprint
from groundup.checkpoint.store import Checkpoint
from groundup.core.errors import InputError
from groundup.core.files import clear_temporaries, make_directory
from groundup.core.progress import progress
from groundup.core.runs import Run, finished
from groundup.evaluation.bits_per_byte import window_bits_per_byte
from groundup.inference.engine import find_checkpoint
from groundup.kernels.dispatch import chosen
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.language_model import LanguageModel
from groundup.stages.compute import prepare_compute
from groundup.stages.config import PretrainConfig
from groundup.stages.memory_plan import fitted, require_memory
from groundup.stages.pretraining import Pretraining
from groundup.stages.samples import Sampler
from groundup.stages.sinks import mirrored, require_packages
from groundup.stages.texts import text_fingerprint, train_and_heldout
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.tokenization.token_shards import INDEX_NAME, token_blocks, write_index, write_shard


def run_pretrain(config: PretrainConfig, corpus: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Train a language model; returns the result, which is also in `result.json` beside `checkpoints/`."""
    vocabulary = BytePairTokenizer.load(tokenizer)
    start_from = None if config.start_from is None else find_checkpoint(config.start_from)
    inputs = {"texts": text_fingerprint(corpus), "tokenizer": vocabulary.fingerprint}
    inputs |= {f"source {name}": tokens_fingerprint(folder) for name, folder in config.data.sources.items()}
    vocab_size = vocabulary.vocab_size
    if start_from is not None:
        inputs["start_from"] = start_from.fingerprint
        vocab_size = max(vocab_size, start_from.config.vocab_size)  # tables are often padded to a round number
        require_same_tokenizer(start_from, vocabulary)
    config = fitted(replace(config, model=replace(config.model, vocab_size=vocab_size)))
    if (result := finished(out, config, inputs)) is not None:
        return result
    if isinstance(config.model, HierarchicalConfig) and not vocabulary.is_bytes:
        raise InputError(
            "A hierarchical model reads bytes, and this tokenizer merges them; train one without merges, whose "
            "--vocab-size is 256 and its special tokens."
        )
    if END_OF_TEXT not in vocabulary.special_tokens:
        raise InputError(f"The tokenizer has no {END_OF_TEXT} token; train one with `groundup tokenizer train`.")
    texts = train_and_heldout(corpus)  # before the run opens: a fault in the input leaves its folder as it was
    sources = {name: open_tokens(folder, vocabulary) for name, folder in config.data.sources.items()}
    require_packages(config.log_to)
    sample = Sampler(config, vocabulary).samples
    with Run(out, config, inputs) as run, mirrored(run, config.log_to, config):
        tokenize_splits(*texts, vocabulary, out)
        streams = {CORPUS: open_tokens(out / "tokens" / "train", vocabulary, "The training text"), **sources}

        def batches(steps: int) -> Batches:
            shape = config.rows_before, config.model.context_length
            return training_batches(config.data, streams, *shape, config.seed, steps)

        batches(config.steps)  # what is wrong with the data shows now
        require_memory(config)
        compute = prepare_compute(config.compute, out)
        validation = Validation(out, vocabulary, config)

        def validate(model: LanguageModel) -> float | None:
            with compute.precision.computing(model.embedding.device):
                return validation.bits_per_byte(model)

        result = Pretraining(config, batches, validate, sample, compute, run, tokenizer, start_from).to_the_end()
        run.add_provenance(kernels=chosen())
        return run.finish(result)


def require_same_tokenizer(start_from: Checkpoint, vocabulary: BytePairTokenizer) -> None:
    """Ids must mean what they meant when the weights were trained; an imported model may not say what that was."""
    if not start_from.tokenizer.exists():
        return
    if BytePairTokenizer.load(start_from.tokenizer).fingerprint != vocabulary.fingerprint:
        raise InputError(
            f"{start_from.path} was trained with another tokenizer; use its own: --tokenizer {start_from.tokenizer}"
        )


def tokenize_splits(train: list[str], heldout: list[str], tokenizer: BytePairTokenizer, out: Path) -> None:
    """Write the token shards of both splits, unless an earlier start of this run did."""
    splits = {out / "tokens" / "train": train, out / "tokens" / "heldout": heldout}
    if all((folder / INDEX_NAME).exists() for folder in splits):
        return
    separator = tokenizer.special_tokens[END_OF_TEXT]
    with progress("tokenize", sum(map(len, splits.values()))) as advance:

        def documents(texts: list[str]) -> Iterator[tuple[bytes, bool]]:
            for text in texts:
                yield text.encode(), True
                advance()

        for folder, texts in splits.items():
            clear_temporaries(make_directory(folder))
            blocks = token_blocks(tokenizer, documents(texts), separator)
            shard = write_shard(folder, 0, folder.name, blocks, tokenizer.vocab_size)
            write_index(folder, tokenizer, separator, [shard])


class Validation:
    """A fixed set of held-out windows for the learning curve."""

    def __init__(self, out: Path, tokenizer: BytePairTokenizer, config: PretrainConfig) -> None:
        tokens = open_tokens(out / "tokens" / "heldout", tokenizer)
        T = config.model.context_length
        count = min(config.evaluate_windows, max(0, len(tokens) - 1) // T)
        starts = np.linspace(0, len(tokens) - 1 - T, count, dtype=np.int64) if count else []
        rows = [torch.from_numpy(tokens[start : start + T + 1].astype(np.int64)) for start in starts]
        self.windows_NT = torch.stack(rows) if rows else None
        self.token_bytes = torch.from_numpy(tokenizer.token_bytes).long()

    def bits_per_byte(self, model: LanguageModel) -> float | None:
        """None where the held-out text is shorter than one window."""
        if self.windows_NT is None:
            return None
        model.eval()
        value = window_bits_per_byte(model, self.token_bytes, self.windows_NT)
        model.train()
        return value
