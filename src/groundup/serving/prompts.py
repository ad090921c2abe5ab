"""Bodies to generation requests: text to token ids, limits to what the context has room for, defaults of the API.

The number of new tokens is cut to the room that the prompt leaves in the context (the answer then ends with reason
`length`), so a client's large default works with a small model; only a prompt that leaves no room is an error.
"""

import secrets
from collections.abc import Sequence

from groundup.core.errors import GroundupError
from groundup.inference.requests import Request, Sampling
from groundup.serving.errors import bad_request
from groundup.serving.generator import TextGenerator
from groundup.serving.protocol import ChatBody, ChatMessage, CompletionBody
from groundup.tokenization.chat import END, END_OF_TEXT, Message, render_prompt

TEMPERATURE, TOP_P, TOP_K = 1.0, 1.0, 0  # the API's defaults, not the command line's


def chat_requests(body: ChatBody, generator: TextGenerator) -> list[Request]:
    """The one request of a chat body."""
    try:
        prompt = render_prompt(generator.tokenizer, [_message(message) for message in body.messages])
    except GroundupError as error:
        raise bad_request(str(error), param="messages") from error
    return [_request(body, prompt, generator, "messages")]


def completion_requests(body: CompletionBody, generator: TextGenerator) -> list[Request]:
    """One request per prompt of the body."""
    prompts = [_prompt_ids(prompt, generator) for prompt in body.prompts]
    return [_request(body, prompt, generator, "prompt") for prompt in prompts]


def text_prompt(text: str, generator: TextGenerator) -> list[int]:
    """Plain text as the start of a document: behind an end-of-text token, as every document was in training."""
    special = generator.tokenizer.special_tokens.get(END_OF_TEXT)
    start = [] if special is None else [special]
    return start + list(generator.tokenizer.encode(text))


def stop_ids(generator: TextGenerator) -> tuple[int, ...]:
    """The tokens that end an answer or a document, as far as the tokenizer has them."""
    special = generator.tokenizer.special_tokens
    return tuple(special[name] for name in (END, END_OF_TEXT) if name in special)


def _message(message: ChatMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    assert not isinstance(message.content, list)  # joined by the body's validator
    return Message(role, message.content or "")


def _prompt_ids(prompt: str | Sequence[int], generator: TextGenerator) -> list[int]:
    if isinstance(prompt, str):
        return text_prompt(prompt, generator)
    size = generator.tokenizer.vocab_size
    wrong = next((token for token in prompt if not 0 <= token < size), None)
    if wrong is not None:
        raise bad_request(f"Token id {wrong} is outside the vocabulary (0 to {size - 1}).", param="prompt")
    return list(prompt)


def _request(body: ChatBody | CompletionBody, prompt: Sequence[int], generator: TextGenerator, param: str) -> Request:
    context = generator.context_length
    room = context - len(prompt)
    if not prompt:
        raise bad_request("The prompt is empty; give at least one token.", param=param)
    if room < 1:
        raise bad_request(
            f"The prompt has {len(prompt)} tokens and the model's context is {context}, so there is no room for an "
            "answer; shorten the prompt.",
            param=param,
            code="context_length_exceeded",
        )
    limit = room if body.token_limit is None else min(body.token_limit, room)
    try:
        sampling = Sampling(
            max_tokens=limit,
            temperature=TEMPERATURE if body.temperature is None else body.temperature,
            top_p=TOP_P if body.top_p is None else body.top_p,
            top_k=TOP_K if body.top_k is None else min(body.top_k, generator.tokenizer.vocab_size),
            seed=secrets.randbits(62) if body.seed is None else body.seed,
        )
    except GroundupError as error:
        raise bad_request(str(error), param=str(error).split()[0]) from error
    return Request(tuple(prompt), sampling, stop_ids(generator), body.stop_strings)
