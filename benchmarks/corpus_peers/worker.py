"""The process of one job: `python -m corpus_peers.worker job.json result.json`.

    {"do": "fineweb", "warcs": [...], "cores": 2}                       datatrove's pipeline
    {"do": "build", "warcs": [...], "cores": 2, "extractor": ...}       ours, the whole `corpus build`

Times include everything from the start of the pipeline on, the start of its worker processes too. Both first go through
a few pages outside of the time: compiled code and unpacked lists are then on the disk, as they are after the first use.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from harness.child import Job, Result, child_main


def run(job: Job) -> Result:
    warm_up = Path(job["warm_up"])
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        DO[job["do"]](job, [warm_up], Path(folder) / "warm")
        warcs = [Path(name) for name in job["warcs"]]
        start = time.perf_counter()
        kept = DO[job["do"]](job, warcs, Path(folder) / "run")
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "documents_per_second": job["pages"] / seconds, **kept}


def fineweb(job: Job, warcs: list[Path], out: Path) -> dict[str, Any]:
    from corpus_peers.datatrove_fineweb import run_fineweb

    return run_fineweb(warcs, out, job["cores"])


def build(job: Job, warcs: list[Path], out: Path) -> dict[str, Any]:
    from groundup.corpus.config import CorpusConfig
    from groundup.corpus.execution.run import ExecutionConfig
    from groundup.corpus.language import LanguageConfig
    from groundup.stages.corpus import run_corpus

    language = LanguageConfig(keep=("en",), min_score=0.65)
    config = CorpusConfig(source="files", inputs=tuple(warcs), extractor=job["extractor"], language=language)
    result = run_corpus(config, out, ExecutionConfig("local", job["cores"]))
    rows = {row["stage"]: row["documents"] for row in result["funnel"]}
    return {"filtered": rows["pii"], "kept": rows["near_duplicates"]}


DO = {"fineweb": fineweb, "build": build}

if __name__ == "__main__":
    child_main(run)
