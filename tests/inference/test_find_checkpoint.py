"""Which checkpoint a path means."""

import shutil

import pytest
import torch
from tiny_engines import BYTES, tiny_engine

from groundup.checkpoint.store import write_checkpoint
from groundup.core.errors import InputError, MissingError
from groundup.inference.engine import find_checkpoint, load_engine
from groundup.inference.requests import Request, Sampling


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint folder to copy."""
    folder = tmp_path_factory.mktemp("saved")
    BYTES.save(folder / "tokenizer")
    model = tiny_engine().model
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    return write_checkpoint(folder, 1, model.config, weights, {}, folder / "tokenizer")


@pytest.fixture
def put(saved, tmp_path):
    """Copies the checkpoint to a place in a run; returns its path there."""
    return lambda place: shutil.copytree(saved, tmp_path / place)


def finish(stage):
    (stage / "result.json").write_text("{}")


def test_a_checkpoint_a_folder_of_them_and_a_run_of_one_stage(put, tmp_path):
    first, second = put("run/checkpoints/step_00000009"), put("run/checkpoints/step_00000010")
    assert find_checkpoint(first).path == first
    assert find_checkpoint(tmp_path / "run" / "checkpoints").path == second
    assert find_checkpoint(tmp_path / "run").path == second
    renamed = put("the-best-one")
    assert find_checkpoint(renamed).path == renamed


def test_the_most_aligned_stage_that_is_done(put, tmp_path):
    paths = {stage: put(f"q/{stage}/checkpoints/step_00000001") for stage in ("pretrain", "sft", "grpo", "control")}
    for stage in ("control", "pretrain", "sft", "grpo"):
        finish(tmp_path / "q" / stage)
        expected = paths["pretrain" if stage == "control" else stage]
        if stage == "control":  # never served, and no other stage is done yet
            with pytest.raises(MissingError, match="holds no checkpoint"):
                find_checkpoint(tmp_path / "q")
        else:
            assert find_checkpoint(tmp_path / "q").path == expected


def test_a_damaged_checkpoint_is_passed_over_in_a_run_and_refused_by_name(put, tmp_path):
    older, newer = put("run/checkpoints/step_00000001"), put("run/checkpoints/step_00000002")
    with open(newer / "model" / "weights.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert find_checkpoint(tmp_path / "run").path == older
    with pytest.raises(InputError, match="does not have the hash"):
        find_checkpoint(newer)


def test_paths_that_hold_none(tmp_path):
    with pytest.raises(MissingError, match=r"There is no run or checkpoint .*nowhere; `groundup runs` lists"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(MissingError, match="holds no checkpoint"):
        find_checkpoint(tmp_path)
    (tmp_path / "step_00000001").mkdir()
    with pytest.raises(InputError, match="not a whole checkpoint"):
        find_checkpoint(tmp_path / "step_00000001")
    (tmp_path / "file").write_text("x")
    with pytest.raises(MissingError, match="holds no checkpoint"):
        find_checkpoint(tmp_path / "file")


def test_a_loaded_engine_is_the_saved_model(saved):
    request = Request((65, 66), Sampling(10, 0.0))
    assert load_engine(saved, torch.float32).generate([request])[0].ids == tiny_engine().generate([request])[0].ids
    assert load_engine(saved).model.embedding.dtype == torch.bfloat16
