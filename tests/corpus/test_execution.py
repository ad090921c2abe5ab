import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from execution_units import treat

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import Job, Unit, outputs_fingerprint, read_manifest
from groundup.corpus.execution.run import ExecutionConfig, executor, run_job

LIMITS = Limits(batch_seconds=1.5, record_seconds=0.5, memory_gigabytes=2, retries=2)
WORDS = (["apple", "pear"], ["plum"], ["fig", "date", "lime"])


def job(folder, function="shout", config=None, units=None, limits=LIMITS):
    units = units or tuple(Unit(f"{i:02d}", {"words": words}, f"v{i}") for i, words in enumerate(WORDS))
    return Job(folder / "job", f"execution_units:{function}", config or {"mark": "-"}, units, limits)


def run(one, **options):
    with executor(ExecutionConfig(**{"executor": "local", "workers": 2} | options)) as workers:
        return run_job(one, workers)


def contents(folder):
    """Every byte that a job promises: its units' files and its manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "job.json")
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if not name.startswith("slurm/")}


def test_units_are_written_whole_and_listed(tmp_path):
    lines = run(job(tmp_path))
    assert [line["counts"]["words"] for line in lines] == [2, 1, 3]
    assert (tmp_path / "job/units/02/words.txt").read_text() == "FIG-DATE-LIME"
    assert read_manifest(tmp_path / "job") == lines
    assert set(lines[0]["outputs"]) == {"words.txt", "deep/count.txt"}
    assert not list((tmp_path / "job").rglob(".tmp-*"))


def test_what_is_there_is_not_run_again(tmp_path):
    first = run(job(tmp_path))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "job/units").rglob("*.txt")}
    assert run(job(tmp_path)) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "job/units").rglob("*.txt")}


def test_only_equal_hashes_are_passed_over(tmp_path):
    first = run(job(tmp_path))
    before = {unit: (tmp_path / f"job/units/{unit}").stat().st_ino for unit in ("00", "01", "02")}
    changed = tuple(Unit(f"{i:02d}", {"words": words}, "new" if i == 1 else f"v{i}") for i, words in enumerate(WORDS))
    second = run(job(tmp_path, units=changed))
    after = {unit: (tmp_path / f"job/units/{unit}").stat().st_ino for unit in before}
    assert [before[unit] == after[unit] for unit in before] == [True, False, True]
    assert second[1]["hash"] != first[1]["hash"]
    third = run(job(tmp_path, config={"mark": "+"}))
    assert {line["hash"] for line in third}.isdisjoint(line["hash"] for line in second)
    assert outputs_fingerprint(third) != outputs_fingerprint(second)
    (tmp_path / "job/units/00/words.txt").write_text("damaged")
    assert run(job(tmp_path, config={"mark": "+"})) == third
    assert (tmp_path / "job/units/00/words.txt").read_text() == "APPLE+PEAR"
    fewer = run(job(tmp_path, config={"mark": "+"}, units=changed[:1]))
    assert [path.name for path in (tmp_path / "job/units").iterdir()] == ["00"]
    assert len(fewer) == 1


def test_a_worker_that_is_killed_is_replaced(tmp_path):
    whole = contents_of_whole(tmp_path)
    killed = tmp_path / "killed"
    units = units_killed_once(tmp_path)
    lines = run(job(killed, units=units))
    assert (tmp_path / "mark").exists()
    assert [line["outputs"] for line in lines] == whole


def contents_of_whole(folder):
    return [line["outputs"] for line in run(job(folder / "whole"))]


def units_killed_once(folder, **more):
    extra = {"once": str(folder / "mark"), **more}
    return tuple(
        Unit(f"{i:02d}", {"words": words} | (extra if i == 1 else {}), f"v{i}") for i, words in enumerate(WORDS)
    )


def test_a_unit_beyond_its_limit_is_ended_and_tried_again(tmp_path, capfd):
    limits = Limits(unit_seconds=1.0, retries=1)
    lines = run(job(tmp_path, units=units_killed_once(tmp_path, hang=True), limits=limits))
    assert [line["counts"]["words"] for line in lines] == [2, 1, 3]
    assert "Timeout" in capfd.readouterr().err


def test_a_unit_that_always_fails_is_named_and_the_others_are_kept(tmp_path):
    with pytest.raises(InputError, match=r"3 of 3 work units .*ZeroDivisionError") as fault:
        run(job(tmp_path, function="fail", limits=Limits(retries=0)))
    assert "apple" in str(fault.value) or "plum" in str(fault.value) or "fig" in str(fault.value)
    assert not (tmp_path / "job/manifest.jsonl").exists()


@pytest.mark.slow
def test_one_bad_record_does_not_cost_the_others(tmp_path):
    records = [f"record {i}" for i in range(30)]
    for place, poison in ((2, "crash"), (11, "error"), (12, "memory"), (21, "exit"), (28, "hang")):
        records[place] = poison
    run(job(tmp_path, "isolated", {"mark": "unused"}, (Unit("00", {"words": records}, ""),)))
    found = (tmp_path / "job/units/00/results.txt").read_text().split("\n")
    reasons = ("crash_SIGSEGV", "error_KeyError", "memory_limit", "exit_3", "time_limit")
    assert [found[i].removeprefix("quarantined ") for i in (2, 11, 12, 21, 28)] == list(reasons)
    good = [i for i in range(30) if i not in (2, 11, 12, 21, 28)]
    assert [found[i] for i in good] == [treat({}, [records[i]])[0] for i in good]


def test_a_process_killed_from_outside_quarantines_nothing(tmp_path):
    """Each batch of one record, so that the kill hits a record that is alone."""
    config = {"mark": str(tmp_path / "mark")}
    records = ["killed once", "fine"]
    lines = run(
        job(tmp_path, "isolated", config, (Unit("00", {"words": records[:1]}, ""), Unit("01", {"words": records}, "")))
    )
    assert (tmp_path / "mark").exists()
    assert [line["counts"]["quarantined"] for line in lines] == [0, 0]


def test_when_most_records_fail_it_is_no_matter_of_records(tmp_path):
    limits = Limits(retries=0)
    with pytest.raises(InputError, match="no matter of single records"):
        run(job(tmp_path, "isolated", {"mark": "unused"}, (Unit("00", {"words": ["error"] * 40}, ""),), limits))


FAKE_SBATCH = """#!{python}
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1])
last = int(re.search(r"--array=0-(\\d+)", script.read_text())[1])
count = pathlib.Path(__file__).with_name("calls")
call = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(call))
for task in range(last + 1):
    if call == 1 and task == 1:
        continue  # this task is lost: its node died
    environment = os.environ | {{"SLURM_ARRAY_TASK_ID": str(task)}}
    subprocess.run(["sh", str(script)], env=environment, check=True, stdout=subprocess.DEVNULL)
print(f"{{100 + call}};cluster")
"""


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("sbatch", FAKE_SBATCH.format(python=sys.executable)), ("squeue", "#!/bin/sh\nexit 0\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setattr("groundup.corpus.execution.slurm.POLL_SECONDS", 0.05)
    return tools


@pytest.mark.slow
def test_slurm_submits_an_array_and_again_what_was_lost(tmp_path, fake_slurm):
    whole = run(job(tmp_path / "local"))
    lines = run(job(tmp_path / "slurm"), executor="slurm", slurm_options=("--partition=cpu",))
    assert lines == whole
    assert contents(tmp_path / "slurm/job") == contents(tmp_path / "local/job")
    assert (fake_slurm / "calls").read_text() == "2"
    script = (tmp_path / "slurm/job/slurm/1.sh").read_text()
    assert "#SBATCH --partition=cpu" in script
    assert "#SBATCH --array=0-2" in script
    assert json.loads((tmp_path / "slurm/job/slurm/2.json").read_text()) == [[1]]


def test_slurm_without_sbatch_and_impossible_settings_are_told(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingError, match="needs sbatch"):
        executor(ExecutionConfig("slurm"))
    with pytest.raises(ConfigError, match="workers is 0"):
        ExecutionConfig(workers=0)
    with pytest.raises(ConfigError, match="batch_seconds is 0"):
        Limits(batch_seconds=0)


def test_the_cluster_at_ray_address_is_used(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ExecutionConfig().kind == "local"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert ExecutionConfig().kind == "ray"
    assert ExecutionConfig("local").kind == "local"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_ray_writes_the_same_bytes_and_runs_again_what_a_dead_worker_left(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the executor ray needs the package ray (pip install 'groundup[ray]')")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *(path for path in sys.path if path)])
    )
    run(job(tmp_path / "local"))
    with executor(ExecutionConfig("ray", 2)) as workers:
        run_job(job(tmp_path / "ray"), workers)
        lines = run_job(job(tmp_path / "killed", units=units_killed_once(tmp_path)), workers)
    assert contents(tmp_path / "ray/job") == contents(tmp_path / "local/job")
    assert (tmp_path / "mark").exists()
    assert [line["outputs"] for line in lines] == contents_of_whole(tmp_path)
