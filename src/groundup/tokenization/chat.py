"""The chat template: messages as one sequence of tokens, and which of them the loss sees.

    <|endoftext|> <|user|> question <|end|> <|assistant|> answer <|end|> <|user|> ...

A prompt for generation ends with `<|assistant|>`. In training the mask is 1 on each answer and on the `<|end|>` behind
it, so that the model learns to stop, and 0 elsewhere. Contents are encoded as plain text: a user who writes `<|end|>`
gets those seven characters, not the token. There is no system role; a system message goes in front of the first
question, with an empty line between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from groundup.core.errors import InputError
from groundup.tokenization.tokenizer import Tokenizer

END_OF_TEXT, USER, ASSISTANT, END = "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, USER, ASSISTANT, END)
ROLES = {"user": USER, "assistant": ASSISTANT}


@dataclass(frozen=True)
class Message:
    """One turn; the role is "system", "user" or "assistant"."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role != "system" and self.role not in ROLES:
            raise InputError(f'The role of a message is {self.role!r}; it must be "system", "user" or "assistant".')


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The ids that a model continues with its answer."""
    ids, _ = render_conversation(tokenizer, messages)
    return [*ids, tokenizer.special_tokens[ASSISTANT]]


def render_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """The ids of a whole conversation, and the mask of the same length: 1 where the loss counts."""
    require_chat_tokens(tokenizer)
    special = tokenizer.special_tokens
    ids, mask = [special[END_OF_TEXT]], [0]
    for message in _fold_system(messages):
        content = [*tokenizer.encode(message.content, allow_special=False), special[END]]
        ids += [special[ROLES[message.role]], *content]
        mask += [0, *[int(message.role == "assistant")] * len(content)]
    return ids, mask


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    """Put a leading system message in front of the first question."""
    rest = list(messages)
    if not rest:
        raise InputError("The conversation has no messages; give at least one from the user.")
    if rest[0].role == "system":
        system = rest.pop(0).content
        if not rest or rest[0].role != "user":
            raise InputError("A system message must be followed by a message of the user.")
        rest[0] = Message("user", f"{system}\n\n{rest[0].content}")
    if any(message.role == "system" for message in rest):
        raise InputError("A system message stands in the middle of the conversation; it must be the first message.")
    return rest


def require_chat_tokens(tokenizer: Tokenizer) -> None:
    """Raise an `InputError` for a tokenizer without the template's special tokens."""
    missing = [name for name in SPECIAL_TOKENS if name not in tokenizer.special_tokens]
    if missing:
        raise InputError(
            f"The tokenizer has no {', '.join(missing)}; a chat needs one trained with the special tokens "
            f"{' '.join(SPECIAL_TOKENS)}."
        )
