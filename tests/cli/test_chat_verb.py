"""`groundup chat` against a server: a conversation, /new, a system prompt, options, Ctrl+C, faults."""

import io
import sys
from pathlib import Path

import pytest

from groundup.cli import chat
from groundup.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from live_server import live
from scripted_engine import ScriptedEngine


@pytest.fixture
def engine():
    return ScriptedEngine(script=lambda prompt: f"[{prompt}]")


@pytest.fixture
def url(engine):
    with live(engine, api_keys=("secret",)) as url:
        yield url


@pytest.fixture
def say(url, monkeypatch):
    monkeypatch.setenv("GROUNDUP_API_KEY", "secret")

    def say(*lines, options=()):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return main(["chat", url, *options])

    return say


def test_a_conversation_and_a_new_one(say, capsys):
    assert say("one", "two", "/new", "three") == 0
    assert capsys.readouterr().out == "[one]\n[one[one]two]\n[three]\n"


def test_the_system_prompt_stays_and_options_reach_the_model(say, engine, capsys):
    dials = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5, "max_tokens": 200}
    words = [word for name, value in dials.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert say("one", "/new", "two", options=["--system", "Be kind.", *words]) == 0
    assert capsys.readouterr().out == "[Be kind.\n\none]\n[Be kind.\n\ntwo]\n"
    assert {name: getattr(engine.seen[0].sampling, name) for name in dials} == dials


def test_ctrl_c_stops_only_the_answer(say, monkeypatch, capsys):
    pieces = chat.piece

    def interrupted(event):
        text = pieces(event)
        if text == "!":
            raise KeyboardInterrupt
        return text

    monkeypatch.setattr(chat, "piece", interrupted)
    assert say("stop!here", "/new", "next") == 0
    shown = capsys.readouterr()
    assert shown.out == "[stop\n[next]\n"
    assert "[stopped]" in shown.err


def test_faults_are_one_sentence(say, monkeypatch, capsys):
    assert say("x" * 600) == 1
    assert "context is 512" in capsys.readouterr().err
    monkeypatch.setenv("GROUNDUP_API_KEY", "wrong")
    assert say("hello") == 1
    assert "401" in capsys.readouterr().err
    assert main(["chat", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err
