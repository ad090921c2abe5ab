"""`groundup corpus inspect`: what a corpus kept and dropped, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, MissingError

if TYPE_CHECKING:
    from groundup.corpus.documents import Document
    from groundup.corpus.inspection.what_if import Outcome
    from groundup.web.corpus_page import CorpusView

SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Args:
    """Look at a built corpus: the funnel, samples of what was dropped for each reason, what other thresholds would do
    (from the stored statistics, without reading a text), clusters of near copies with their differences, and pages
    beside the texts that were taken from them.

    examples:
      groundup corpus inspect corpora/crawl
      groundup corpus inspect corpora/crawl --reason heuristics/gopher_too_few_words --samples 5
      groundup corpus inspect corpora/crawl --what-if gopher.min_words=30 fineweb.max_short_line_fraction=0.8
      groundup corpus inspect corpora/crawl --document 4f1e...
      groundup corpus inspect corpora/crawl --html corpus.html
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a corpus."""
    samples: int = 1
    """Documents shown for each reason."""
    reason: str | None = None
    """Samples of this STAGE/REASON only."""
    seed: int = 0
    """Another one gives other samples."""
    what_if: tuple[str, ...] = ()
    """Other thresholds of the heuristics, NAME=VALUE."""
    clusters: int = 2
    """Near-duplicate clusters shown, the largest first."""
    document: str | None = None
    """Show this one only, with the page that it came from."""
    html: Path | None = None
    """Write everything to this page instead of the terminal."""

    def __post_init__(self) -> None:
        for name in ("samples", "clusters"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0.")
        if self.reason is not None and "/" not in self.reason:
            raise ConfigError(f"The reason {self.reason!r} names no stage; write it as STAGE/REASON.")


def run(args: Args) -> None:
    """Show a document, or the corpus on the terminal, or write the page."""
    from groundup.core.files import write_text
    from groundup.corpus.inspection.documents import find_document, raw_page

    if args.document is not None:
        document = find_document(args.folder, args.document)
        _print_document(document, raw_page(args.folder, document))
        return
    view = _view(args)
    if args.html is not None:
        from groundup.web.corpus_page import render_corpus

        write_text(args.html, render_corpus(view))
        print(f"the page of {args.folder}: {args.html}")
        return
    _print_view(view)
    print(f"next: groundup corpus inspect {args.folder} --html corpus.html; or --reason, --what-if, --document")


def _view(args: Args) -> "CorpusView":
    from groundup.corpus.inspection.clusters import largest_clusters
    from groundup.corpus.inspection.documents import corpus_config, corpus_result, raw_page, rejected_samples
    from groundup.corpus.inspection.what_if import outcome, stored_statistics, sweep, with_thresholds
    from groundup.web.corpus_page import CorpusView

    result = corpus_result(args.folder)
    stage, _, reason = (args.reason or "").partition("/")
    samples = rejected_samples(args.folder, args.samples, args.seed, (stage, reason) if args.reason else None)
    if args.reason and not samples:
        reasons = [f"{row['stage']}/{reason}" for row in result["funnel"] for reason in row["reasons"]]
        raise MissingError(f"{args.folder} rejected nothing for {args.reason!r}; {nearest(args.reason, reasons)}")
    heuristics = corpus_config(args.folder).heuristics
    statistics = stored_statistics(args.folder) if heuristics.enabled else None
    before = None if statistics is None else outcome(statistics, heuristics)
    after = None
    if args.what_if and statistics is not None:
        after = outcome(statistics, with_thresholds(heuristics, args.what_if))
    shown = [document for documents in samples.values() for document in documents[:1]] if args.html else []
    raw = [(document, body) for document in shown if (body := raw_page(args.folder, document)) is not None]
    return CorpusView(
        name=args.folder.resolve().name,
        result=result,
        samples=samples,
        before=before,
        after=after,
        thresholds=sweep(statistics, heuristics) if statistics is not None and args.html else {},
        clusters=largest_clusters(args.folder, args.clusters),
        raw=raw,
    )


def _print_view(view: "CorpusView") -> None:
    from rich.console import Console
    from rich.markup import escape

    from groundup.cli.corpus_build import print_funnel
    from groundup.corpus.inspection.clusters import changes

    console = Console()
    print_funnel(view.result)
    for (stage, reason), documents in view.samples.items():
        console.print(f"[bold]{stage}/{reason}[/]")
        for document in documents:
            text = " ".join(document.text.split())[:SHOWN_CHARACTERS]
            console.print(f"  [cyan]{escape(document.url or document.id)}[/]  {escape(text)}", highlight=False)
    if view.before is not None:
        console.print(_rules(view.before, view.after))
    for cluster in view.clusters:
        title = f"{cluster.size} near copies of {cluster.kept.url or cluster.kept.id}"
        console.print(f"[bold]{escape(title)}[/], of which {escape(cluster.copy.url or cluster.copy.id)} differs in:")
        told = [change for change in changes(cluster.kept.text, cluster.copy.text) if not change.same]
        for change in told[:5]:
            console.print(f"  [red]- {escape(change.first.strip())}[/]\n  [green]+ {escape(change.second.strip())}[/]")


def _rules(before: "Outcome", after: "Outcome | None") -> Any:  # noqa: ANN401 - a rich table
    from rich.table import Table

    table = Table(title=f"{before.kept:,} of {before.documents:,} documents pass the heuristics", title_justify="left")
    if after is not None:
        table.title = f"{table.title}; {after.kept:,} with the other thresholds ({after.kept - before.kept:+,})"
    table.add_column("rule")
    for name in ("break it", "and no other", *(("then",) if after else ())):
        table.add_column(name, justify="right")
    for rule, count in sorted(before.by_rule.items(), key=lambda item: -item[1]):
        if count or (after and after.by_rule.get(rule)):
            then = (f"{after.by_rule.get(rule, 0):,}",) if after else ()
            table.add_row(rule, f"{count:,}", f"{before.by_rule_alone[rule]:,}", *then)
    return table if table.row_count else table.title


def _print_document(document: "Document", raw: bytes | None) -> None:
    from rich.columns import Columns
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console()
    for name, value in {"id": document.id, "url": document.url, "source": document.source, **document.meta}.items():
        if value:
            console.print(f"{name}: {value}", highlight=False, markup=False)
    if document.drop_reason:
        console.print(f"dropped: {document.drop_stage}, {document.drop_reason}", style="red", markup=False)
    panels = [Panel(Text(document.text or "(no text)"), title="text")]
    if raw is not None:
        panels.append(Panel(Text(raw.decode(str(document.meta.get("encoding") or "utf-8"), "replace")), title="HTML"))
    console.print(Columns(panels, equal=True, expand=True))
