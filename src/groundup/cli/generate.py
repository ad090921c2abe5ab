"""`groundup generate`: continue a prompt."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Args:
    """Continue a prompt with a trained model, token by token.

    examples:
      groundup generate runs/quickstart/pretrain --prompt "Fellow citizens,"
      groundup generate runs/notes --prompt "The" --max-tokens 200 --temperature 0.7 --top-p 0.9 --seed 3
    """

    model: tyro.conf.Positional[Path]
    """A run or checkpoint folder."""
    prompt: str = ""
    """The text to continue; nothing starts a new document."""
    max_tokens: int = 128
    """The most tokens to write."""
    temperature: float = 0.8
    """0 always takes the likeliest token; 1 samples the model's distribution."""
    top_k: int = 0
    """Sample among the k likeliest tokens only; 0 for all."""
    top_p: float = 0.95
    """Sample among the smallest set of tokens with this probability."""
    seed: int = 0
    """The same seed gives the same text."""


def run(args: Args) -> None:
    from groundup.inference.engine import load_engine
    from groundup.inference.requests import Request, Sampling
    from groundup.tokenization.chat import END_OF_TEXT

    sampling = Sampling(args.max_tokens, args.temperature, args.top_k, args.top_p, args.seed)
    engine = load_engine(args.model)
    mark = engine.tokenizer.special_tokens.get(END_OF_TEXT)
    marks = () if mark is None else (mark,)
    request = Request((*marks, *engine.tokenizer.encode(args.prompt)), sampling, stop_ids=marks)
    stream = engine.stream(request)
    first = next(stream)  # a prompt that does not fit fails here, before anything is printed
    print(args.prompt + first.text, end="", flush=True)
    for delta in stream:
        print(delta.text, end="", flush=True)
    print()
