"""What the chat page asks of the model: prompts that fit, and what they forget."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.tokenization.chat import Message, render_prompt
from groundup.web.conversation import Settings, build_request

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from scripted_engine import SPECIALS, ScriptedEngine


def turns(*contents):
    return [Message(("user", "assistant")[index % 2], content) for index, content in enumerate(contents)]


def test_a_short_conversation_is_asked_whole():
    engine = ScriptedEngine()
    messages = turns("one", "two", "three")
    request, dropped = build_request(messages, Settings(max_tokens=20, temperature=0.3, top_p=0.9), engine)
    assert list(request.prompt) == render_prompt(engine.tokenizer, messages)
    assert dropped == 0
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (20, 0.3, 0.9)
    assert set(request.stop_ids) == {SPECIALS["<|end|>"], SPECIALS["<|endoftext|>"]}


@given(
    st.lists(st.text("ab", max_size=60), min_size=1, max_size=9).filter(lambda texts: len(texts) % 2),
    st.integers(1, 128),
)
def test_the_longest_end_that_fits_and_leaves_room(contents, max_tokens):
    engine = ScriptedEngine(context_length=128)
    messages = turns(*contents)
    request, dropped = build_request(messages, Settings(max_tokens=max_tokens), engine)
    room = min(max_tokens, 32)
    assert dropped % 2 == 0
    assert list(request.prompt) == render_prompt(engine.tokenizer, messages[dropped:])
    assert len(request.prompt) + room <= 128
    assert room <= request.sampling.max_tokens <= 128 - len(request.prompt)
    if dropped:
        assert len(render_prompt(engine.tokenizer, messages[dropped - 2 :])) + room > 128


def test_a_message_that_cannot_fit():
    with pytest.raises(InputError, match=r"This message has 204 tokens; the model reads 128"):
        build_request(turns("x" * 200), Settings(max_tokens=10), ScriptedEngine(context_length=128))


def test_continue_mode_takes_the_last_message_as_the_start_of_a_document():
    request, dropped = build_request(
        turns("one", "two", "Fellow"), Settings(max_tokens=5, mode="continue"), ScriptedEngine()
    )
    assert request.prompt == (SPECIALS["<|endoftext|>"], *b"Fellow")
    assert dropped == 0
