"""`groundup chat`: talk to a model in the terminal."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Args:
    """Talk to a fine-tuned model in the terminal; an empty line or Ctrl-D ends, /new starts over.

    The quickstart's model answers verifiable instructions: Sort the digits 739142. / Add 87 and 25. / Copy 5930718. /
    Reverse 41775. / How many 7s are in 972771?

    examples:
      groundup chat runs/quickstart
      groundup chat runs/notes-grpo --temperature 0
      echo "Sort the digits 739142." | groundup chat runs/quickstart
    """

    model: tyro.conf.Positional[Path]
    """A run or checkpoint folder."""
    temperature: float = 0.0
    """0 always takes the likeliest token."""
    top_p: float = 1.0
    """Sample among the smallest set of tokens with this probability."""
    max_tokens: int = 128
    """The most tokens of an answer."""
    seed: int = 0
    """The same seed gives the same answers."""


def run(args: Args) -> None:
    import sys

    from groundup.core.errors import InputError
    from groundup.core.logging import console
    from groundup.inference.engine import load_engine
    from groundup.inference.requests import Request, Sampling
    from groundup.tokenization.chat import END, END_OF_TEXT, Message, render_prompt, require_chat_tokens

    sampling = Sampling(args.max_tokens, args.temperature, 0, args.top_p, args.seed)
    engine = load_engine(args.model)
    require_chat_tokens(engine.tokenizer)
    stops = tuple(engine.tokenizer.special_tokens[name] for name in (END, END_OF_TEXT))
    messages: list[Message] = []
    while True:
        if sys.stdin.isatty():
            console.print("[bold cyan]you[/] ", end="")
        line = sys.stdin.readline().strip()
        if not line:
            return
        if line == "/new":
            messages = []
            continue
        messages.append(Message("user", line))
        prompt = tuple(render_prompt(engine.tokenizer, messages))
        answer = ""
        try:
            for delta in engine.stream(Request(prompt, sampling, stop_ids=stops)):
                answer += delta.text
                print(delta.text, end="", flush=True)
        except InputError as error:
            messages.pop()
            if not sys.stdin.isatty():
                raise
            console.print(f"{error} Type /new to start over.", highlight=False, markup=False)
            continue
        print()
        messages.append(Message("assistant", answer))
