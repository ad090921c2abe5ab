"""The process of one run of the loss benchmark: `python -m training_peers.loss_worker job.json result.json`.

    {"side": "groundup", "config": {...}, ...}      what `groundup pretrain` does with that config
    {"side": "gpt2_style", "compiled": true, ...}   `gpt2_recipe.py` on the same tokens

and in both "seed", "seconds", "corpus", "tokenizer", "cores", "place". The clock runs from the first weights to the
end, compilation included; before it, the text is made into tokens, and behind it, the held-out documents are scored.
What an earlier compilation left on disk is not used, so every run waits for its own.
"""

import math
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.child import Result, child_main

if TYPE_CHECKING:
    from groundup.evaluation.statistics import Interval
    from groundup.tokenization.bpe import BytePairTokenizer


class Trained(NamedTuple):
    """A model, the context that it is scored with, and what its training took."""

    model: Any
    context: int
    took: Result


def run(job: Result) -> Result:
    """Train one side and score it."""
    end_with_parent()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "inductor")
        import torch

        from groundup.stages.texts import train_and_heldout
        from groundup.tokenization.bpe import BytePairTokenizer

        torch.set_num_threads(int(job["cores"]))
        tokenizer = BytePairTokenizer.load(Path(job["tokenizer"]))
        train, heldout = train_and_heldout(Path(job["corpus"]))
        if job["side"] == "groundup":
            trained = groundup(job, Path(folder))
        else:
            trained = gpt2_style(job, train, heldout, tokenizer, Path(folder))
        interval = heldout_score(trained, tokenizer, heldout)
    if not math.isfinite(interval.estimate):
        raise ArithmeticError(f"its held-out loss is {interval.estimate}")
    return {**trained.took, "bits_per_byte": interval.estimate, "low": interval.low, "high": interval.high}


def groundup(job: Result, folder: Path) -> Trained:
    """Our side: all that `groundup pretrain` does, checkpoints too."""
    from groundup.core.config import decode
    from groundup.inference.engine import load_engine
    from groundup.stages.config import PretrainConfig
    from groundup.stages.pretrain import run_pretrain

    config = decode(PretrainConfig, job["config"])
    result = run_pretrain(config, Path(job["corpus"]), Path(job["tokenizer"]), folder / "run")
    engine = load_engine(folder / "run")
    took = {key: result[key] for key in ("seconds", "steps", "tokens", "parameters")}
    return Trained(engine.model, engine.context_length, took)


def gpt2_style(
    job: Result, train: list[str], heldout: list[str], tokenizer: "BytePairTokenizer", folder: Path
) -> Trained:
    """The GPT-2 style; its tokens are in files as ours are, and are read ahead as ours are."""
    import torch

    from groundup.batches.prefetch import Prefetch
    from groundup.batches.token_stream import open_tokens
    from groundup.batches.windows import WindowSource
    from groundup.stages.pretrain import tokenize_splits
    from training_peers.gpt2_recipe import BATCH, CONTEXT, recipe_shape, train_for
    from training_peers.gpt2_style import GPT2Style
    from training_peers.steps import count_parameters

    tokenize_splits(train, heldout, tokenizer, folder)
    source = WindowSource(open_tokens(folder / "tokens" / "train", tokenizer), BATCH, CONTEXT, int(job["seed"]))
    torch.manual_seed(int(job["seed"]))
    model = GPT2Style(recipe_shape(tokenizer.vocab_size))
    with Prefetch(source) as ahead:
        steps, seconds = train_for(float(job["seconds"]), model, ahead, bool(job["compiled"]))
    took = {"seconds": seconds, "steps": steps, "tokens": steps * BATCH * CONTEXT}
    return Trained(model, CONTEXT, {**took, "parameters": count_parameters(model)})


def heldout_score(trained: Trained, tokenizer: "BytePairTokenizer", texts: Sequence[str]) -> "Interval":
    """Bits per byte of whole documents in windows of the model's own context, as `groundup evaluate` counts them."""
    from groundup.evaluation.bits_per_byte import bits_per_byte, document_likelihoods, document_windows

    windows = document_windows(tokenizer, texts, trained.context)
    return bits_per_byte(document_likelihoods(trained.model.eval(), texts, windows))


def end_with_parent() -> None:
    """End this process soon after its parent is gone: a benchmark that was killed must not go on computing."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    child_main(run)
