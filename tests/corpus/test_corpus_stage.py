import json
import multiprocessing
import os
import random
import signal

import pytest

from groundup.cli.main import main
from groundup.core.errors import ConfigError, InputError
from groundup.corpus.config import CorpusConfig
from groundup.corpus.documents import read_jsonl, read_texts
from groundup.stages import corpus as stage
from groundup.stages.corpus import ARTIFACTS, run_corpus

COMMON = ("the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "they", "have", "this", "on", "be")
RARE = ("river", "village", "harvest", "council", "winter", "letter", "journey", "market", "engine", "garden", "silver")


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(20):
        generator = random.Random(i)
        words = [generator.choice(COMMON) if n % 2 else generator.choice(RARE) for n in range(120)]
        (folder / f"{i:02d}.txt").write_text(" ".join(words))
    (folder / "short.txt").write_text("It is short.")
    return folder


def artifacts(out):
    return {name: (out / name).read_bytes() for name in ARTIFACTS}


def test_build_reuse_and_rebuild(notes, tmp_path):
    config, out = CorpusConfig(source="files", inputs=(notes,)), tmp_path / "out"
    result = run_corpus(config, out)
    assert result == json.loads((out / "result.json").read_text())
    assert {"seconds", "funnel", "splits", "pii", "cleaning", "decontamination"} <= result.keys()
    assert result["splits"]["train"]["documents"] == len(read_texts(out, "train")) == 19
    assert result["splits"]["heldout"]["bytes"] == sum(len(t.encode()) for t in read_texts(out, "heldout"))
    (rejected,) = read_jsonl(out / "rejected.jsonl")
    assert (rejected.id, rejected.drop_stage, rejected.drop_reason) == (
        "notes/short.txt",
        "heuristics",
        "gopher_too_few_words",
    )
    assert len((out / "decontamination.jsonl").read_text().splitlines()) == 19
    stamp = (out / "train.jsonl").stat().st_mtime_ns
    assert run_corpus(config, out) == result
    assert (out / "train.jsonl").stat().st_mtime_ns == stamp
    (notes / "00.txt").write_text((notes / "00.txt").read_text() + " and more of it")
    assert run_corpus(config, out)["fingerprint"] != result["fingerprint"]


def test_a_fault_in_the_input_leaves_the_old_corpus(notes, tmp_path):
    config, out = CorpusConfig(source="files", inputs=(notes,)), tmp_path / "out"
    run_corpus(config, out)
    before = artifacts(out)
    (notes / "bad.jsonl").write_text('{"no": "text"}')
    with pytest.raises(InputError, match="line 1"):
        run_corpus(config, out)
    assert artifacts(out) == before


def test_output_inside_the_input_is_refused(notes):
    with pytest.raises(ConfigError, match="inside the input folder"):
        run_corpus(CorpusConfig(source="files", inputs=(notes,)), notes / "out")


def _killed_after(writes, config, out):
    """Run the stage and die by SIGKILL in the middle of the given write."""
    write, left = stage.write_jsonl, writes

    def dying(path, documents):
        nonlocal left
        left -= 1
        if left < 0:
            (path.parent / f".tmp-{path.name}").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, documents)

    stage.write_jsonl = dying
    run_corpus(config, out)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_killed_and_run_again_gives_the_same_bytes(notes, tmp_path, writes):
    config = CorpusConfig(source="files", inputs=(notes,))
    run_corpus(config, tmp_path / "whole")
    out = tmp_path / "killed"
    process = multiprocessing.get_context("spawn").Process(target=_killed_after, args=(writes, config, out))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (out / "result.json").exists()
    run_corpus(config, out)
    assert artifacts(out) == artifacts(tmp_path / "whole")
    assert not list(out.glob(".tmp-*"))


def test_command_line(notes, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["corpus", "build", "--input", str(notes), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "too few words 1" in " ".join(printed.split())
    assert printed.strip().splitlines()[-1].endswith(f"groundup tokenizer train --corpus {out} --out {out}-tokenizer")


@pytest.mark.parametrize("words", [["--input", "nowhere.txt"], ["--source", "files"], ["--language.keep", "xx"]])
def test_command_line_faults_are_one_sentence(tmp_path, capsys, words):
    out = tmp_path / "out"
    assert main(["corpus", "build", "--out", str(out), *words]) != 0
    assert "Traceback" not in capsys.readouterr().err
    assert not out.exists()
