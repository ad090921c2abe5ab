"""What is shown of a generation: whole characters, and nothing of a stop string, whatever the tokens' boundaries."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_engines import BYTES

from groundup.inference.requests import Request
from groundup.inference.sequence import Generation
from groundup.tokenization.bpe_training import train_bpe

LETTERS = "ab é€😀"
TEXTS = st.text(LETTERS, max_size=24)
STOPS = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=3).map(tuple)
END = 259


def run(ids, stops=(), stop_ids=(END,), limit=10_000, tokenizer=BYTES):
    """Push ids until the generation ends; returns it with its deltas."""
    generation = Generation(Request((0,), stop_ids=stop_ids, stop_strings=stops), tokenizer, limit)
    deltas = []
    for token in ids:
        deltas.append(generation.push(token, -1.0))
        if generation.finish_reason:
            break
    return generation, deltas


def cut(text, stops):
    """The text before the first stop string that is complete, reading byte by byte as the tokens come."""
    for end in range(len(text) + 1):
        found = [at for stop in stops if (at := text[:end].find(stop)) >= 0]
        if found:
            return text[: min(found)], True
    return text, False


@given(TEXTS, STOPS)
def test_stop_strings_never_show_and_what_was_held_back_does(text, stops):
    generation, deltas = run([*text.encode(), END], stops)
    expected, stopped = cut(text, stops)
    assert generation.completion().text == expected
    assert "".join(delta.text for delta in deltas) == expected
    assert generation.finish_reason == "stop"
    assert (generation.ids[-1] != END) is stopped
    shown = ""
    for delta in deltas:
        shown += delta.text
        assert expected.startswith(shown)


@given(TEXTS, STOPS, st.integers(1, 60))
def test_the_limit_releases_what_was_held_back(text, stops, limit):
    ids = [*text.encode(), *b"zzzz" * 20]
    generation, deltas = run(ids, stops, limit=limit)
    whole = bytes(ids[:limit]).decode(errors="replace")
    expected, stopped = cut(bytes(ids[:limit]).decode(errors="ignore"), stops)
    assert generation.finish_reason == ("stop" if stopped else "length")
    assert generation.completion().text == (expected if stopped else whole)
    assert "".join(delta.text for delta in deltas) == generation.text
    assert len(generation.ids) <= limit


@given(TEXTS, STOPS)
def test_nothing_that_may_begin_a_stop_string_is_shown(text, stops):
    """At every moment the text shown ends before any open beginning of a stop string."""
    generation = Generation(Request((0,), stop_strings=stops), BYTES, 10_000)
    shown = ""
    for at, token in enumerate(text.encode(), 1):
        shown += generation.push(token, 0.0).text
        if generation.finish_reason:
            return
        known = text.encode()[:at].decode(errors="ignore")
        for stop in stops:
            for length in range(1, len(stop)):
                if known.endswith(stop[:length]):
                    assert len(shown) <= len(known) - length


@given(st.lists(st.sampled_from(["a", "é", "€", "😀", "𝄞"]), max_size=20).map("".join))
def test_characters_are_never_split(text):
    _, deltas = run([*text.encode(), END])
    assert "".join(delta.text for delta in deltas) == text
    assert not any("\ufffd" in delta.text for delta in deltas)
    for delta in deltas[:-1]:
        assert len(delta.text) <= 1  # a byte completes one character at most


def test_bytes_that_are_no_character_are_replaced_once_they_are_hopeless():
    _, deltas = run([0xE2, 0x82, ord("x"), 0xF0, END])
    assert [delta.text for delta in deltas] == ["", "", "\ufffdx", "", "\ufffd"]


def test_stop_strings_across_the_tokens_of_a_real_vocabulary():
    text = "the end of the thing, the end of all things. " * 20
    tokenizer = train_bpe([text], 290, "digits", ("<|end|>",))
    generator = random.Random(0)
    for _ in range(100):
        at = generator.randrange(len(text) - 6)
        stop = text[at : at + generator.randint(1, 6)]
        generation, deltas = run(tokenizer.encode(text), (stop,), (), tokenizer=tokenizer)
        assert generation.text == "".join(delta.text for delta in deltas) == text[: text.find(stop)]
        # It ends with the token that completes the stop string, not later.
        before = tokenizer.decode(generation.ids[:-1])
        assert stop not in before
        assert stop in tokenizer.decode(generation.ids)


def test_the_stop_id_is_kept_in_the_ids_and_not_in_the_text():
    generation, _ = run([72, 105, END], stop_ids=(END,))
    completion = generation.completion()
    assert (completion.ids, completion.text, completion.logprobs) == ((72, 105, END), "Hi", (-1.0, -1.0, -1.0))


def test_the_order_of_pushing_and_asking():
    generation = Generation(Request((0,), stop_ids=(END,)), BYTES, 5)
    with pytest.raises(AssertionError, match="has not finished"):
        generation.completion()
    generation.push(END, 0.0)
    with pytest.raises(AssertionError, match="takes no more ids"):
        generation.push(65, 0.0)
