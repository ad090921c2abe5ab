"""Where a verb's settings start: a recipe's, or those of a `config.json`; options on the command line change them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from groundup.core.config import decode
from groundup.core.errors import ConfigError
from groundup.core.files import read_json
from groundup.recipes.named import recipe

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
        return decode(cls, data, source=file)
    chosen = recipe(name or fallback)
    settings = chosen if part is None else getattr(chosen, part)
    assert isinstance(settings, cls)
    return settings


def option(words: Sequence[str], name: str) -> str | None:
    """The value of an option among the words, written `--name value` or `--name=value`."""
    for at, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
        if word == name and at + 1 < len(words):
            return words[at + 1]
    return None
