"""The report's sections on corpus, tokenizer and evaluation."""

from collections.abc import Sequence
from typing import Any

from groundup.web import plots
from groundup.web.report_data import RunRecord, interval, number, rows
from groundup.web.report_html import (
    DASH,
    INTERVAL,
    Child,
    Column,
    between,
    change,
    decimal,
    facts,
    figure,
    panels,
    percent,
    prose,
    size,
    table,
    whole,
)
from groundup.web.report_text import SPACE, size_text

BASELINE_TITLES = {"model": "this model", "kneser_ney": "Kneser–Ney", "xz": "xz", "xz_alone": "xz alone"}


def corpus_section(record: RunRecord, numbers: dict[str, Any]) -> Child:
    result = record.result("corpus")
    funnel = rows(result.get("funnel"))
    if not result:
        return None
    parts: list[Child] = []
    if funnel:
        first, last = funnel[0], funnel[-1]
        read = (number(first, "documents") or 0) + (number(first, "dropped") or 0)
        parts.append(
            prose(
                "Of ",
                whole(read),
                " documents read, ",
                whole(number(last, "documents")),
                " are kept (",
                size(number(last, "bytes")),
                ")",
                *_split_words(result),
                ".",
            )
        )
        parts.append(panels(_funnel_figure(funnel), _funnel_table(funnel)))
    described = [(name, _describe(result.get(name))) for name in ("cleaning", "pii", "decontamination")]
    pairs: list[tuple[str, Child]] = [(name.replace("pii", "personal data"), text) for name, text in described if text]
    return [*parts, facts(pairs) if pairs else None]


def _split_words(result: dict[str, Any]) -> list[Child]:
    train, heldout = number(result, "splits", "train", "documents"), number(result, "splits", "heldout", "documents")
    if train is None or heldout is None:
        return []
    return [
        ": ",
        whole(train),
        " to train on and ",
        whole(heldout),
        " held out, which neither tokenizer nor model sees",
    ]


def _funnel_figure(funnel: Sequence[dict[str, Any]]) -> Child:
    bars = []
    for row in funnel:
        documents = number(row, "documents") or 0
        note = f"{documents:,.0f} · {size_text(number(row, 'bytes') or 0)}"
        bars.append(plots.Bar(_words(row.get("stage")), documents, note))
    alt = "Documents left after each stage: " + ", ".join(f"{bar.label} {bar.note}" for bar in bars) + "."
    caption = "Documents, and bytes of text, that are left after each stage."
    return figure("Funnel", plots.bar_figure("funnel", alt, bars), caption)


def _funnel_table(funnel: Sequence[dict[str, Any]]) -> Child:
    cells = [
        [
            _words(row.get("stage")),
            whole(number(row, "documents")),
            whole(number(row, "dropped")),
            _describe(row.get("reasons")) or DASH,
        ]
        for row in funnel
    ]
    return table(
        "Dropped, by reason", [Column("stage"), Column("left", True), Column("dropped", True), Column("why")], cells
    )


def tokenizer_section(record: RunRecord, numbers: dict[str, Any]) -> Child:
    result = record.result("tokenizer")
    if not result:
        return None
    lead = prose(
        "One token stands for ",
        decimal(numbers["bytes_per_token"], 2),
        " bytes of held-out text on average, with a vocabulary of ",
        whole(numbers["vocab_size"]),
        ".",
    )
    compared = rows(result.get("comparison"))
    if not compared:
        return lead
    bars = []
    for index, row in enumerate(compared):
        value = number(row, "bytes_per_token") or 0
        bars.append(plots.Bar(str(row.get("name")), value, f"{value:.2f}", "neutral" if index else "model"))
    alt = "Bytes per token: " + ", ".join(f"{bar.label} {bar.note}" for bar in bars) + "."
    caption = "Bytes of held-out text per token: the longer the bar, the shorter the sequences."
    if any(number(row, "unknown_share") for row in compared):
        caption += " A tokenizer with a share of unknown tokens cannot give that part of the text back."
    cells = [
        [
            str(row.get("name")),
            whole(number(row, "vocab_size")),
            decimal(number(row, "bytes_per_token"), 2),
            percent(number(row, "unknown_share"), 2),
            whole(number(row, "tokens")),
        ]
        for row in compared
    ]
    columns = [
        Column("tokenizer"),
        *[Column(name, True) for name in ("vocabulary", "bytes/token", "unknown", "tokens")],
    ]
    return [
        lead,
        panels(
            figure("Compression", plots.bar_figure("tokenizers", alt, bars), caption),
            table("On the same held-out text", columns, cells, emphasis=0),
        ),
    ]


def evaluation_section(record: RunRecord, numbers: dict[str, Any]) -> Child:
    result = record.result("evaluate")
    if not result:
        return None
    return [_baselines(result, numbers), _task_table(result)]


def _baselines(result: dict[str, Any], numbers: dict[str, Any]) -> Child:
    bits, bounds = numbers["bits_per_byte"], numbers["bits_per_byte_interval"]
    known = {name: value for name, value in bits.items() if value}
    if "model" not in known:
        return None
    lead = prose(*_comparison(known))
    if alone := number(result, "bits_per_byte", "xz_alone"):
        known["xz_alone"] = alone
    bars, cells = [], []
    for name, value in known.items():
        low, high = (bounds["low"], bounds["high"]) if name == "model" else (None, None)
        colour = "model" if name == "model" else "neutral"
        bars.append(plots.Bar(BASELINE_TITLES[name], value, f"{value:.3f}", colour, low, high))
        spread = DASH if low is None or high is None else [decimal(low), " to ", decimal(high)]
        saving = DASH if name == "model" else change(bits["model"] / value - 1)
        cells.append([BASELINE_TITLES[name], decimal(value), spread, saving])
    measures = ("bits/byte", INTERVAL, "difference")
    columns = [Column("compressor"), *[Column(name, True) for name in measures]]
    alt = "Bits per byte: " + ", ".join(f"{bar.label} {bar.note}" for bar in bars) + "."
    documents, size_bytes = number(result, "heldout", "documents"), number(result, "heldout", "bytes")
    text = f"On {documents:,.0f} held-out documents ({size_text(size_bytes or 0)})." if documents else ""
    line = " The line over the model's bar is its bootstrap interval over documents." if bounds["low"] else ""
    if len(known) > 1:
        text = f"The baselines, but for xz alone, are given the training text as the model was. {text}"
    return [
        lead,
        panels(
            figure("Bits per byte, shorter is better", plots.bar_figure("bits-per-byte", alt, bars), text + line),
            table("The same text under each", columns, cells, emphasis=0),
        ),
    ]


def _comparison(bits: dict[str, float]) -> list[Child]:
    """The model against each baseline, in a sentence."""
    sentence: list[Child] = ["The model needs ", decimal(bits["model"]), " bits for a byte of held-out text"]
    for name, value in list(bits.items())[1:]:
        share = f"{100 * abs(bits['model'] / value - 1):.0f}{SPACE}%"
        verdict = "fewer" if bits["model"] < value else "more"
        sentence += [f", {share} {verdict} than {BASELINE_TITLES[name]} (", decimal(value), ")"]
    return [*sentence, "."]


def _task_table(result: dict[str, Any]) -> Child:
    tasks = result.get("tasks")
    cells = []
    for name, values in tasks.items() if isinstance(tasks, dict) else ():
        accuracy = interval(values.get("accuracy")) if isinstance(values, dict) else None
        if accuracy is not None:
            bounds = between(accuracy["low"], accuracy["high"])
            cells.append([_words(name), percent(accuracy["estimate"]), bounds, whole(accuracy.get("n"))])
    if not cells:
        return None
    columns = [Column("task"), *[Column(name, True) for name in ("accuracy", INTERVAL, "examples")]]
    return table("Tasks, pretrained model", columns, cells)


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _describe(values: object, prefix: str = "") -> str:
    """Nested counts in words: {"footnotes": 3, "spans": {"email": 1}} -> "footnotes 3, spans email 1"."""
    if not isinstance(values, dict):
        return ""
    parts = []
    for key, value in values.items():
        name = f"{prefix}{_words(key)}"
        if isinstance(value, dict):
            parts.append(_describe(value, f"{name} ") or f"{name} none")
        elif isinstance(value, list):
            parts.append(f"{name} {len(value)}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4g}")
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)
