"""The whole story, in order; every step is a run of its own and is reused if it is whole."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.core.files import require_writable
from groundup.core.logging import get_logger
from groundup.core.runs import Run
from groundup.stages.config import QuickstartConfig
from groundup.stages.corpus import run_corpus
from groundup.stages.evaluate import run_evaluate
from groundup.stages.grpo import run_grpo
from groundup.stages.pretrain import run_pretrain
from groundup.stages.report import run_report
from groundup.stages.sft import run_sft
from groundup.stages.tokenizer import run_tokenizer

logger = get_logger(__name__)


def run_quickstart(config: QuickstartConfig, out: Path) -> dict[str, Any]:
    """Corpus, tokenizer, pretraining, evaluation, alignment, report; returns the summary that the report shows."""
    require_writable(out)
    with Run(out, config, of_runs=True) as run:
        run_corpus(
            config.corpus, step(1, "corpus: real documents, cleaned, filtered, deduplicated, split", out / "corpus")
        )
        run_tokenizer(config.tokenizer, out / "corpus", step(2, "tokenizer: byte-pair encoding", out / "tokenizer"))
        pretrain = step(3, "pretrain: a small decoder", out / "pretrain")
        run_pretrain(config.pretrain, out / "corpus", out / "tokenizer", pretrain)
        evaluate = step(4, "evaluate: bits per byte beside xz and Kneser-Ney", out / "evaluate")
        run_evaluate(config.evaluate, pretrain, out / "corpus", evaluate)
        run_sft(config.sft, pretrain, step(5, "align: supervised fine-tuning, then GRPO", out / "sft"))
        run_grpo(config.grpo, out / "sft", out / "grpo")
        if config.control:
            coin = replace(config.grpo, grpo=replace(config.grpo.grpo, reward="random"))
            run_grpo(coin, out / "sft", out / "control")
        elif (out / "control").exists():
            shutil.rmtree(out / "control")
        step(6, "report", out)
        started = time.perf_counter()
        report = run_report(out)
        return run.finish({"seconds": time.perf_counter() - started, "report": str(report)})


def step(number: int, what: str, folder: Path) -> Path:
    """Announce a step; returns its folder."""
    logger.info("step %d of 6  %s", number, what)
    return folder
