import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from crawl_inputs import config_of, crawl, documents, files_of, page, promised, prose, warc

from groundup.corpus.config import CorpusConfig
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.documents import read_jsonl
from groundup.corpus.execution.run import ExecutionConfig, executor
from groundup.corpus.filters.config import HeuristicsConfig
from groundup.corpus.inspection.documents import find_document, raw_page, rejected_samples
from groundup.corpus.inspection.what_if import outcome, stored_statistics, with_thresholds
from groundup.corpus.pipeline import build_corpus
from groundup.corpus.reading.formats import read_documents
from groundup.stages.corpus import run_corpus


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(folder, config, result) of a crawl in three work units."""
    folder = tmp_path_factory.mktemp("crawl")
    config = config_of(files_of(folder / "in"))
    return folder / "out", config, crawl(config, folder / "out")


def test_a_crawl_gives_what_the_same_documents_give_in_memory(built):
    out, config, result = built
    whole = build_corpus(read_documents(config.inputs), config)
    for name, expected in (("train", whole.train), ("heldout", whole.heldout)):
        assert list(read_jsonl(out / f"{name}.jsonl")) == expected
    tables = [*out.glob("jobs/documents/units/*/rejected.parquet"), *out.glob("jobs/train/units/*/rejected.parquet")]
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    found = {row["id"]: (row["drop_stage"], row["drop_reason"], row["copy_of"]) for row in rows}
    assert found == {d.id: (d.drop_stage, d.drop_reason, d.meta.get("copy_of")) for d in whole.rejected}
    assert {"url_duplicates", "exact_duplicates", "near_duplicates"} <= {stage for stage, _, _ in found.values()}
    assert [row for row in result["funnel"] if row["stage"] != "extract"] == whole.funnel
    assert result["pii"] == whole.pii
    assert result["cleaning"] == whole.cleaning
    entries = [json.loads(line) for line in (out / "decontamination.jsonl").read_text().splitlines()]
    assert entries == [overlap.entry() for overlap in whole.overlaps]


def test_the_division_into_units_does_not_matter(built, tmp_path):
    out, _, _ = built
    one = crawl(config_of(files_of(tmp_path / "in", parts=1)), tmp_path / "out")
    assert one["splits"] == json.loads(json.dumps(built[2]["splits"]))
    for name in ("train.jsonl", "heldout.jsonl"):
        found, whole = ({d.id: d.text for d in read_jsonl(folder / name)} for folder in (tmp_path / "out", out))
        assert found == whole


def test_another_threshold_leaves_the_text_where_it_is(built, tmp_path):
    config = config_of(files_of(tmp_path / "in"))
    crawl(config, tmp_path / "out")
    documents_job = tmp_path / "out/jobs/documents/manifest.jsonl"
    before, bands = documents_job.read_bytes(), (tmp_path / "out/jobs/bands/manifest.jsonl").read_bytes()
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("out/jobs/documents/units/*/kept.parquet"))]
    loose = config_of(tmp_path / "in", deduplication=DeduplicationConfig(threshold=0.99))
    result = crawl(loose, tmp_path / "out")
    assert documents_job.read_bytes() == before
    assert (tmp_path / "out/jobs/bands/manifest.jsonl").read_bytes() != bands
    assert stamps == [p.stat().st_mtime_ns for p in sorted(tmp_path.glob("out/jobs/documents/units/*/kept.parquet"))]
    assert result["splits"]["train"]["documents"] > built[2]["splits"]["train"]["documents"]


def test_what_if_says_what_a_build_does(built, tmp_path):
    out, config, result = built
    statistics = stored_statistics(out)
    middle = float(np.median(statistics["content_characters"] / statistics["content_words"]))
    other = with_thresholds(config.heuristics, ["gopher.min_words=100", f"gopher.max_mean_word_length={middle}"])
    told = outcome(statistics, other)
    again = crawl(config_of(Path(config.inputs[0]).parent, heuristics=other), tmp_path / "out")
    row = next(row for row in again["funnel"] if row["stage"] == "heuristics")
    assert told.kept == row["documents"] != next(r for r in result["funnel"] if r["stage"] == "heuristics")["documents"]
    assert told.documents == row["documents"] + row["dropped"]
    assert sum(told.by_rule.values()) >= told.documents - told.kept


def test_samples_are_of_every_reason_and_the_same_at_every_look(built):
    out, _, result = built
    samples = rejected_samples(out, 2, seed=1)
    reasons = {(row["stage"], reason): count for row in result["funnel"] for reason, count in row["reasons"].items()}
    assert {key: len(found) for key, found in samples.items()} == {key: min(count, 2) for key, count in reasons.items()}
    assert rejected_samples(out, 2, seed=1) == samples
    (reason,) = (key for key in samples if key[0] == "near_duplicates")
    only = rejected_samples(out, 1, seed=1, of=reason)
    assert only == {reason: samples[reason][:1]}
    assert find_document(out, samples[reason][0].id).meta["copy_of"]


@pytest.fixture
def archives(tmp_path):
    """Two web archives, one of them damaged in the middle; and the addresses of their pages."""
    folder = tmp_path / "warcs"
    folder.mkdir()
    pages = [
        (f"https://example.org/{i}", page(f"Page {i}", "\n".join(prose(10 * i + k, 120) for k in range(3))))
        for i in range(30)
    ]
    warc(folder / "a.warc.gz", pages[:15])
    damaged = warc(folder / "b.warc.gz", [*pages[15:], ("https://example.org/empty", "<html></html>")])
    data = bytearray(damaged.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = random.Random(1).randbytes(40)
    damaged.write_bytes(data)
    return folder


def test_web_archives_to_a_corpus_that_says_what_was_damaged(archives, tmp_path):
    config = config_of(archives, held_out_fraction=0.1)
    result = crawl(config, tmp_path / "out")
    read = result["funnel"][0]["documents"]
    assert 28 <= read <= 30
    assert result["damage"]
    assert result["damaged"][0]["path"].endswith("b.warc.gz")
    (extracted,) = (row for row in result["funnel"] if row["stage"] == "extract")
    assert extracted["reasons"] == {"no_text": 1}
    texts = [d.text for name in ("train", "heldout") for d in read_jsonl(tmp_path / "out" / f"{name}.jsonl")]
    assert all("Home" not in text for text in texts)
    assert {prose(10 * i, 120) in "\n".join(texts) for i in range(14)} == {True}
    (tmp_path / "out" / "config.json").write_text(json.dumps(encoded(config)))
    document = find_document(tmp_path / "out", next(read_jsonl(tmp_path / "out" / "train.jsonl")).id)
    assert document.text.split("\n")[-1].encode() in (raw_page(tmp_path / "out", document) or b"")


def encoded(config):
    from groundup.core.config import encode

    return encode(config)


def test_the_stage_builds_archives_and_reuses_what_is_built(archives, tmp_path):
    config = CorpusConfig(source="files", inputs=(archives,), heuristics=HeuristicsConfig(families=("gopher",)))
    result = run_corpus(config, tmp_path / "out", ExecutionConfig("local", 1))
    assert result["splits"]["train"]["documents"] == len(list(read_jsonl(tmp_path / "out" / "train.jsonl")))
    assert run_corpus(config, tmp_path / "out", ExecutionConfig("local", 1)) == result
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["executor"] == "local"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_ray_and_local_processes_give_the_same_bytes(built, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the executor ray needs the package ray (pip install 'groundup[ray]')")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out, config, _ = built
    for kind in ("local", "ray"):
        with executor(ExecutionConfig(kind, 2)) as workers:
            crawl(config, tmp_path / kind, workers)
        assert promised(tmp_path / kind) == promised(out), kind


@pytest.mark.slow
def test_killed_at_twenty_points_and_resumed_gives_the_same_bytes(tmp_path):
    """The whole run, or one of its processes, by SIGKILL, at times spread over the length of an undisturbed run."""
    folder = files_of(tmp_path / "in", parts=6)
    start = time.monotonic()
    assert build_in_a_process(folder, tmp_path / "whole").wait() == 0
    length = time.monotonic() - start
    generator = random.Random(20)
    kills = rounds = 0
    while kills < 20:
        out = tmp_path / f"killed-{rounds}"
        rounds += 1
        for _ in range(5):
            running = build_in_a_process(folder, out)
            time.sleep(generator.uniform(0.2, 0.95) * length)
            victims = descendants(running.pid) if kills % 2 else [running.pid]
            if running.poll() is None and victims:
                kill(generator.choice(victims))
                kills += 1
            if running.wait() == 0:
                break
        else:
            assert build_in_a_process(folder, out).wait() == 0
        assert promised(out) == promised(tmp_path / "whole")


def build_in_a_process(folder, out):
    words = ["corpus", "build", "--input", str(folder), "--out", str(out), "--workers", "2", "--executor", "local"]
    words += ["--heuristics.families", "gopher", "--segments.enabled"]
    return subprocess.Popen(
        [sys.executable, "-m", "groundup.cli.main", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def descendants(pid):
    """The processes that a process has started, and theirs (Linux)."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_the_documents_of_the_tests_meet_every_stage(built):
    assert {row["stage"] for row in built[2]["funnel"] if row["dropped"]} >= {
        "clean",
        "language",
        "heuristics",
        "url_duplicates",
        "exact_duplicates",
        "near_duplicates",
    }
    assert len(documents()) == built[2]["funnel"][0]["documents"]
