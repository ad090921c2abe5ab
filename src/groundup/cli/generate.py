"""`groundup generate`: continue a prompt."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from groundup.inference.engine import Engine
    from groundup.inference.requests import Grammar
    from groundup.inference.speculative import SpeculativeDecoder


@dataclass(frozen=True)
class Args:
    """Continue a prompt with a trained model, token by token.

    examples:
      groundup generate runs/quickstart/pretrain --prompt "Fellow citizens,"
      groundup generate runs/notes --prompt "The" --max-tokens 200 --temperature 0.7 --top-p 0.9 --seed 3
      groundup generate runs/notes --prompt "The year" --regex " [0-9]{4}"
      groundup generate runs/notes --prompt "The" --temperature 0 --guess lookup
      groundup generate runs/large --prompt "The" --guess runs/small --max-tokens 500
      groundup generate runs/notes --prompt "The" --beams 4
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
    min_p: float = 0.0
    """Leave out tokens with less than this share of the likeliest one's probability."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that stand in the text already become less likely."""
    seed: int = 0
    """The same seed gives the same text."""
    regex: str | None = None
    """A regular expression that the new text must match."""
    json_schema: Path | None = None
    """A file with the schema of the JSON that must come out."""
    guess: str | None = None
    """Speculative decoding, the same distribution in fewer passes: `lookup` in the text so far, or a smaller model."""
    beams: int | None = None
    """The likeliest text that so many beginnings side by side find; nothing is sampled."""


def run(args: Args) -> None:
    from groundup.core.errors import ConfigError
    from groundup.inference.engine import load_engine
    from groundup.inference.requests import Request, Sampling
    from groundup.tokenization.chat import END_OF_TEXT

    if args.beams is not None and args.guess is not None:
        raise ConfigError("--beams and --guess are both given; beam search samples nothing to guess, leave one out.")
    filters = (args.temperature, args.top_k, args.top_p, args.seed, args.min_p)
    sampling = Sampling(args.max_tokens, *filters, repetition_penalty=args.repetition_penalty)
    engine = load_engine(args.model)
    mark = engine.tokenizer.special_tokens.get(END_OF_TEXT)
    marks = () if mark is None else (mark,)
    prompt = (*marks, *engine.tokenizer.encode(args.prompt))
    request = Request(prompt, sampling, stop_ids=marks, grammar=grammar_of(args))
    if args.beams is not None:
        from groundup.inference.beam import beam_search

        print(args.prompt + beam_search(engine, request, args.beams)[0].completion.text)
        return
    decoder = None if args.guess is None else speculative_decoder(engine, args.guess)
    stream = engine.stream(request) if decoder is None else decoder.stream(request)
    first = next(stream)  # a prompt that does not fit fails here, before anything is printed
    print(args.prompt + first.text, end="", flush=True)
    for delta in stream:
        print(delta.text, end="", flush=True)
    print()
    if decoder is not None:
        found = decoder.acceptance
        print(
            f"{found.accepted} of {found.guessed} guesses were kept, {found.passes} passes of the model",
            file=sys.stderr,
        )


def grammar_of(args: Args) -> "Grammar | None":
    """What the text must look like, if anything."""
    from groundup.core.errors import ConfigError
    from groundup.core.files import require_file
    from groundup.inference.requests import Grammar

    if args.regex is not None and args.json_schema is not None:
        raise ConfigError("--regex and --json-schema are both given; the text can follow one of them.")
    if args.regex is not None:
        return Grammar("regex", args.regex)
    if args.json_schema is not None:
        require_file(args.json_schema)
        return Grammar("json_schema", args.json_schema.read_text(encoding="utf-8"))
    return None


def speculative_decoder(engine: "Engine", guess: str) -> "SpeculativeDecoder":
    """With guesses by lookup, or by the model in a folder."""
    from groundup.core.errors import ConfigError
    from groundup.inference.engine import load_engine
    from groundup.inference.speculative import LookupDraft, ModelDraft, SpeculativeDecoder

    if guess == "lookup":
        return SpeculativeDecoder(engine, LookupDraft(engine.tokenizer.vocab_size))
    small = load_engine(Path(guess))
    if small.tokenizer.fingerprint != engine.tokenizer.fingerprint:
        raise ConfigError(f"The model {guess} has another tokenizer, so its guesses mean something else; take another.")
    return SpeculativeDecoder(engine, ModelDraft(small.model, engine.tokenizer.vocab_size))
