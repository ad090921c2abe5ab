"""The page of a corpus: what every stage dropped and why, samples, other thresholds, copies, pages beside their texts.

One static HTML document in the style of the run report: no script, no asset. What it shows comes from the inspection
of a corpus folder (`corpus/inspection`), read by the caller.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.corpus.documents import Document
from groundup.corpus.inspection.clusters import Cluster, changes
from groundup.corpus.inspection.what_if import Outcome
from groundup.web import plots
from groundup.web.report_html import (
    Child,
    Column,
    Markup,
    card,
    data,
    element,
    figure,
    join,
    page,
    panels,
    percent,
    prose,
    size,
    table,
    whole,
)
from groundup.web.report_text import size_text

LONGEST_SAMPLE = 1500  # characters shown of a text
LONGEST_RAW = 6000


@dataclass(frozen=True)
class CorpusView:
    """Everything that the page shows."""

    name: str
    result: dict[str, Any]
    samples: Mapping[tuple[str, str], Sequence[Document]] = field(default_factory=dict)
    before: Outcome | None = None
    after: Outcome | None = None
    """under other thresholds, where some were asked for"""
    thresholds: Mapping[str, Mapping[float, tuple[float, int]]] = field(default_factory=dict)
    clusters: Sequence[Cluster] = ()
    raw: Sequence[tuple[Document, bytes]] = ()


def render_corpus(view: CorpusView) -> str:
    """The page."""
    sections: list[tuple[str, str, Child]] = [
        ("funnel", "Funnel", _funnel(view.result)),
        ("languages", "Languages", _languages(view.result)),
        ("samples", "What was dropped", _samples(view)),
        ("thresholds", "Other thresholds", _thresholds(view)),
        ("copies", "Near copies", _clusters(view.clusters)),
        ("raw", "Pages and their texts", _raw(view.raw)),
    ]
    written = [section for section in sections if section[2] is not None]
    links = [element("a", title, href=f"#{name}") for name, title, _ in written]
    body = [
        element("header", element("p", "groundup corpus", class_="eyebrow"), element("h1", view.name)),
        _cards(view.result),
        element("nav", *links, aria_label="Sections"),
        *[element("section", element("h2", title), content, id=name) for name, title, content in written],
        element("footer", element("p", "Drawn from result.json and the tables of the corpus.", class_="quiet")),
    ]
    return page(f"{view.name} · groundup corpus", body)


def _cards(result: dict[str, Any]) -> Markup:
    first, last = result["funnel"][0], result["funnel"][-1]
    read = first["documents"] + first["dropped"]
    splits = result["splits"]
    cards = [
        card("Documents kept", whole(last["documents"]), ["of ", whole(read), ", ", percent(last["documents"] / read)]),
        card("Text kept", size(last["bytes"]), ["of ", size(first["bytes"]), " read"]),
        card("To train on", whole(splits["train"]["documents"]), size(splits["train"]["bytes"])),
        card("Held out", whole(splits["heldout"]["documents"]), size(splits["heldout"]["bytes"])),
    ]
    if result.get("seconds"):
        workers = result.get("workers", 1)
        note = "1 worker" if workers == 1 else f"{workers} workers"
        cards.append(card("Documents a second", whole(read / result["seconds"]), note))
    return element("dl", *cards, class_="cards")


def _funnel(result: dict[str, Any]) -> Child:
    bars, rows = [], []
    for row in result["funnel"]:
        name = row["stage"].replace("_", " ")
        bars.append(plots.Bar(name, row["documents"], f"{row['documents']:,} · {size_text(row['bytes'])}"))
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in row["reasons"].items())
        rows.append([name, whole(row["documents"]), whole(row["dropped"]), size(row["bytes"]), reasons])
    columns = [
        Column("stage"),
        Column("documents", True),
        Column("dropped", True),
        Column("bytes", True),
        Column("why"),
    ]
    parts: list[Child] = [
        figure("Documents after each stage", plots.bar_figure("funnel", "Documents after each stage", bars), None),
        table("What each stage dropped", columns, rows),
    ]
    for name, caption in (("damage", "Damage in the archives"), ("quarantined", "Records put aside")):
        if result.get(name):
            counts = [[key.replace("_", " "), whole(count)] for key, count in result[name].items()]
            parts.append(table(caption, [Column("kind"), Column("number", True)], counts))
    return parts


def _languages(result: dict[str, Any]) -> Child:
    counts = [(name, count) for name, count in Counter(result.get("languages", {})).most_common(20) if count]
    if not counts:
        return None
    bars = [plots.Bar(code, count, f"{count:,}") for code, count in counts]
    caption = "before the language filter; und is undetermined"
    return figure("Documents by language", plots.bar_figure("languages", "Documents by language", bars), caption)


def _samples(view: CorpusView) -> Child:
    parts: list[Child] = []
    for (stage, reason), documents in view.samples.items():
        title = f"{stage.replace('_', ' ')}: {reason.replace('_', ' ')}"
        shown = [_document(document) for document in documents]
        parts.append(element("details", element("summary", title), *shown))
    return parts or None


def _document(document: Document) -> Markup:
    copy = document.meta.get("copy_of")
    facts = [document.url or document.id, f" · copy of {copy}" if copy else ""]
    text = document.text[:LONGEST_SAMPLE] + ("…" if len(document.text) > LONGEST_SAMPLE else "")
    return join(element("p", *facts, class_="quiet"), element("blockquote", text or "(no text)"))


def _thresholds(view: CorpusView) -> Child:
    if view.before is None:
        return None
    now, then = view.before, view.after
    columns = [Column("rule"), Column("documents that break it", True), Column("and no other", True)]
    columns += [Column("with the other thresholds", True)] if then else []
    rows: list[list[Child]] = []
    for rule, count in sorted(now.by_rule.items(), key=lambda item: -item[1]):
        row: list[Child] = [rule.replace("_", " "), whole(count), whole(now.by_rule_alone[rule])]
        rows.append(row + ([whole(then.by_rule.get(rule, 0))] if then else []))
    kept = [whole(now.kept), " of ", whole(now.documents), " documents that reach the rules pass them"]
    other: list[Child] = ["; with the other thresholds ", whole(then.kept)] if then else []
    parts: list[Child] = [prose(*kept, *other, "."), table("Rules", columns, rows)]
    if view.thresholds:
        factors = list(next(iter(view.thresholds.values())))
        heads = [Column("threshold"), *(Column(f"× {factor:g}", True) for factor in factors)]
        cells = [
            [name, *(data(kept, f"{kept:,} ({value:.4g})") for value, kept in row.values())]
            for name, row in view.thresholds.items()
        ]
        caption = "Documents kept if one threshold is multiplied, and its value"
        parts.append(table(caption, heads, cells, emphasis=None))
    return parts


def _clusters(clusters: Sequence[Cluster]) -> Child:
    parts: list[Child] = []
    for cluster in clusters:
        pieces: list[Child] = []
        for change in changes(cluster.kept.text, cluster.copy.text):
            pieces += [change.same]
            pieces += [element("del", change.first, class_="bad")] if change.first else []
            pieces += [element("ins", change.second, class_="good")] if change.second else []
        title = f"{cluster.size} documents: {cluster.kept.url or cluster.kept.id}"
        told = prose("stays: ", cluster.kept.id, "; dropped: ", cluster.copy.url or cluster.copy.id, " and others")
        parts.append(element("details", element("summary", title), told, element("blockquote", *pieces)))
    return parts or None


def _raw(pages: Sequence[tuple[Document, bytes]]) -> Child:
    parts: list[Child] = []
    for document, html in pages:
        encoding = str(document.meta.get("encoding") or "utf-8")
        raw = html[:LONGEST_RAW].decode(encoding if encoding.isascii() else "utf-8", "replace")
        why = f" · {document.drop_stage}: {document.drop_reason}" if document.drop_reason else ""
        both = panels(
            join(element("h3", "text"), element("pre", document.text[:LONGEST_RAW] or "(no text)")),
            join(element("h3", "HTML"), element("pre", raw)),
        )
        parts.append(element("details", element("summary", f"{document.url or document.id}{why}"), both))
    return parts or None
