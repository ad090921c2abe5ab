"""Where the FLOPs of decoders go, as a picture: shares of the components against size and against context length.

A PNG by matplotlib without pyplot, as `tokenizer_chart.py` makes it; the bytes depend on the configs only.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from groundup.accounting.decoder import parameters
from groundup.accounting.flops import Flops, forward_flops
from groundup.models.config import DecoderConfig
from groundup.web.report_text import visible

STYLE: dict[str, Any] = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
COLOURS = {
    "projections": "tab:blue",
    "attention": "tab:orange",
    "states": "tab:green",
    "feed_forward": "tab:gray",
    "unembedding": "tab:red",
}  # the embedding is looked up and the prediction heads are not there in a forward pass
INCHES_PER_BAR, LABEL_FROM = 0.34, 0.04


def component_shares_chart(
    sizes: Mapping[str, DecoderConfig], name: str, contexts: Sequence[int], context: int | None = None
) -> bytes:
    """A PNG: on the left a bar for each decoder of `sizes`, by parameters, at `context` tokens (by default each at its
    own); on the right the decoder of that name at each of `contexts`."""
    config = sizes[name]
    ordered = sorted(sizes.items(), key=lambda item: parameters(item[1]))
    bars = {f"{visible(label)} ({in_words(parameters(each))})": forward_flops(each, context) for label, each in ordered}
    along = [forward_flops(config, length) for length in contexts]
    shown = [part for part in COLOURS if any(getattr(flops, part) for flops in (*bars.values(), *along))]
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks shows as boxes
        height = max(4.2, 1.4 + INCHES_PER_BAR * len(bars))
        figure = Figure(figsize=(12, height), dpi=110, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_sizes(left, bars, shown)
        left.set_title(f"by size, {f'context {context:,}' if context else 'each at its own context'}", fontsize=10)
        _draw_contexts(right, contexts, along, shown)
        right.set_title(f"{visible(name)}, by context length", fontsize=10)
        right.axvline(context or config.context_length, color="black", linewidth=1, linestyle=":")
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=len(shown), frameon=False)
        image = io.BytesIO()
        FigureCanvasAgg(figure).print_png(image, metadata={"Software": None})
    return image.getvalue()


def _draw_sizes(axes: Axes, bars: Mapping[str, Flops], shown: Sequence[str]) -> None:
    labels, starts = list(bars), [0.0] * len(bars)
    for part in shown:
        shares = [flops.shares()[part] for flops in bars.values()]
        drawn = axes.barh(labels, shares, left=starts, color=COLOURS[part], label=part.replace("_", "-"))
        texts = [f"{share:.0%}" if share >= LABEL_FROM else "" for share in shares]
        axes.bar_label(drawn, texts, label_type="center", fontsize=8, color="white")
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the forward FLOPs")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _draw_contexts(axes: Axes, contexts: Sequence[int], along: Sequence[Flops], shown: Sequence[str]) -> None:
    shares = [[flops.shares()[part] for flops in along] for part in shown]
    axes.stackplot(contexts, shares, colors=[COLOURS[part] for part in shown])
    axes.set_xscale("log", base=2)
    axes.set_xticks(contexts[::2], [f"{length:,}" for length in contexts[::2]], rotation=45, ha="right", fontsize=8)
    axes.set_xlim(contexts[0], contexts[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel("context, tokens")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def in_words(count: int) -> str:
    """1.56 B for 1,557,611,200."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,}"
