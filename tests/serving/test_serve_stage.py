"""The stage and the verb: ports, names, start and stop of the whole program, and a real model behind it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from groundup.cli.main import main
from groundup.core.errors import ConfigError, OutputError
from groundup.stages.serve import ServeConfig, model_name, open_port
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import SPECIAL_TOKENS

SCRIPTED_SERVER = Path(__file__).parents[1] / "web" / "chat_server.py"
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
        ({"max_waiting": 0}, "max_waiting is 0"),
        ({"max_body_bytes": 10}, "max_body_bytes is 10"),
    ],
)
def test_wrong_settings(wrong, words):
    with pytest.raises(ConfigError, match=words):
        ServeConfig(**wrong)


def test_names_for_clients():
    assert model_name(Path("runs/quickstart")) == "quickstart"
    assert model_name(Path("runs/q/sft/checkpoints/step_00000400")) == "sft-step_00000400"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_stream_ends_the_server_cleanly(number):
    command = [sys.executable, str(SCRIPTED_SERVER), "x" * 400, "0.02"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as server:
        try:
            url = server.stdout.readline().strip().removesuffix("/studio/chat")
            body = {"prompt": "x", "max_tokens": 400, "stream": True}
            with httpx.stream("POST", f"{url}/v1/completions", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                start = time.monotonic()
                server.send_signal(number)
                assert "data: [DONE]" not in list(lines)
            output, errors = server.communicate(timeout=10)
        finally:
            server.kill()
    assert time.monotonic() - start < 5
    assert (server.returncode, output, errors) == (0, "ended\n", "")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny decoder with random weights and a tokenizer of bytes, as training would save them."""
    from groundup.checkpoint.store import write_checkpoint
    from groundup.models.decoder import Decoder
    from groundup.models.initialization import initialize
    from groundup.models.presets import llama

    folder = tmp_path_factory.mktemp("tiny")
    specials = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    BytePairTokenizer([], special_tokens=specials).save(folder / "tokenizer")
    shape = {"width": 16, "depth": 1, "num_heads": 2, "num_kv_heads": 2, "mlp_width": 32}
    config = llama(vocab_size=260, context_length=64, **shape)
    decoder = Decoder(config)
    initialize(decoder, seed=0)
    return write_checkpoint(folder / "checkpoints", 1, config, decoder.state_dict(), {}, folder / "tokenizer")


def test_groundup_serve_with_a_real_model(checkpoint):
    command = [sys.executable, "-m", "groundup.cli.main", "serve", str(checkpoint), "--port", "0", "--name", "tiny"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as server:
        try:
            said = [server.stdout.readline() for _ in range(9)]
            url = next(line.split()[-1] for line in said if line.strip().startswith("API")).removesuffix("/v1")
            body = {"model": "tiny", "seed": 3, "max_tokens": 12}
            chat = body | {"messages": [{"role": "user", "content": "Hi"}]}
            answers = [httpx.post(f"{url}/v1/chat/completions", json=chat, timeout=30).json() for _ in range(2)]
            stream = httpx.post(f"{url}/v1/chat/completions", json=chat | {"stream": True}).text
            text = httpx.post(f"{url}/v1/completions", json=body | {"prompt": "Fellow"}).json()
            page = httpx.get(url, follow_redirects=True)
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=10)
        finally:
            server.kill()
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
