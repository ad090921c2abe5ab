"""Bodies to parts of a job: text to token ids, limits to what the context has room for, defaults of the API.

The number of new tokens is cut to the room that the prompt leaves in the context (the answer then ends with reason
`length`), so a client's large default works with a small model; only a prompt that leaves no room is an error.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from groundup.core.errors import GroundupError
from groundup.inference.requests import Grammar, Request, Sampling
from groundup.serving.errors import bad_request
from groundup.serving.generator import TextGenerator
from groundup.serving.grammars import grammar_of
from groundup.serving.protocol import ChatBody, ChatMessage, CompletionBody, SamplingBody
from groundup.serving.worker import Part
from groundup.tokenization.chat import END, END_OF_TEXT, Message, render_prompt
from groundup.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Question:
    """What a body asks for. `echoes` are the texts that stand in front of the choices; `alternatives` is as in
    `Request`."""

    parts: tuple[Part, ...]
    prompt_tokens: int
    alternatives: int | None = None
    echoes: tuple[str, ...] = ()


def chat_question(body: ChatBody, generator: TextGenerator) -> Question:
    """`n` answers to one conversation."""
    prompt = conversation_ids(body.messages, generator.tokenizer)
    room = _room(prompt, generator, "messages")
    request = _request(body, prompt, room, generator, grammar_of(body))
    return Question(tuple(map(Part, _copies(request, body))), len(prompt), body.alternatives)


def completion_question(body: CompletionBody, generator: TextGenerator) -> Question:
    """`n` continuations of each prompt, with the prompt in front where `echo` asks for it."""
    prompts = [_prompt_ids(prompt, generator) for prompt in body.prompts]
    grammar = grammar_of(body)
    generates = body.max_tokens != 0
    scored = body.alternatives if body.echo else None
    parts: list[Part] = []
    for prompt in prompts:
        room = _room(prompt, generator, "prompt", least=int(generates))
        request = _request(body, prompt, max(room, 1), generator, grammar)
        parts += [Part(copy, scored, generates) for copy in _copies(request, body)]
    echoes: list[str] = []
    for prompt, ids in zip(body.prompts, prompts, strict=True) if body.echo else ():
        text = prompt if isinstance(prompt, str) else generator.tokenizer.decode(ids)
        echoes += [text] * (body.n or 1)
    return Question(tuple(parts), sum(map(len, prompts)), body.alternatives, tuple(echoes))


def conversation_ids(messages: Sequence[ChatMessage], tokenizer: Tokenizer) -> list[int]:
    """The turns in the chat template."""
    turns = [Message("system" if m.role == "developer" else m.role, _content(m)) for m in messages]
    try:
        return render_prompt(tokenizer, turns)
    except GroundupError as error:
        raise bad_request(str(error), param="messages") from error


def text_prompt(text: str, tokenizer: Tokenizer) -> list[int]:
    """Plain text as the start of a document: behind an end-of-text token, as every document was in training."""
    special = tokenizer.special_tokens.get(END_OF_TEXT)
    start = [] if special is None else [special]
    return start + list(tokenizer.encode(text))


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end an answer or a document, as far as the tokenizer has them."""
    special = tokenizer.special_tokens
    return tuple(special[name] for name in (END, END_OF_TEXT) if name in special)


def check_ids(ids: Sequence[int], tokenizer: Tokenizer, param: str) -> None:
    """Refuse ids outside the vocabulary."""
    size = tokenizer.vocab_size
    wrong = next((token for token in ids if not 0 <= token < size), None)
    if wrong is not None:
        raise bad_request(f"Token id {wrong} is outside the vocabulary (0 to {size - 1}).", param=param)


def _content(message: ChatMessage) -> str:
    assert not isinstance(message.content, list)  # joined by the body's validator
    return message.content or ""


def _prompt_ids(prompt: str | Sequence[int], generator: TextGenerator) -> list[int]:
    if isinstance(prompt, str):
        return text_prompt(prompt, generator.tokenizer)
    check_ids(prompt, generator.tokenizer, "prompt")
    return list(prompt)


def _room(prompt: Sequence[int], generator: TextGenerator, param: str, least: int = 1) -> int:
    """How many tokens the context has left for an answer."""
    room = generator.context_length - len(prompt)
    if not prompt:
        raise bad_request("The prompt is empty; give at least one token.", param=param)
    if room < least:
        raise bad_request(
            f"The prompt has {len(prompt)} tokens and the model's context is {generator.context_length}, so there is "
            "no room for an answer; shorten the prompt.",
            param=param,
            code="context_length_exceeded",
        )
    return room


def _request(
    body: SamplingBody, prompt: Sequence[int], room: int, generator: TextGenerator, grammar: Grammar | None
) -> Request:
    assert isinstance(body, ChatBody | CompletionBody)
    tokenizer = generator.tokenizer
    stops = (*stop_ids(tokenizer), *(body.stop_token_ids or ()))
    check_ids(stops, tokenizer, "stop_token_ids")
    if grammar is not None and not stops:
        raise bad_request("This model has no token that ends a text, so its answers cannot follow a grammar.")
    try:
        return Request(
            tuple(prompt),
            _sampling(body, room, tokenizer),
            tuple(body.stop_token_ids or ()) if body.ignore_eos and grammar is None else stops,
            body.stop_strings,
            body.alternatives,
            grammar,
        )
    except GroundupError as error:
        raise bad_request(str(error), param=str(error).split()[0]) from error


def _sampling(body: ChatBody | CompletionBody, room: int, tokenizer: Tokenizer) -> Sampling:
    """With the API's defaults, not the command line's: temperature 1, no filter, another seed each time."""
    given = {
        name: value
        for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
        if (value := getattr(body, name)) is not None
    }
    top_k = -1 if body.top_k is None else body.top_k  # vLLM's word for "all" is -1, beside 0
    limit = body.token_limit
    return Sampling(
        max_tokens=room if limit is None else max(1, min(limit, room)),
        top_k=0 if top_k == -1 else min(top_k, tokenizer.vocab_size),
        seed=secrets.randbits(62) if body.seed is None else body.seed,
        logit_bias=_logit_bias(body, tokenizer),
        **({"temperature": 1.0} | given),
    )


def _logit_bias(body: SamplingBody, tokenizer: Tokenizer) -> tuple[tuple[int, float], ...]:
    pairs: list[tuple[int, float]] = []
    for name, bias in (body.logit_bias or {}).items():
        if not (name.isascii() and name.isdecimal() and len(name) < 12):
            raise bad_request(f"logit_bias names {name!r:.40}, which is no token id.", param="logit_bias")
        pairs.append((int(name), bias))
    check_ids([token for token, _ in pairs], tokenizer, "logit_bias")
    return tuple(pairs)


def _copies(request: Request, body: SamplingBody) -> list[Request]:
    """One request for each of `n` choices; the first is that of n=1, the others have the seeds behind it."""
    seed = request.sampling.seed
    return [replace(request, sampling=replace(request.sampling, seed=seed + number)) for number in range(body.n or 1)]
