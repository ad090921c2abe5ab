"""The command line itself: verbs, help, exit codes, and faults as one sentence."""

import os
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from groundup.cli import main as cli
from groundup.core.errors import ConfigError, InputError


@dataclass(frozen=True)
class Args:
    """Do a thing.

    A paragraph whose lines are joined and wrapped again, because the terminal that shows it may be narrower, or wider,
    than the source in which it stands.

    examples:
      groundup runs first
      groundup runs second --count 2
    """

    name: str = "x"
    """The name."""
    count: int = 1
    """How many."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError("The count must be at least 1; choose a positive number.")


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for the module of `groundup runs`; a test gives it its `run`."""
    module = types.ModuleType("groundup.cli.runs")
    module.Args = Args  # type: ignore[attr-defined]
    module.run = lambda args: sys.stdout.write(f"{args.name}\n")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "groundup.cli.runs", module)
    return module


def raising(error: BaseException) -> object:
    def run(args: Args) -> None:
        raise error

    return run


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert cli.main(words) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown for name in cli.VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib import metadata

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"groundup {metadata.version('groundup')}\n"


def test_a_verb_runs_with_its_options(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", "--name", "abc"]) == 0
    assert capsys.readouterr().out == "abc\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["quikstart"], "error: there is no verb 'quikstart'; did you mean 'quickstart'?\n"),
        (["corpus", "biuld"], "error: there is no verb 'corpus biuld'; did you mean 'corpus build'?\n"),
        (["tokenizer", "trian"], "error: there is no verb 'tokenizer trian'; did you mean 'tokenizer train'?\n"),
    ],
)
def test_an_unknown_verb_suggests_the_nearest(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == cli.EXIT_USAGE
    assert capsys.readouterr().err == sentence


def test_a_group_alone_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["tokenizer"], ["tokenizer", "--help"], ["help", "tokenizer"]):
        assert cli.main(words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [" ".join(line.split()[1:3]) for line in lines] == [
            "tokenizer train",
            "tokenizer encode",
            "tokenizer encode-files",
            "tokenizer decode",
            "tokenizer evaluate",
            "tokenizer convert",
        ]


@pytest.mark.parametrize("words", [["runs", "--help"], ["help", "runs"]])
def test_the_help_of_a_verb_wraps_paragraphs_and_keeps_examples(
    words: list[str], verb: types.ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Do a thing.\n\nA paragraph whose lines are joined")
    assert "\nexamples:\n  groundup runs first\n  groundup runs second --count 2\n" in shown
    assert all(len(line) <= 50 for line in shown.partition("usage:")[0].splitlines())
    assert "How many." in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--count", "many"], "Error parsing --count"),
        (["--cuont", "2"], "Perhaps you meant"),
        (["--count", "0"], "The count must be at least 1"),
    ],
)
def test_wrong_options_are_wrong_usage(
    words: list[str], told: str, verb: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["runs", *words]) == cli.EXIT_USAGE
    told_there = capsys.readouterr().err
    assert told in told_there
    assert "Traceback" not in told_there


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            InputError("The file a[0].txt is empty; give one with text."),
            "The file a[0].txt is empty; give one with text.",
        ),
        (PermissionError(13, "Permission denied", "/etc/shadow"), "/etc/shadow: permission denied."),
        (OSError(28, "No space left on device"), "no space left on device."),
    ],
)
def test_a_users_fault_is_one_sentence(
    error: Exception, sentence: str, verb: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.run = raising(error)  # type: ignore[attr-defined]
    assert cli.main(["runs"]) == cli.EXIT_FAULT
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_our_own_fault_keeps_its_traceback(verb: types.ModuleType) -> None:
    for error in (AssertionError("shape"), OSError("no number"), ValueError("x")):
        verb.run = raising(error)  # type: ignore[attr-defined]
        with pytest.raises(type(error)):
            cli.main(["runs"])


def test_an_interrupt_says_how_to_continue(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert cli.main(["runs"]) == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "stopped; run the same command again to continue where it was.\n"


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "groundup.cli.main", "--help"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_stdout_is_a_fault() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full on this system")
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "groundup.cli.main", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0
    assert "no space left on device" in done.stderr.lower()
    assert "Traceback" not in done.stderr
