"""The report of a run: one HTML page that can be mailed, printed and read in ten years.

Every number on it comes from the stages' `result.json` and `metrics.jsonl`, by way of the same `summary` that
`summary.json` holds. A stage that the run does not have leaves its section out, and the page says so in a sentence.
Sections are functions of the record, in the order of the story; each opens with what was found, before how.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from groundup.web import plots
from groundup.web.report_alignment import alignment_section, answers
from groundup.web.report_data import STAGES, RunRecord, number, rows
from groundup.web.report_html import (
    INTERVAL,
    Child,
    Column,
    Markup,
    between,
    card,
    data,
    decimal,
    details,
    duration,
    element,
    facts,
    figure,
    join,
    page,
    panels,
    percent,
    points,
    prose,
    short,
    table,
    whole,
)
from groundup.web.report_pretraining import pretraining_section
from groundup.web.report_text import duration_text, size_text
from groundup.web.report_training import corpus_section, evaluation_section, tokenizer_section

STAGE_TITLES = {
    "corpus": "corpus",
    "tokenizer": "tokenizer",
    "pretrain": "pretraining",
    "evaluate": "evaluation",
    "sft": "instruction tuning",
    "grpo": "reinforcement learning",
    "control": "random-reward control",
}
FOOTER = (
    "Drawn from result.json, metrics.jsonl and samples.jsonl of each stage. The headline numbers are also in "
    "summary.json beside this page."
)
SAMPLES_SHOWN = 8


def render(record: RunRecord, numbers: dict[str, Any]) -> str:
    """The page of a run; `numbers` is `summary(record)`, which the caller also writes to `summary.json`."""
    sections: Sequence[tuple[str, str, Callable[[RunRecord, dict[str, Any]], Child]]] = (
        ("corpus", "Corpus", corpus_section),
        ("tokenizer", "Tokenizer", tokenizer_section),
        ("pretraining", "Pretraining", pretraining_section),
        ("evaluation", "Evaluation", evaluation_section),
        ("alignment", "Alignment", alignment_section),
        ("samples", "Samples", _samples),
        ("timings", "Timings", _timings),
        ("provenance", "Provenance", _provenance),
    )
    written = [(name, title, body) for name, title, write in sections if (body := write(record, numbers)) is not None]
    links = [element("a", title, href=f"#{name}") for name, title, _ in written]
    body = [
        element("header", element("p", "groundup report", class_="eyebrow"), element("h1", record.name)),
        element("p", _lede(record, numbers), class_="lede"),
        _cards(numbers),
        element("nav", *links, aria_label="Sections"),
        _left_out(record),
        *[element("section", element("h2", title), content, id=name) for name, title, content in written],
        element("footer", element("p", FOOTER, class_="quiet")),
    ]
    return page(f"{record.name} · groundup report", body)


def _lede(record: RunRecord, numbers: dict[str, Any]) -> Markup:
    """One sentence: what was made, from what, in what time, on what."""
    parts: list[Child] = ["A run"]
    if numbers["parameters"] is not None:
        parts = ["A decoder of ", short(numbers["parameters"]), " parameters"]
        if numbers["training_tokens"] is not None:
            parts += [", trained from random weights on ", short(numbers["training_tokens"]), " tokens"]
    documents = number(record.result("corpus"), "splits", "train", "documents")
    if documents is not None:
        parts += [" of " if len(parts) > 3 else " on ", whole(documents), " documents"]
    if numbers["total_seconds"] is not None:
        parts += [", in ", duration(numbers["total_seconds"])]
    hardware = record.provenance.get("hardware")
    if isinstance(hardware, dict) and hardware.get("processor"):
        cores = number(hardware, "cores")
        parts += [f" on {cores:.0f} cores of {hardware['processor']}" if cores else f" on {hardware['processor']}"]
    return join(*parts, ".")


def _cards(numbers: dict[str, Any]) -> Markup | None:
    bits, accuracy, gain = numbers["bits_per_byte"], numbers["accuracy"], numbers["gain"]
    found: list[Child] = []
    if bits["model"] is not None:
        others: list[Child] = ["no baseline was measured"]
        if bits["xz"] is not None or bits["kneser_ney"] is not None:
            others = ["xz ", decimal(bits["xz"]), ", Kneser–Ney ", decimal(bits["kneser_ney"])]
        found.append(card("Bits per byte, held-out text", decimal(bits["model"]), others))
    elif numbers["validation_bits_per_byte"] is not None:
        value = decimal(numbers["validation_bits_per_byte"])
        found.append(card("Bits per byte, validation", value, "at the last validation of pretraining"))
    last = "grpo" if accuracy["grpo"] else "sft"
    if accuracy[last]:
        label = f"Accuracy after {last.upper()}, held-out tasks"
        found.append(card(label, percent(accuracy[last]["estimate"]), _accuracy_note(accuracy, gain, last)))
    if numbers["tokens_per_second"] is not None:
        value = join(whole(numbers["tokens_per_second"]), element("small", " tokens/s"))
        found.append(card("Pretraining throughput", value, [percent(numbers["mfu"]), " MFU"]))
    if numbers["parameters"] is not None:
        note = [short(numbers["training_tokens"]), " tokens in ", whole(numbers["training_steps"]), " steps"]
        found.append(card("Parameters", short(numbers["parameters"]), note))
    if numbers["bytes_per_token"] is not None:
        value = join(decimal(numbers["bytes_per_token"], 2), element("small", " bytes/token"))
        found.append(card("Tokenizer", value, ["vocabulary of ", whole(numbers["vocab_size"])]))
    if numbers["total_seconds"] is not None:
        slowest = max(numbers["seconds"].items(), key=lambda item: item[1] or 0)
        note = f"{STAGE_TITLES[slowest[0]]} took {duration_text(slowest[1] or 0)}"
        found.append(card("Time of the stages", duration(numbers["total_seconds"]), note))
    return element("dl", *found, class_="cards") if found else None


def _accuracy_note(accuracy: dict[str, Any], gain: dict[str, Any], last: str) -> list[Child]:
    if last == "sft":
        return [f"{INTERVAL} ", between(accuracy["sft"]["low"], accuracy["sft"]["high"])]
    note: list[Child] = ["after SFT ", percent(accuracy["sft"]["estimate"])] if accuracy["sft"] else []
    if gain["grpo"]:
        note += [", gain ", points(gain["grpo"]["estimate"]), " points"]
    return note


def _left_out(record: RunRecord) -> Markup | None:
    missing = [STAGE_TITLES[name] for name in STAGES if name not in record.stages]
    unfinished = [STAGE_TITLES[name] for name, stage in record.stages.items() if not stage.finished]
    sentences = []
    if missing:
        sentences.append(f"Not part of this run, and left out below: {', '.join(missing)}.")
    if unfinished:
        sentences.append(f"Started and not finished: {', '.join(unfinished)}.")
    return element("p", " ".join(sentences), class_="quiet", style="margin-top: 0.9rem") if sentences else None


def _samples(record: RunRecord, numbers: dict[str, Any]) -> Child:
    continued = [_continuation(row) for row in rows(record.result("evaluate").get("samples"))]
    answered = answers(record)
    if not continued and answered is None:
        return None
    parts: list[Child] = []
    if continued:
        parts.append(prose("The pretrained model continues a prompt (", element("b", "coloured"), "), unedited:"))
        parts.append(element("div", *continued[:SAMPLES_SHOWN], class_="panels"))
    return [*parts, answered]


def _continuation(row: dict[str, Any]) -> Markup:
    prompt, text = str(row.get("prompt", "")), str(row.get("text", ""))
    return element("blockquote", element("b", prompt), text.removeprefix(prompt))


def _timings(record: RunRecord, numbers: dict[str, Any]) -> Child:
    known = {name: seconds for name, seconds in numbers["seconds"].items() if seconds is not None}
    if not known:
        return None
    total = numbers["total_seconds"] or 1
    bars = [plots.Bar(STAGE_TITLES[name], seconds, duration_text(seconds)) for name, seconds in known.items()]
    alt = "Wall time of each stage: " + ", ".join(f"{bar.label} {bar.note}" for bar in bars) + "."
    cells = [[STAGE_TITLES[name], decimal(value, 1), percent(value / total)] for name, value in known.items()]
    cells.append(["all stages", data(numbers["total_seconds"], f"{total:,.1f}"), percent(1.0)])
    columns = [Column("stage"), Column("seconds", True), Column("share", True)]
    return panels(
        figure("Where the time went", plots.bar_figure("timings", alt, bars), "Wall time of each stage's own work."),
        table("Seconds per stage", columns, cells, emphasis=len(cells) - 1),
    )


def _provenance(record: RunRecord, numbers: dict[str, Any]) -> Child:
    source = record.provenance
    if not source:
        return None
    hardware, git, libraries = (_object(source, key) for key in ("hardware", "git", "libraries"))
    argv = source.get("argv") if isinstance(source.get("argv"), list) else []
    memory = number(hardware, "memory_bytes")
    changed = "with uncommitted changes" if git.get("dirty") else "clean"
    pairs: list[tuple[str, Child]] = [
        ("groundup", _text(source, "groundup")),
        ("commit", f"{str(git['commit'])[:12]} ({changed})" if git.get("commit") else None),
        ("command", element("code", " ".join(str(word) for word in argv)) if argv else None),
        ("started", _text(source, "started")),
        ("processor", _text(hardware, "processor")),
        ("cores", _text(hardware, "cores")),
        ("memory", size_text(memory) if memory is not None else None),
        ("platform", _text(hardware, "platform")),
        ("python", _text(source, "python")),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items()) or None),
        ("fingerprint", element("code", str(source["fingerprint"])) if source.get("fingerprint") else None),
    ]
    parts: list[Child] = [facts([(name, value) for name, value in pairs if value is not None], twice=True)]
    if record.config:
        parts.append(details("config.json", json.dumps(record.config, indent=2, ensure_ascii=False)))
    parts.append(details("provenance.json", json.dumps(source, indent=2, ensure_ascii=False)))
    return parts


def _object(values: dict[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _text(values: dict[str, Any], key: str) -> str | None:
    return None if values.get(key) is None else str(values[key])
