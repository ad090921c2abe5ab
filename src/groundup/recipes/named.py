"""Recipes by name, for `--recipe`."""

from collections.abc import Callable

from groundup.core.config import nearest
from groundup.core.errors import MissingError
from groundup.recipes import quickstart
from groundup.stages.config import QuickstartConfig

RECIPES: dict[str, Callable[[], QuickstartConfig]] = {
    "quickstart": quickstart.quickstart,
    "short": quickstart.short,
}


def recipe(name: str) -> QuickstartConfig:
    """The config of a recipe; an unknown name is an error that suggests one."""
    if name not in RECIPES:
        raise MissingError(f"There is no recipe {name!r}; {nearest(name, RECIPES)}")
    return RECIPES[name]()
