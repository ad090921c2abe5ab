"""Recipes by name, for `--recipe`."""

from collections.abc import Callable

from groundup.core.config import nearest
from groundup.core.errors import MissingError
from groundup.corpus.config import CorpusConfig
from groundup.recipes import corpus, pretraining, quickstart
from groundup.stages.config import PretrainConfig, QuickstartConfig

RECIPES: dict[str, Callable[[], QuickstartConfig]] = {
    "quickstart": quickstart.quickstart,
    "short": quickstart.short,
}
PRETRAINING: dict[str, Callable[[], PretrainConfig]] = {
    "tinystories-17m": pretraining.tinystories_17m,
    "owt": pretraining.owt,
    "speedrun-gpt2": pretraining.speedrun_gpt2,
    "laptop": pretraining.laptop,
}
CORPORA: dict[str, Callable[[], CorpusConfig]] = {
    "plain": CorpusConfig,
    "c4": corpus.c4,
    "fineweb": corpus.fineweb,
}


def corpus_recipe(name: str) -> CorpusConfig:
    """The config of a recipe for `groundup corpus build`."""
    if name not in CORPORA:
        raise MissingError(f"There is no recipe {name!r} for a corpus; {nearest(name, CORPORA)}")
    return CORPORA[name]()


def recipe(name: str) -> QuickstartConfig:
    """The config of a recipe of the whole story; an unknown name is an error that suggests one."""
    if name in PRETRAINING:
        raise MissingError(f"The recipe {name!r} is for pretraining alone; known here: {', '.join(RECIPES)}.")
    if name not in RECIPES:
        raise MissingError(f"There is no recipe {name!r}; {nearest(name, RECIPES)}")
    return RECIPES[name]()


def pretraining_recipe(name: str) -> PretrainConfig:
    """The config of a pretraining: of a recipe for it alone, or the part of one of the whole story."""
    if name in PRETRAINING:
        return PRETRAINING[name]()
    if name not in RECIPES:
        raise MissingError(f"There is no recipe {name!r}; {nearest(name, (*RECIPES, *PRETRAINING))}")
    return recipe(name).pretrain
