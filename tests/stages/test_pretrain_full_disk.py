"""The disk fills while a checkpoint is saved beside the training: one sentence, and the earlier ones go on.

By a limit on the size of files, and by a file system of 2 MB. The training is a process as a shell starts it.
"""

import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from killed_quickstart import artifacts
from tiny_pretraining import STEPS, command, tiny_pretraining, write_inputs

from groundup.checkpoint.store import checkpoint_folders, damage, step_of
from groundup.stages import compute
from groundup.stages.pretrain import run_pretrain

GROUNDUP = [sys.executable, "-m", "groundup.cli.main"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
NEW_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=2m none "$0"'
MOUNT_AND_RUN = MOUNT + ' && { at="$0"; kept="$1"; shift; "$@"; code=$?; cp -r "$at/run" "$kept"; exit $code; }'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The inputs, and a config whose checkpoints all stay, so that they fill a disk."""
    folder = tmp_path_factory.mktemp("full")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def config(place):
    return replace(tiny_pretraining(place), keep_every=3)


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)


@pytest.fixture(scope="module")
def unbroken(place, config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
        run_pretrain(config, place / "notes", place / "tokenizer", place / "unbroken")
    return artifacts(place / "unbroken")


def check_what_is_left(run, code, told, reason):
    """One sentence on the terminal, and checkpoints that are whole; returns the step of the last one."""
    *_, last = told.splitlines()
    assert code == 1, told
    assert last.startswith("error: Cannot write "), told
    assert reason in last
    assert "Traceback" not in told
    assert not (run / "result.json").exists()
    folders = checkpoint_folders(run / "checkpoints")
    assert [step_of(folder) for folder in folders] == list(range(3, 3 * len(folders) + 1, 3))
    assert [damage(folder) for folder in folders] == [None] * len(folders)
    assert sorted(run.glob("checkpoints/*")) == folders
    assert 1 <= len(folders) < STEPS // 3
    return step_of(folders[-1])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux sets the limits of another process")
def test_files_that_may_not_grow_further(place, config, unbroken, tmp_path, caplog):
    run = tmp_path / "run"
    words = [*GROUNDUP, *command(place, config), "--out", str(run)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ENVIRONMENT) as it:
        while not (run / "checkpoints" / "step_00000006").exists():
            assert it.poll() is None, it.stderr.read()
            time.sleep(0.001)
        resource.prlimit(it.pid, resource.RLIMIT_FSIZE, (60_000, 60_000))
        _, told = it.communicate(timeout=100)
    step = check_what_is_left(run, it.returncode, told, "file too large")
    assert step >= 6
    with caplog.at_level(logging.INFO, logger="groundup"):
        run_pretrain(config, place / "notes", place / "tokenizer", run)
    assert f"resuming at step {step}" in caplog.messages
    assert artifacts(run) == unbroken


@pytest.mark.slow
def test_a_file_system_that_is_full(place, config, unbroken, tmp_path, caplog):
    (disk := tmp_path / "disk").mkdir()
    if (
        not shutil.which("unshare")
        or subprocess.run([*NEW_NAMESPACE, MOUNT, str(disk)], capture_output=True).returncode
    ):
        pytest.skip("no file system may be mounted here")
    kept = tmp_path / "kept"  # the file system goes with the process
    words = [*NEW_NAMESPACE, MOUNT_AND_RUN, str(disk), str(kept), *GROUNDUP, *command(place, config)]
    done = subprocess.run([*words, "--out", str(disk / "run")], capture_output=True, text=True, env=ENVIRONMENT)
    step = check_what_is_left(kept, done.returncode, done.stderr, "no space left on device")
    with caplog.at_level(logging.INFO, logger="groundup"):
        run_pretrain(config, place / "notes", place / "tokenizer", kept)
    assert f"resuming at step {step}" in caplog.messages
    assert artifacts(kept) == unbroken
