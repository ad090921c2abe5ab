"""Provenance: facts about code, machine and libraries, as JSON, in a checkout and in an installed package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import groundup
from groundup.core import provenance as provenance_module
from groundup.core.provenance import hardware, provenance


def test_the_facts_are_json_and_agree_with_what_is_loaded() -> None:
    facts = provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["groundup"] == groundup.__version__
    assert facts["libraries"]["numpy"] == numpy.__version__
    assert facts["argv"] == sys.argv
    assert 1 <= facts["hardware"]["cores"] <= (os.cpu_count() or 1)


def test_memory_is_that_of_the_system() -> None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        pytest.skip("the reference value is read from /proc, which is Linux only")
    kilobytes = int(meminfo.read_text().split("MemTotal:")[1].split()[0])
    assert hardware()["memory_bytes"] == pytest.approx(kilobytes * 1024, rel=0.01)


def test_commit_and_change_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "groundup"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("old = 1\n")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(groundup, "__file__", str(package / "__init__.py"))
    assert provenance_module._git() is None, "an installed package has no commit"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    assert provenance_module._git() == {"commit": git("rev-parse", "HEAD"), "dirty": ""}
    (package / "__init__.py").write_text("new = 2\n")
    found = provenance_module._git()
    assert found is not None
    assert "src/groundup/__init__.py" in found["dirty"]


def test_a_machine_without_git_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance()["git"] is None
