"""Run as a script by the tests of checkpoints: SIGKILL before each line of saving, then read and save again."""

import shutil
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "core"))

from checkpoint_samples import save, steps_in, weights_at
from kill_scenarios import killed_before_each_line

from groundup.checkpoint import store


def main(place: Path) -> None:
    root, template = place / "checkpoints", place / "template"
    for step in (1, 2):
        save(template, step)
    shutil.copytree(template, root)
    found = set()
    for _ in killed_before_each_line([store], lambda: save(root, 3)):
        latest = store.latest_checkpoint(root)
        assert latest is not None
        step = latest.state["step"]
        assert all(torch.equal(value, weights_at(step)[name]) for name, value in latest.weights().items())
        found.add(step)
        save(root, 3)
        assert steps_in(root) == ["step_00000002", "step_00000003"]
        shutil.rmtree(root)
        shutil.copytree(template, root)
    assert found == {2, 3}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
