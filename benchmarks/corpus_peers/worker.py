"""The process of one job: `python -m corpus_peers.worker job.json result.json`.

    {"do": "fineweb", "warcs": [...], "cores": 2, "fast": false}        datatrove's pipeline
    {"do": "build", "warcs": [...], "cores": 2, "extractor": ...}       ours, the whole `corpus build`, FineWeb's rules

Times include everything from the start of the pipeline on, the start of its worker processes too. Both first go through
a few pages outside of the time: compiled code and unpacked lists are then on the disk, as they are after the first use.
"""

import tempfile
import time
from dataclasses import replace
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

    return run_fineweb(warcs, out, job["cores"], fast=job["fast"])


def build(job: Job, warcs: list[Path], out: Path) -> dict[str, Any]:
    """The thresholds are those of the peer's pipeline, and so are the blocklist and the language model."""
    from groundup.corpus.config import AddressConfig
    from groundup.corpus.execution.run import ExecutionConfig
    from groundup.recipes.corpus import fineweb
    from groundup.stages.corpus import run_corpus

    addresses = AddressConfig(blocklists=tuple(map(Path, job["blocklists"])))
    options: dict[str, Any] = {"source": "files", "inputs": tuple(warcs), "extractor": job["extractor"]}
    config = replace(fineweb(), addresses=addresses, **options)
    result = run_corpus(config, out, ExecutionConfig("local", job["cores"]))
    rows = {row["stage"]: row for row in result["funnel"]}
    dropped = {name: row["dropped"] for name, row in rows.items() if row["dropped"]}
    return {"filtered": rows["pii"]["documents"], "kept": rows["near_duplicates"]["documents"], "dropped": dropped}


DO = {"fineweb": fineweb, "build": build}

if __name__ == "__main__":
    child_main(run)
