"""`groundup corpus mix`: how much of each source goes into training, and the documents themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from groundup.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from groundup.corpus.documents import Document


@dataclass(frozen=True)
class Args:
    """Mix sources: weights for each, a budget in bytes, and which documents that means; none is repeated more often
    than --max-epochs. A source is a corpus folder or a file of documents, and its name is the file's or folder's; with
    --by FIELD it is all documents of one value of that field of "meta", such as a topic (groundup corpus classify).

    Weights are in proportion to size, times --factor NAME=F where given, or to size^(1/T) with --temperature. With
    --target the documents of each source are drawn by importance (DSIR) towards the texts of that file instead of
    evenly.

    examples:
      groundup corpus mix --input corpora/web corpora/books --out mix.jsonl --budget 1e9 --factor books=3
      groundup corpus mix --input web.jsonl code.jsonl --out mix.jsonl --budget 5e8 --temperature 2
      groundup corpus mix --input web.jsonl --out mix.jsonl --budget 1e8 --target wikipedia.jsonl
      groundup corpus mix --input topics.jsonl --out mix.jsonl --budget 1e8 --by topic --factor science=3 shopping=0.5
    """

    input: tuple[Path, ...]
    """The sources."""
    out: Path
    """The .jsonl file to write, or .jsonl.gz or .jsonl.zst."""
    budget: float
    """Bytes of text to write."""
    by: str | None = None
    """A field of "meta" whose values are the sources, whatever file a document is in."""
    factor: tuple[str, ...] = ()
    """NAME=F: so many times its share by size; 0 leaves it out."""
    temperature: float | None = None
    """1 leaves the sizes as they are, more makes them alike."""
    max_epochs: float = 4.0
    """How often a document may be repeated at most."""
    target: Path | None = None
    """Texts that the documents should resemble."""
    seed: int = 0
    """Decides which documents of a source are taken."""

    def __post_init__(self) -> None:
        if self.temperature is not None and self.factor:
            raise ConfigError("--temperature and --factor exclude each other; give one of them.")


def run(args: Args) -> None:
    import dataclasses

    from rich.console import Console
    from rich.table import Table

    from groundup.corpus.documents import write_jsonl
    from groundup.corpus.mixture import choose_repeats, plan_mixture, scaled_weights, temperature_weights

    sources = _sources(args.input) if args.by is None else _sources_by(args.by, args.input)
    sizes = {name: float(sum(document.bytes for document in documents)) for name, documents in sources.items()}
    weights = (
        scaled_weights(sizes, _factors(args.factor))
        if args.temperature is None
        else temperature_weights(sizes, args.temperature)
    )
    plan = plan_mixture(sizes, weights, args.budget, args.max_epochs)
    pairs = [(name, document) for name, documents in sources.items() for document in documents]
    if args.target is None:
        lengths = [document.bytes for _, document in pairs]
        repeats = choose_repeats([name for name, _ in pairs], lengths, plan, args.seed).tolist()
    else:
        repeats = _towards(args.target, sources, {name: share.bytes for name, share in plan.items()}, args.seed)
    taken = [
        dataclasses.replace(document, id=f"{document.id}~{copy + 1}" if copy else document.id)
        for (_, document), times in zip(pairs, repeats, strict=True)
        for copy in range(times)
    ]
    write_jsonl(args.out, taken)
    table = Table("source", "bytes there", "weight", "bytes planned", "epochs")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, share in plan.items():
        table.add_row(name, f"{sizes[name]:,.0f}", f"{share.weight:.3f}", f"{share.bytes:,.0f}", f"{share.epochs:.2f}")
    Console().print(table)
    size = sum(document.bytes for document in taken)
    print(f"{len(taken):,} documents ({size:,} bytes of {args.budget:,.0f} asked for): {args.out}")


def _sources(paths: tuple[Path, ...]) -> "dict[str, list[Document]]":
    sources = {path.name.split(".")[0]: _documents(path) for path in paths}
    if len(sources) < len(paths):
        raise ConfigError(f"The sources have the names {', '.join(sources)}, some of them twice; rename a file.")
    return sources


def _sources_by(field: str, paths: tuple[Path, ...]) -> "dict[str, list[Document]]":
    sources: dict[str, list[Document]] = {}
    for path in paths:
        for document in _documents(path):
            if field not in document.meta:
                raise InputError(
                    f'{path}: the document {document.id!r} has no {field!r} in its "meta"; groundup corpus classify '
                    f"--grade.name {field} --grade.rule most_likely writes one."
                )
            sources.setdefault(str(document.meta[field]), []).append(document)
    return dict(sorted(sources.items()))


def _documents(path: Path) -> "list[Document]":
    from groundup.corpus.documents import read_jsonl
    from groundup.corpus.reading.formats import read_documents
    from groundup.corpus.sources import is_corpus

    return list(read_jsonl(path / "train.jsonl")) if is_corpus(path) else read_documents([path])


def _factors(words: tuple[str, ...]) -> dict[str, float]:
    factors = {}
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            factors[name] = float(value)
        except ValueError:
            raise ConfigError(f"The factor {word!r} is no NAME=NUMBER, such as books=3.") from None
    return factors


def _towards(target: Path, sources: "dict[str, list[Document]]", wanted: dict[str, float], seed: int) -> list[int]:
    """How often each document is taken when those of a source are drawn by importance: once or not at all."""
    import numpy as np

    from groundup.corpus.mixture import DsirConfig, count_buckets, drawing_order, log_importance, log_ratio

    config = DsirConfig()
    good = count_buckets((document.text for document in _documents(target)), config)
    repeats: list[int] = []
    for name, documents in sources.items():
        texts = [document.text for document in documents]
        scores = log_importance(texts, log_ratio(good, count_buckets(texts, config), config), config)
        order = drawing_order(scores, seed)
        size = np.array([document.bytes for document in documents], np.int64)[order]
        taken = np.zeros(len(documents), np.int64)
        taken[order[np.cumsum(size) - size / 2 < wanted[name]]] = 1  # a document is in where most of it is
        repeats += taken.tolist()
    return repeats
