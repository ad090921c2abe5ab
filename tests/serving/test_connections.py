"""True connections: the `openai` client, many clients at once, clients that go away."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from live_server import MODEL, live, wait_until
from scripted_engine import ScriptedEngine

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def url():
    with live(ScriptedEngine(script=lambda prompt: f"You said {prompt[-8:]}.")) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_client_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=50)
    assert answer.choices[0].message.content == "You said hello."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_openai_client_stream(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "You said hello."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == len("You said hello.") + 1


def test_openai_client_completions_and_models(client):
    answer = client.completions.create(model=MODEL, prompt=["one", "two"], max_tokens=50)
    assert [choice.text for choice in answer.choices] == ["You said one.", "You said two."]
    chunks = list(client.completions.create(model=MODEL, prompt="x", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "You said x."
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_openai_client_understands_the_errors(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="other", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="x" * 600)
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "prompt")


def test_text_arrives_while_the_model_still_writes():
    engine = ScriptedEngine(script=lambda _: "abcdef", gate=threading.Semaphore(3))
    with live(engine) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = client.completions.create(model=MODEL, prompt="x", stream=True)
        assert [next(stream).choices[0].text for _ in range(3)] == ["a", "b", "c"]
        assert engine.produced == 3
        engine.gate.release(100)
        assert "".join(chunk.choices[0].text for chunk in stream) == "def"


def test_eight_clients_at_once_each_get_their_own_answer():
    engine = ScriptedEngine(delay_seconds=0.001)
    words = [f"client{number}" for number in range(8)]
    with live(engine) as url:

        def ask(word):
            body = {"prompt": word, "max_tokens": 50}
            if word[-1] in "0246":
                return httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["text"]
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            with client:
                stream = client.completions.create(model=MODEL, **body, stream=True)
                return "".join(chunk.choices[0].text for chunk in stream)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, words)) == [word.upper() for word in words]
    assert engine.most_running > 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_generation(stream):
    engine = ScriptedEngine(script=lambda _: "x" * 400, delay_seconds=0.01)
    body = {"prompt": "x", "max_tokens": 400, "stream": stream}
    with live(engine) as url:
        with httpx.Client() as leaving:
            if stream:
                with leaving.stream("POST", f"{url}/v1/completions", json=body) as response:
                    next(response.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    leaving.post(f"{url}/v1/completions", json=body, timeout=0.2)
        wait_until(engine.closed.is_set)
        assert engine.produced < 100  # about 20 have passed before the client leaves
        engine.script = lambda _: "next"
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "y"}).json()
        assert answer["choices"][0]["text"] == "next"


def test_a_full_line_is_429_and_frees_when_a_waiting_client_leaves():
    engine = ScriptedEngine(script=lambda _: "x", gate=threading.Semaphore(0), max_running=1)
    with live(engine, max_waiting=1) as url, ThreadPoolExecutor(2) as pool:
        post = f"{url}/v1/completions"
        first = pool.submit(httpx.post, post, json={"prompt": "a"})
        wait_until(lambda: engine.seen)
        with pytest.raises(httpx.ReadTimeout):  # waits in the line, then gives up
            httpx.post(post, json={"prompt": "b"}, timeout=0.2)
        wait_until(lambda: httpx.get(f"{url}/health").json()["waiting"] == 0)
        second = pool.submit(httpx.post, post, json={"prompt": "c"})
        wait_until(lambda: httpx.get(f"{url}/health").json()["waiting"] == 1)
        refused = httpx.post(post, json={"prompt": "d"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        engine.gate.release(10)
        assert [first.result().status_code, second.result().status_code] == [200, 200]
    assert [bytes(i for i in r.prompt if i < 256) for r in engine.seen] == [b"a", b"c"]
