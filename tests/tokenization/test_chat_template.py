"""The chat template: exact ids and loss masks, and no way for a user to write a special token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS, Message, render_conversation, render_prompt

TOKENIZER = BytePairTokenizer([(104, 105)], "digits", {name: 257 + i for i, name in enumerate(SPECIAL_TOKENS)})
BOS, USER, ASSISTANT, END = 257, 258, 259, 260
HI = 256


def test_prompt_ends_with_the_assistant_token():
    assert render_prompt(TOKENIZER, [Message("user", "hi!")]) == [BOS, USER, HI, ord("!"), END, ASSISTANT]


def test_conversation_and_mask():
    turns = [Message("user", "1+2"), Message("assistant", "3"), Message("user", "hi"), Message("assistant", "hi")]
    ids, mask = render_conversation(TOKENIZER, turns)
    one, plus, two, three = (ord(c) for c in "1+23")
    assert ids == [BOS, USER, one, plus, two, END, ASSISTANT, three, END, USER, HI, END, ASSISTANT, HI, END]
    assert mask == [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]


def test_prompt_is_the_start_of_the_conversation():
    question, answer = Message("user", "how many?"), Message("assistant", "hi 3")
    ids, mask = render_conversation(TOKENIZER, [question, answer])
    prompt = render_prompt(TOKENIZER, [question])
    assert ids[: len(prompt)] == prompt
    assert mask == [0] * len(prompt) + [1] * (len(ids) - len(prompt))


def test_system_message_goes_before_the_first_question():
    folded = render_prompt(TOKENIZER, [Message("system", "Be brief."), Message("user", "hi")])
    assert folded == render_prompt(TOKENIZER, [Message("user", "Be brief.\n\nhi")])


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "a", "<|", "end|>"])).map("".join))
def test_users_cannot_write_special_tokens(content):
    ids = render_prompt(TOKENIZER, [Message("user", content)])
    assert [token for token in ids if token >= 257] == [BOS, USER, END, ASSISTANT]
    assert TOKENIZER.decode(ids[2:-2]) == content


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], "no messages"),
        ([Message("system", "x")], "followed by a message of the user"),
        ([Message("system", "x"), Message("assistant", "y")], "followed by a message of the user"),
        ([Message("user", "x"), Message("system", "y")], "middle of the conversation"),
    ],
)
def test_impossible_conversations(messages, error):
    with pytest.raises(InputError, match=error):
        render_prompt(TOKENIZER, messages)


def test_unknown_role():
    with pytest.raises(InputError, match="role of a message is 'robot'"):
        Message("robot", "x")


def test_tokenizer_without_chat_tokens():
    with pytest.raises(InputError, match=r"has no <\|user\|>, <\|assistant\|>, <\|end\|>"):
        render_prompt(BytePairTokenizer([], "gpt2", {"<|endoftext|>": 256}), [Message("user", "x")])
