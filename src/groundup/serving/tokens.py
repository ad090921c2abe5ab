"""Text to token ids and back, as vLLM's `/tokenize`, `/detokenize` and `/tokenizer_info` answer."""

from typing import Any

from groundup.serving.generator import TextGenerator
from groundup.serving.logprobs import token_name
from groundup.serving.prompts import check_ids, conversation_ids
from groundup.serving.protocol import DetokenizeBody, TokenizeBody
from groundup.tokenization.chat import END_OF_TEXT

# The template of `tokenization/chat.py` in Jinja's notation, for clients that render a conversation themselves.
CHAT_TEMPLATE = """\
{{ '<|endoftext|>' }}{% set first = namespace(text='') %}{% for message in messages %}\
{% if message.role == 'system' %}{% set first.text = message.content + '\\n\\n' %}{% else %}\
{{ '<|' + message.role + '|>' + first.text + message.content + '<|end|>' }}{% set first.text = '' %}\
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


def tokenized(body: TokenizeBody, generator: TextGenerator) -> dict[str, Any]:
    """The ids of a text or a conversation."""
    tokenizer = generator.tokenizer
    if body.messages is not None:
        ids = conversation_ids(body.messages, tokenizer)
    else:
        mark = tokenizer.special_tokens.get(END_OF_TEXT)
        ids = [mark] if body.add_special_tokens and mark is not None else []
        ids += tokenizer.encode(body.prompt or "", allow_special=body.allow_special)
    names = [token_name(tokenizer, token) for token in ids] if body.return_token_strs else None
    return {"count": len(ids), "max_model_len": generator.context_length, "tokens": ids, "token_strs": names}


def detokenized(body: DetokenizeBody, generator: TextGenerator) -> dict[str, Any]:
    """The text of ids."""
    check_ids(body.tokens, generator.tokenizer, "tokens")
    return {"prompt": generator.tokenizer.decode(body.tokens)}


def tokenizer_info(generator: TextGenerator) -> dict[str, Any]:
    """The names of the tokens that begin and end a text, and the chat template."""
    mark = END_OF_TEXT if END_OF_TEXT in generator.tokenizer.special_tokens else None
    return {
        "tokenizer_class": type(generator.tokenizer).__name__,
        "bos_token": mark,
        "eos_token": mark,
        "pad_token": mark,
        "model_max_length": generator.context_length,
        "chat_template": CHAT_TEMPLATE,
    }
