"""Where a verb's settings start: a recipe's, or those of a `config.json`; options on the command line change them.

A part that comes in several kinds (an optimizer, a schedule, a layer's mixer) has options for the fields of its kind
only. So `--optimizer.matrices.kind soap` acts before the options are made: the part becomes a fresh one of that kind.
"""

import re
import typing
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from groundup.core.config import decode, nearest
from groundup.core.errors import ConfigError
from groundup.core.files import read_json
from groundup.recipes.named import pretraining_recipe, recipe

T = TypeVar("T")


def starting_settings(words: Sequence[str], cls: type[T], part: str | None, fallback: str = "quickstart") -> T:
    """The settings of class `cls` that `--config FILE` or `--recipe NAME` among the words mean.

    `part` is the recipe's field that holds them; None takes the recipe whole. A config file is the `config.json` of a
    run of that verb, or of a quickstart, of which the part is taken.
    """
    file, name = option(words, "--config"), option(words, "--recipe")
    if file is not None and name is not None:
        raise ConfigError("--config and --recipe exclude each other; give one of them.")
    if file is not None:
        data = read_json(Path(file))
        if part is not None and isinstance(data, dict) and "pretrain" in data and part in data:
            data = data[part]  # the config of a whole quickstart
        return with_kinds(decode(cls, data, source=file), words)
    chosen = name or fallback
    if part is None:
        settings = recipe(chosen)
    else:
        settings = pretraining_recipe(chosen) if part == "pretrain" else getattr(recipe(chosen), part)
    assert isinstance(settings, cls)
    return with_kinds(settings, words)


def with_kinds(settings: T, words: Sequence[str]) -> T:
    """The settings with those parts made anew whose kind is changed by `--PART.kind KIND` among the words."""
    for word in words:
        if match := re.fullmatch(r"--([\w.-]+)\.kind(=.*)?", word):
            kind = option(words, f"--{match[1]}.kind")
            if kind is not None:  # else tyro says that the value is missing
                settings = _changed(settings, type(settings), match[1].replace("-", "_").split("."), kind, match[1])
    return settings


def _changed(value: Any, declared: Any, path: Sequence[str], kind: str, place: str) -> Any:  # noqa: ANN401
    """The value, of a declared type, with the part at the path made of that kind; as it is where the path ends before,
    which tyro will say."""
    if not path:
        members = typing.get_args(declared)
        if not members:  # one class, whose kind is an option like its others
            return value
        classes = {each.kind: each for each in members if hasattr(each, "kind")}
        if kind not in classes:
            raise ConfigError(f"There is no kind {kind!r} of {place}; {nearest(kind, classes)}")
        return value if isinstance(value, classes[kind]) else classes[kind]()
    head, rest = path[0], path[1:]
    if isinstance(value, tuple) and head.isdecimal() and int(head) < len(value):
        at, item = int(head), typing.get_args(declared)[0]
        return (*value[:at], _changed(value[at], item, rest, kind, place), *value[at + 1 :])
    if is_dataclass(value) and not isinstance(value, type) and hasattr(value, head):
        declared = typing.get_type_hints(type(value))[head]
        return replace(value, **{head: _changed(getattr(value, head), declared, rest, kind, place)})
    return value


def option(words: Sequence[str], name: str) -> str | None:
    """The value of an option among the words, written `--name value` or `--name=value`."""
    for at, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
        if word == name and at + 1 < len(words):
            return words[at + 1]
    return None
