"""`groundup ablate`: variants of a pretraining side by side."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from groundup.core.config import load, nearest
from groundup.core.errors import ConfigError, MissingError
from groundup.recipes.ablations import ABLATIONS
from groundup.stages.config import AblationConfig


@dataclass(frozen=True)
class Args:
    """Train variants of a model at equal compute, each with several seeds, and compare their bits per byte.

    Stopped at any point, the same command continues. Runs that are whole are reused, so variants may be added later.

    examples:
      groundup ablate architecture --corpus runs/quickstart/corpus --tokenizer runs/quickstart/tokenizer --out runs/abl
      groundup ablate architecture --corpus c --tokenizer t --out runs/norms --only base post-norm "no norm"
      groundup ablate mine.json --corpus c --tokenizer t --out runs/mine --seeds 5
    """

    variants: Annotated[str, tyro.conf.Positional]
    """A named ablation (architecture), or a JSON file such as an ablation's config.json."""
    corpus: Path
    """A corpus folder, a text or JSONL file, or a folder of them."""
    tokenizer: Path
    """A tokenizer folder."""
    out: Path
    """The folder to write."""
    only: tuple[str, ...] = ()
    """Names of variants; the first one named is the base."""
    seeds: int | None = None
    """Runs of each variant, instead of the ablation's number."""
    steps: int | None = None
    """Steps of the base, which set the compute of all."""


def run(args: Args) -> None:
    from rich.console import Console
    from rich.table import Table

    from groundup.stages.ablation import cells, run_ablation

    config = chosen(named(args.variants), args)
    result = run_ablation(config, args.corpus, args.tokenizer, args.out)
    table = Table("variant", "bits per byte", "difference, 95 % interval", "parameters", "tokens", "seconds")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["rows"]:
        table.add_row(*cells(row))
    Console().print(table)
    print(f"table: {args.out / 'table.md'}; picture: {args.out / 'ablation.png'}")


def named(name: str) -> AblationConfig:
    """The ablation of that name, or of that file."""
    if name in ABLATIONS:
        return ABLATIONS[name]()
    if name.endswith(".json") or Path(name).exists():
        return load(AblationConfig, Path(name))
    raise MissingError(f"There is no ablation {name!r}; {nearest(name, ABLATIONS)} Or name a JSON file.")


def chosen(config: AblationConfig, args: Args) -> AblationConfig:
    """The config with what the options change."""
    by_name = {variant.name: variant for variant in config.variants}
    for name in args.only:
        if name not in by_name:
            raise ConfigError(f"There is no variant {name!r}; {nearest(name, by_name)}")
    variants = tuple(by_name[name] for name in args.only) or config.variants
    if args.steps is not None:
        base = replace(variants[0], pretrain=replace(variants[0].pretrain, steps=args.steps))
        variants = (base, *variants[1:])
    return replace(config, variants=variants, seeds=config.seeds if args.seeds is None else args.seeds)
