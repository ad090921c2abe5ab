"""How each side generates: prompts of ids in, greedy ids out. Nothing ends a text before its last token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

Ids = list[list[int]]


class Generator(NamedTuple):
    """`generate(prompts, count)` gives each prompt's `count` greedy tokens; `prefill(prompt)` reads a prompt for its
    next token."""

    generate: Callable[[Ids, int], Ids]
    prefill: Callable[[list[int]], int]


def groundup(folder: Path, weights: str, threads: int, compiled: bool = True) -> Generator:
    """Our engine, as a server runs it."""
    import torch

    from groundup.inference.engine import load_engine
    from groundup.inference.requests import Request, Sampling

    engine = load_engine(folder / ("checkpoints" if weights == "bf16" else weights), torch.bfloat16)
    if compiled:
        engine.compile()

    def generate(prompts: Ids, count: int) -> Ids:
        requests = [Request(tuple(prompt), Sampling(count, temperature=0)) for prompt in prompts]
        return [list(completion.ids) for completion in engine.generate(requests)]

    return Generator(generate, lambda prompt: generate([prompt], 1)[0][0])


def transformers(folder: Path, weights: str, threads: int, attention: str = "sdpa") -> Generator:
    """Hugging Face's `generate` in bf16."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    assert weights == "bf16"
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder / "huggingface", dtype=torch.bfloat16, attn_implementation=attention
    ).eval()

    @torch.inference_mode()
    def generate(prompts: Ids, count: int) -> Ids:
        ids_BT = torch.tensor(prompts)
        config = GenerationConfig(max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)
        found_BT = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=config)
        return found_BT[:, ids_BT.shape[1] :].tolist()

    return Generator(generate, lambda prompt: generate([prompt], 1)[0][0])


def llama_cpp(folder: Path, weights: str, threads: int) -> Generator:
    """llama.cpp by its own evaluation loop, one prompt at a time; greedy by the largest logit."""
    import numpy as np
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports] - optional

    model = Llama(
        str(folder / f"{weights}.gguf"),
        n_ctx=0,  # the model's own
        n_batch=512,
        n_ubatch=512,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )

    def next_id() -> int:
        """Of the last token alone, as `eval` asks for no other logits."""
        return int(np.argmax(np.ctypeslib.as_array(model._ctx.get_logits(), shape=(model.n_vocab(),))))

    def generate(prompts: Ids, count: int) -> Ids:
        found = []
        for prompt in prompts:
            model.reset()
            model.eval(prompt)
            ids = [next_id()]
            while len(ids) < count:
                model.eval(ids[-1:])
                ids.append(next_id())
            found.append(ids)
        return found

    return Generator(generate, lambda prompt: generate([prompt], 1)[0][0])


SIDES: dict[str, Callable[..., Generator]] = {
    "groundup": groundup,
    "transformers": transformers,
    "llama.cpp": llama_cpp,
}
