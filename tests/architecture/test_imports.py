"""Imports: they point down, the text layers start without torch, and importing does nothing."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sources import ROOT, SOURCE, named, parsed, source_files

from groundup.cli import main as cli

HEAVY = ("torch", "numba", "pydantic", "numpy", "nicegui", "fastapi", "matplotlib", "regex", "tyro", "rich")
TEXT_LAYERS = ("core", "tokenization", "corpus", "accounting", "recipes")
CHANGES_AT_IMPORT = ("print", "open", "basicConfig", "seed", "manual_seed", "set_num_threads", "system", "mkdir")


def loaded_after(program: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a program."""
    program += "\nimport json, sys\nprint(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_import_contracts_hold() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_help_starts_nothing_heavy() -> None:
    program = "import groundup.cli.main as cli\nassert cli.main(['--help']) == 0\nassert cli.main(['--version']) == 0"
    assert loaded_after(program).isdisjoint(HEAVY)


def test_the_text_layers_start_without_torch() -> None:
    names = [module_name(path) for path in source_files() if path.relative_to(SOURCE).parts[0] in TEXT_LAYERS]
    assert names
    loaded = loaded_after("\n".join(f"import {name}" for name in [*names, "groundup.models.config"]))
    assert "torch" not in loaded


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_has_options_and_a_function_and_starts_without_torch(verb: str) -> None:
    module = cli.module_name(verb)
    loaded = loaded_after(
        f"import dataclasses, importlib, inspect; verb = importlib.import_module({module!r})\n"
        "assert dataclasses.is_dataclass(verb.Args)\n"
        "assert list(inspect.signature(verb.run).parameters) == ['args']"
    )
    assert loaded.isdisjoint(("torch", "numba", "nicegui", "matplotlib"))


def test_every_file_with_options_is_a_verb() -> None:
    verbs = {cli.module_name(verb).rpartition(".")[2] for verb in cli.VERBS}
    there = {
        path.stem
        for path in (SOURCE / "cli").glob("*.py")
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and node.name == "Args"
    }
    assert there == verbs


def test_importing_does_nothing() -> None:
    """No statement at the top of a module calls what prints, writes, seeds or sets."""
    found = []
    for path in source_files():
        for statement in parsed(path).body:
            call = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(call, ast.Call):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                found += [f"{named(path)}:{statement.lineno} {name}"] if name in CHANGES_AT_IMPORT else []
            for target in statement.targets if isinstance(statement, ast.Assign) else []:
                if ast.unparse(target).startswith("os.environ"):
                    found.append(f"{named(path)}:{statement.lineno} os.environ")
    assert found == []
