"""The stage and the verb: ports, names, start and stop of the whole program, and a real model behind it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from groundup.cli.main import main
from groundup.core.errors import ConfigError, OutputError
from groundup.serving.app import AppOptions
from groundup.stages.serve import ServeConfig, model_names, open_port
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS

SCRIPTED_SERVER = Path(__file__).parents[1] / "web" / "chat_server.py"
KILLABLE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from scripted_engine import ScriptedEngine
from groundup.stages.serve import ServeConfig, open_port, serve_engines
config = ServeConfig(port=int(sys.argv[1]))
with open_port(config.host, config.port) as listener:
    engine = ScriptedEngine(script=lambda _: "x" * 100, delay_seconds=0.05)
    serve_engines({{"scripted": engine}}, listener, config, lambda url, *_: print(url, flush=True))
"""
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | {
    "OMP_NUM_THREADS": "1"
}


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_taken_port_is_one_sentence(taken):
    with pytest.raises(OutputError, match=f"Port {taken} on 127.0.0.1 is taken.*--port 0"):
        open_port("127.0.0.1", taken)


def test_the_verb_says_so_before_it_looks_at_the_model(taken, capsys, tmp_path):
    assert main(["serve", str(tmp_path), "--port", str(taken)]) == 1
    error = capsys.readouterr().err
    assert f"Port {taken} on 127.0.0.1 is taken" in error
    assert "Traceback" not in error


def test_hosts_that_cannot_be_had():
    with pytest.raises(OutputError, match="no such address"):
        open_port("no.such.host.invalid", 0)
    with pytest.raises(OutputError, match=r"Cannot listen on 192\.0\.2\.1 port 0"):
        open_port("192.0.2.1", 0)


def test_port_zero_is_any_free_port():
    with open_port("127.0.0.1", 0) as first, open_port("127.0.0.1", 0) as second:
        assert 0 < first.getsockname()[1] != second.getsockname()[1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"port": -1}, "port is -1"),
        ({"host": ""}, "host is empty"),
        ({"finish_seconds": -1}, "finish_seconds is -1"),
        ({"threads": -1}, "threads is -1"),
        ({"app": AppOptions(max_waiting=0)}, "max_waiting is 0"),
        ({"app": AppOptions(max_body_bytes=10)}, "max_body_bytes is 10"),
        ({"app": AppOptions(api_keys=("",))}, "API key is empty"),
        ({"app": AppOptions(cors_origins=("example.org",))}, "'example.org' is none"),
    ],
)
def test_wrong_settings(wrong, words):
    with pytest.raises(ConfigError, match=words):
        ServeConfig(**wrong)


def test_names_for_clients():
    paths = [Path("runs/quickstart"), Path("runs/q/sft/checkpoints/step_00000400")]
    assert model_names(paths) == ["quickstart", "sft-step_00000400"]
    assert model_names(paths, ["a", "b"]) == ["a", "b"]
    for wrong, names, words in (
        (paths, ["a"], "2 models and 1 names"),
        (paths, ["a", "a"], "are called 'a'"),
        ([paths[0], Path("other/quickstart")], [], "are called 'quickstart'"),
        ([], [], "no model to serve"),
    ):
        with pytest.raises(ConfigError, match=words):
            model_names(wrong, names)


def stopped_while_streaming(seconds_to_finish, signals, tokens):
    """Send signals to a server in the middle of a stream of so many tokens, 20 ms each: what it still sent, how long it
    lived, and how it ended."""
    command = [sys.executable, str(SCRIPTED_SERVER), "x" * tokens, "0.02", str(seconds_to_finish)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as server:
        try:
            url = server.stdout.readline().strip().removesuffix("/studio/chat")
            body = {"prompt": "x", "max_tokens": tokens, "stream": True}
            with httpx.stream("POST", f"{url}/v1/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                start = time.monotonic()
                for number in signals:
                    server.send_signal(number)
                    time.sleep(0.3)
                rest = [line for line in lines if line]
            output, errors = server.communicate(timeout=20)
        finally:
            server.kill()
    assert (server.returncode, output, errors) == (0, "ended\n", "")
    return rest, time.monotonic() - start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_answers_finish_for_a_while(number):
    rest, _ = stopped_while_streaming(20, [number], tokens=60)
    assert rest[-1] == "data: [DONE]"
    assert "".join(json.loads(line[6:])["choices"][0]["text"] for line in rest[:-1]) == "x" * 59


@pytest.mark.parametrize(("seconds_to_finish", "signals"), [(0.2, [signal.SIGTERM]), (60, [signal.SIGINT] * 2)])
def test_answers_that_take_too_long_are_cut_and_so_they_are_by_a_second_signal(seconds_to_finish, signals):
    rest, seconds = stopped_while_streaming(seconds_to_finish, signals, tokens=400)
    assert "data: [DONE]" not in rest
    assert json.loads(rest[-1][6:])["error"]["type"] == "server_error"
    assert seconds < 6


def test_a_server_that_was_killed_starts_again_on_the_same_port():
    command = [sys.executable, "-c", KILLABLE]
    pipes = {"stdout": subprocess.PIPE, "text": True}
    port = "0"
    for _ in range(2):
        with subprocess.Popen([*command, port], env=ENVIRONMENT, **pipes) as server:
            url = server.stdout.readline().strip()
            assert port in ("0", url.rpartition(":")[2])
            port = url.rpartition(":")[2]
            body = {"prompt": "x", "stream": True}
            with httpx.stream("POST", f"{url}/v1/completions", json=body) as response:
                assert next(response.iter_lines()).startswith("data: ")
                server.send_signal(signal.SIGKILL)
            assert server.wait(timeout=10) == -signal.SIGKILL


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def tiny_checkpoint(folder, width=16, **changes):
    """A tiny decoder with random weights and a tokenizer of bytes, as training would save them."""
    from groundup.checkpoint.store import write_checkpoint
    from groundup.models.decoder import Decoder
    from groundup.models.initialization import initialize
    from groundup.models.presets import llama

    specials = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    BytePairTokenizer([], special_tokens=specials).save(folder / "tokenizer")
    shape = {"width": width, "depth": 1, "num_heads": 2, "num_kv_heads": 2, "mlp_width": 32}
    config = replace(llama(vocab_size=260, context_length=64, **shape), **changes)
    decoder = Decoder(config)
    initialize(decoder, seed=0)
    return write_checkpoint(folder / "checkpoints", 1, config, decoder.state_dict(), {}, folder / "tokenizer")


@contextmanager
def serving(*words):
    """`groundup serve` with a name for each model, as a process, and its URL."""
    command = [sys.executable, "-m", "groundup.cli.main", "serve", *map(str, words), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as server:
        try:
            url = next(line.split()[-1] for line in server.stdout if line.strip().startswith("API"))
            yield server, url.removesuffix("/v1")
        finally:
            server.kill()


@pytest.mark.slow
def test_two_compiled_models_answer_side_by_side_as_they_do_alone(tmp_path):
    paths = tiny_checkpoint(tmp_path / "a"), tiny_checkpoint(tmp_path / "b", width=32, ngram_lengths=(2, 3))
    with serving(*paths, "--name", "a", "b", "--compile") as (server, url):

        def texts(model, count=5):  # one after the other: a batch of two may round differently
            body = {"model": model, "prompt": "Fellow", "max_tokens": 40, "seed": 3, "ignore_eos": True}
            answers = [httpx.post(f"{url}/v1/completions", json=body, timeout=120) for _ in range(count)]
            return [answer.json()["choices"][0]["text"] for answer in answers]

        alone = [texts("a", 1), texts("b", 1)]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(texts, "ab")) == [5 * one for one in alone]
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=10)
    assert alone[0] != alone[1]
    assert "eager" not in errors
    assert "Traceback" not in errors


def test_groundup_serve_with_a_real_model(checkpoint):
    with serving(checkpoint, "--name", "tiny") as (server, url):
        body = {"model": "tiny", "seed": 3, "max_tokens": 12}
        chat = body | {"messages": [{"role": "user", "content": "Hi"}]}
        answers = [httpx.post(f"{url}/v1/chat/completions", json=chat, timeout=30).json() for _ in range(2)]
        stream = httpx.post(f"{url}/v1/chat/completions", json=chat | {"stream": True}).text
        text = httpx.post(f"{url}/v1/completions", json=body | {"prompt": "Fellow"}).json()
        page = httpx.get(url, follow_redirects=True)
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=10)
    first, second = answers
    assert first["choices"] == second["choices"]  # the same seed draws the same tokens
    assert first["usage"]["prompt_tokens"] == 6
    assert 1 <= first["usage"]["completion_tokens"] <= 12
    chunks = [json.loads(line[6:]) for line in stream.split("\n\n")[:-2]]
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert streamed == first["choices"][0]["message"]["content"]
    assert text["usage"]["prompt_tokens"] == 7
    assert page.status_code == 200
    assert str(page.url).endswith("/studio/chat")
    assert server.returncode == 0
    assert "Traceback" not in errors
    assert "stopped." in errors
