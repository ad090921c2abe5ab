"""`groundup chat`: talk to a model in the terminal, one here or one behind a server."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from groundup.serving import KEY_VARIABLE

if TYPE_CHECKING:
    from groundup.tokenization.chat import Message

Answering = Callable[[Sequence["Message"]], Iterator[str]]
"""The answer to a conversation, in pieces."""


@dataclass(frozen=True)
class Args:
    """Talk to a fine-tuned model in the terminal. Ctrl+C stops an answer; an empty line or Ctrl+D ends, and /new starts
    over.

    A URL instead of a run is a server with OpenAI's API; its key is taken from the environment variable
    GROUNDUP_API_KEY.

    The quickstart's model answers verifiable instructions: Sort the digits 739142. / Add 87 and 25. / Copy 5930718. /
    Reverse 41775. / How many 7s are in 972771?

    examples:
      groundup chat runs/quickstart
      groundup chat runs/notes-grpo --temperature 0.8 --top-p 0.95 --system "Answer in one word."
      groundup chat http://127.0.0.1:8000
      echo "Sort the digits 739142." | groundup chat runs/quickstart
    """

    model: tyro.conf.Positional[str]
    """A run or checkpoint folder, or the URL of a server."""
    system: str = ""
    """What stands in front of the conversation."""
    temperature: float = 0.0
    """0 always takes the likeliest token."""
    top_p: float = 1.0
    """Sample among the smallest set of tokens with this probability."""
    top_k: int = 0
    """Sample among the k likeliest tokens only; 0 for all."""
    min_p: float = 0.0
    """Leave out tokens with less than this share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that stand in the conversation already become less likely."""
    max_tokens: int = 128
    """The most tokens of an answer."""
    seed: int = 0
    """The same seed gives the same answers."""


def run(args: Args) -> None:
    from groundup.core.errors import GroundupError
    from groundup.core.logging import console
    from groundup.tokenization.chat import Message

    answering = of_server(args) if args.model.startswith(("http://", "https://")) else of_run(args)
    start = [Message("system", args.system)] if args.system else []
    messages = list(start)
    while line := next_line():
        if line == "/new":
            messages = list(start)
            continue
        messages.append(Message("user", line))
        answer = ""
        try:
            for text in answering(messages):
                answer += text
                print(text, end="", flush=True)
        except KeyboardInterrupt:  # of the answer only: what there is of it stays
            console.print(" [stopped]", highlight=False, markup=False)
        except GroundupError as error:
            messages.pop()
            if not sys.stdin.isatty():
                raise
            console.print(f"{error} Type /new to start over.", highlight=False, markup=False)
            continue
        print()
        messages.append(Message("assistant", answer))


def next_line() -> str:
    """What the user says; nothing at the end."""
    from groundup.core.logging import console

    if sys.stdin.isatty():
        console.print("[bold cyan]you[/] ", end="")
    try:
        return sys.stdin.readline().strip()
    except KeyboardInterrupt:
        console.print()
        return ""


def of_run(args: Args) -> Answering:
    """The model of a run, in this process."""
    from pathlib import Path

    from groundup.inference.engine import load_engine
    from groundup.inference.requests import Request, Sampling
    from groundup.tokenization.chat import END, END_OF_TEXT, render_prompt, require_chat_tokens

    filters = (args.temperature, args.top_k, args.top_p, args.seed, args.min_p)
    sampling = Sampling(args.max_tokens, *filters, repetition_penalty=args.repetition_penalty)
    engine = load_engine(Path(args.model))
    require_chat_tokens(engine.tokenizer)
    stops = tuple(engine.tokenizer.special_tokens[name] for name in (END, END_OF_TEXT))

    def answering(messages: Sequence["Message"]) -> Iterator[str]:
        prompt = tuple(render_prompt(engine.tokenizer, messages))
        for delta in engine.stream(Request(prompt, sampling, stop_ids=stops)):
            yield delta.text

    return answering


def of_server(args: Args) -> Answering:
    """A model behind OpenAI's API."""
    import httpx

    from groundup.core.errors import InputError
    from groundup.serving.load import TIMEOUT_SECONDS, api_url, authorization, find_model

    url = api_url(args.model)
    key = os.environ.get(KEY_VARIABLE, "")
    name, _ = find_model(url, "", key)
    fields = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
    dials = {field: getattr(args, field) for field in fields}
    asking: dict[str, Any] = {"headers": authorization(key), "timeout": TIMEOUT_SECONDS}

    def answering(messages: Sequence["Message"]) -> Iterator[str]:
        body = {"model": name, "messages": [vars(message) for message in messages], "stream": True, **dials}
        try:
            with httpx.stream("POST", f"{url}/chat/completions", json=body, **asking) as answer:
                if answer.status_code != 200:
                    raise InputError(f"The server refused: {answer.read().decode(errors='replace'):.500}")
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        yield piece(json.loads(line[6:]))
        except httpx.HTTPError as error:
            raise InputError(f"The server at {url} went away: {error}.") from error

    return answering


def piece(event: dict) -> str:
    """The text of an event of a stream."""
    from groundup.core.errors import InputError

    if "error" in event:
        raise InputError(f"The server failed: {event['error'].get('message', event['error'])}")
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
