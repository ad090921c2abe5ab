"""The command lines in README.md and docs/: each verb and target exists, and each verb understands its options."""

import contextlib
import importlib
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import tyro
from sources import ROOT, named

from groundup.cli.main import VERBS, module_name, split_verb, verbs_of

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("", "bash", "sh", "shell", "console", "text")


def command_lines(page: Path) -> list[str]:
    """The `groundup` and `make` commands in a page's code blocks, continued lines joined, comments cut."""
    if not page.exists():
        return []
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    blocks = [block.replace("\\\n", " ") for language, block in found if language in SHELLS]
    lines = [line.split(" #")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(\.venv/bin/)?(groundup|make)\b", line)]


COMMANDS = [(named(page), line) for page in PAGES for line in command_lines(page)]


def words_of(line: str) -> list[str]:
    """The words of the first command on a line: up to a pipe, a redirection, `&&` or a comment."""
    splitter = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    splitter.whitespace_split = True
    words: list[str] = []
    for word in splitter:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    return words


def test_the_readme_shows_the_main_job_and_the_tests() -> None:
    shown = [line for page, line in COMMANDS if page == "README.md"]
    assert "make quickstart" in shown
    assert "make test" in shown


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_line_works_as_shown(page: str, line: str) -> None:
    program, *words = words_of(line)
    if program == "make":
        check_targets([word for word in words if "=" not in word and not word.startswith("-")])
    else:
        check_options(words)


def check_targets(targets: list[str]) -> None:
    """Each target is in the Makefile; `make --question` would answer wrongly for phony targets, so read the rules."""
    rules = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", rules, re.MULTILINE) or target.startswith("bench-"), target


def check_options(words: list[str]) -> None:
    """The verb exists and its options parse; nothing is run."""
    if not words or words[0] in ("--help", "--version", "help"):
        return
    verb, rest = split_verb(words)
    if verb is None:
        assert verbs_of(words[0]), f"there is no verb {words[0]!r}"
        assert len(words) == 1 or words[1] == "--help"
        return
    if "VERB" in rest or "--help" in rest:
        return
    module = importlib.import_module(module_name(verb))
    told = io.StringIO()
    options = {}
    if hasattr(module, "defaults"):
        options["default"] = module.defaults(without(rest, "--config", "--start-from"))  # which are not there
    flags = (tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands)
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            tyro.cli(module.Args, args=rest, config=flags, **options)
    except SystemExit:
        pytest.fail(told.getvalue())


def without(words: list[str], *names: str) -> list[str]:
    """The words without those options and their values."""
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & set(names)]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_shows_examples_that_work(verb: str) -> None:
    module = importlib.import_module(module_name(verb))
    _, _, block = (module.Args.__doc__ or "").partition("examples:")
    examples = [line.strip() for line in block.replace("\\\n", " ").splitlines() if "groundup " in line]
    assert any(f"groundup {verb}" in example for example in examples), "its help shows no `examples:`"
    for example in examples:
        check_options(words_of(example[example.index("groundup ") :])[1:])


def test_the_makefile_lists_its_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("quickstart", "test", "test-all", "check", "bench", "clean"):
        assert f"make {target} " in done.stdout
