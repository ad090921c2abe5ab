"""Numbers and names of a profile as people read them: times, rates, operations, weights."""

import re
from typing import Any

from groundup.web.report_html import Markup, data
from groundup.web.report_text import SPACE

LONGEST_NAME = 60
LAYOUT = re.compile(  # in the names of fused kernels: what moves or views, and computes nothing
    "_+(to_copy|unsafe_view|view|arange|clone|slice|select|expand|unsqueeze|squeeze|transpose|permute|full|new_zeros|"
    "select_backward|slice_backward)(?=_|$)"
)


def milliseconds(seconds: float) -> str:
    """0.94313 -> 943 ms; 0.0123 -> 12.3 ms."""
    value = 1000 * seconds
    return f"{value:,.0f}{SPACE}ms" if value >= 99.5 else f"{value:.3g}{SPACE}ms"


def rate_text(flops_per_second: float) -> str:
    """7.2e11 -> 720 GFLOP/s."""
    scale, unit = (1e12, "TFLOP/s") if flops_per_second >= 1e12 else (1e9, "GFLOP/s")
    return f"{flops_per_second / scale:.3g}{SPACE}{unit}"


def ms(seconds: float) -> Markup:
    return data(seconds, milliseconds(seconds))


def shortened(name: str, most: int = LONGEST_NAME) -> str:
    """An operation's name without what says little: `graph_0_cpp_fused__to_copy_mul_sigmoid_3` -> fused mul_sigmoid."""
    before, fused, rest = name.partition("cpp_fused_")
    if fused:
        kept = LAYOUT.sub("", f"_{rest.rpartition('_')[0]}").strip("_")
        text = f"fused {kept or 'copies'}"
    elif name.startswith("## Call CompiledFxGraph"):
        text = "compiled graph, around its kernels"
    else:
        text = before.removeprefix("aten::").replace("autograd::engine::evaluate_function: ", "engine: ")
    return text if len(text) <= most else f"{text[: most - 1]}…"


def weights_text(product: dict[str, Any]) -> str:
    """Names of the weights of a product, not too many, with their shape where there is one."""
    names = product["weights"].split(", ")
    text = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
    return f"{text} {product['shape'][0]}×{product['shape'][1]}" if product["shape"] else text


def predicted_bytes(memory: dict[str, Any], part: str) -> int | None:
    return next(row["predicted"] for row in memory["parts"] if row["part"] == part)


def counts_text(counts: dict[str, int]) -> str:
    """Formats with the number of tensors that have them: bfloat16 (42), float32 (2)."""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def moments_text(row: dict[str, Any]) -> str:
    """Moments of parameters with their formats: float32 (mean, mean_square)."""
    moments: dict[str, str] = row["moments"]
    formats = dict.fromkeys(moments.values())
    return ", ".join(f"{each} ({', '.join(name for name in moments if moments[name] == each)})" for each in formats)
