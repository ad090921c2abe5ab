"""The page of a profile: one file to read, mail or print; every number on it comes from `result.json`.

The step as a whole first, then what it consists of (`profile_time.py`), then what bounds it (`profile_limits.py`).
"""

import json
from typing import Any

from groundup.web.profile_dtypes import dtypes_section
from groundup.web.profile_limits import memory_section, roofline_section
from groundup.web.profile_text import milliseconds, ms, predicted_bytes, rate_text
from groundup.web.profile_time import operations_section, parts_section, step_section
from groundup.web.report_html import (
    DASH,
    Child,
    Markup,
    card,
    data,
    details,
    duration,
    element,
    facts,
    join,
    page,
    percent,
    short,
    size,
    whole,
)
from groundup.web.report_text import short_text, size_text

FOOTER = (
    "Drawn from result.json. Perfetto and chrome://tracing draw the traced steps, which are in trace.json beside it."
)


def render(name: str, result: dict[str, Any], provenance: dict[str, Any], config: dict[str, Any]) -> str:
    """The page; `config` is the profile's, as JSON values."""
    sections = (
        ("step", "The step", step_section(result)),
        ("operations", "Operations", operations_section(result)),
        ("parts", "Parts of the model", parts_section(result)),
        ("memory", "Memory", memory_section(result)),
        ("formats", "Number formats", dtypes_section(result)),
        ("roofline", "Roofline", roofline_section(result)),
        ("provenance", "Provenance", _provenance(result, provenance, config)),
    )
    links = [element("a", title, href=f"#{place}") for place, title, _ in sections]
    body = [
        element("header", element("p", "groundup profile", class_="eyebrow"), element("h1", name)),
        element("p", _lede(result), class_="lede"),
        _cards(result),
        element("nav", *links, aria_label="Sections"),
        *[element("section", element("h2", title), content, id=place) for place, title, content in sections],
        element("footer", element("p", FOOTER, class_="quiet")),
    ]
    return page(f"{name} · groundup profile", body)


def _lede(result: dict[str, Any]) -> Markup:
    main = result["variants"][0]
    threads = result["threads"]
    model = {"lstm": "an LSTM", "hierarchical": "a hierarchical decoder"}.get(result["model"], "a decoder")
    parts: list[Child] = [f"A training step of {model} with ", short(result["parameters"])]
    parts += [" parameters on ", whole(result["batch_size"]), " × ", whole(result["context_length"]), " tokens, "]
    parts += [result["dtype"], ", ", main["name"], ", ", f"{threads} thread{'s' if threads > 1 else ''}"]
    parts += [": ", ms(main["step"]["median"]), ", of which ", percent(main["matmul_share"], 0)]
    return join(*parts, " in matrix products.")


def _cards(result: dict[str, Any]) -> Markup:
    main, others = result["variants"][0], result["variants"][1:]
    step, roofs, memory = main["step"], result["roofs"], main["memory"]
    deviation = f"± {milliseconds(step['deviation'])}; the first step took "
    found = [
        card("Step, median", ms(step["median"]), [deviation, duration(main["first_step_seconds"])]),
        card(
            "Throughput",
            join(whole(main["tokens_per_second"]), element("small", " tokens/s")),
            [percent(main["mfu"]), f" MFU: the share of {rate_text(roofs['peak_flops'])}, measured"],
        ),
        card(
            "Time in matrix products",
            percent(main["matmul_share"]),
            ["of the traced step; those of the optimizer are in it"],
        ),
        card(
            "Peak of tensors",
            size(memory["tensors"]["peak"]),
            [
                "accounting says ",
                size(predicted_bytes(memory, "peak")),
                "; the process ",
                size(memory["resident"]["peak"]),
            ],
        ),
        card(
            "Roofs of this machine",
            rate_text(roofs["peak_flops"]),
            [f"{roofs['dtype']}; memory {size_text(roofs['bandwidth'])}/s"],
        ),
    ]
    for each in others:
        times = each["step"]["median"] / step["median"]
        found.append(card(f"Against {each['name']}", data(times, f"{times:.2f} ×"), ["as fast, by the medians"]))
    return element("dl", *found, class_="cards")


def _provenance(result: dict[str, Any], provenance: dict[str, Any], config: dict[str, Any]) -> Child:
    hardware, git = provenance.get("hardware") or {}, provenance.get("git") or {}
    libraries, kernels = provenance.get("libraries") or {}, provenance.get("kernels") or {}
    roofs, argv = result["roofs"], provenance.get("argv") or []
    width = f"{roofs['width']:,}"
    pairs: list[tuple[str, Child]] = [
        ("processor", str(hardware.get("processor"))),
        ("cores, threads", f"{hardware.get('cores')}, {result['threads']}"),
        ("matrix products", f"{rate_text(roofs['peak_flops'])}, {roofs['dtype']}, {width} × {width}"),
        ("memory", f"copy {size_text(roofs['copy'])}/s, triad {size_text(roofs['triad'])}/s"),
        ("FLOPs of a step", f"{short_text(result['flops_per_step'])}FLOP, by accounting"),
        ("tokens", result["tokens"]),
        ("kernels", ", ".join(f"{name}: {choice}" for name, choice in kernels.items()) or DASH),
        ("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items())),
        ("commit", str(git["commit"])[:12] if git.get("commit") else DASH),
        ("command", element("code", " ".join(map(str, argv)))),
        ("started", str(provenance.get("started"))),
        ("measured in", duration(result["seconds"])),
    ]
    return [facts(pairs, twice=True), details("config.json", json.dumps(config, indent=2, ensure_ascii=False))]
