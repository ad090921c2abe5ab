"""The endpoints against the OpenAI reference: bodies, streams, limits and errors, on a scripted engine."""

import json
import logging

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_engine import SPECIALS, ByteTokenizer, ScriptedEngine

from groundup.serving.app import AppOptions, create_app
from groundup.serving.worker import GenerationWorker

HELLO = [{"role": "user", "content": "hello"}]


def open_client(engine, **options):
    return TestClient(create_app({"tiny": engine}, AppOptions(**options)), raise_server_exceptions=False)


@pytest.fixture
def engine():
    return ScriptedEngine(script=lambda prompt: "<" + prompt[-5:] + ">")


@pytest.fixture
def client(engine):
    with open_client(engine) as client:
        yield client


def events(response):
    """The JSON objects of a server-sent stream, checking the framing; `[DONE]` stays text."""
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    frames = response.text.removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    data = [frame.removeprefix("data: ") for frame in frames]
    return [json.loads(item) if item != "[DONE]" else item for item in data]


def test_chat_in_one_piece(client, engine):
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO}).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny"
    assert answer["id"].startswith("chatcmpl-")
    message = {"role": "assistant", "content": "<hello>"}
    assert answer["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    prompt = (256, 257, *b"hello", 259, 258)
    assert engine.seen[0].prompt == prompt
    assert answer["usage"] == {"prompt_tokens": len(prompt), "completion_tokens": 8, "total_tokens": len(prompt) + 8}


def test_chat_as_a_stream(client):
    body = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = events(client.post("/v1/chat/completions", json=body))
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["content"] for delta in deltas[1:-1]] == list("<hello>")
    assert deltas[-1] == {}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 8


def test_a_stream_has_no_usage_unless_asked(client):
    *chunks, _ = events(client.post("/v1/chat/completions", json={"messages": HELLO, "stream": True}))
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_completion_of_text_of_ids_and_of_several(client, engine):
    def texts(prompt):
        answer = client.post("/v1/completions", json={"prompt": prompt}).json()
        assert answer["object"] == "text_completion"
        assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
        return [choice["text"] for choice in answer["choices"]]

    assert texts("a text") == ["< text>"]
    assert engine.seen[-1].prompt == (256, *b"a text")
    assert texts([65, 66, 67]) == ["<ABC>"]
    assert engine.seen[-1].prompt == (65, 66, 67)
    assert texts(["one", "two"]) == ["<one>", "<two>"]
    assert texts([[65], [66]]) == ["<A>", "<B>"]
    assert texts("") == ["<>"]


def test_streamed_completions_of_several_prompts_carry_their_index(client):
    *chunks, done = events(client.post("/v1/completions", json={"prompt": ["one", "two"], "stream": True}))
    assert done == "[DONE]"
    pieces = [(chunk["choices"][0]["index"], chunk["choices"][0]["text"]) for chunk in chunks]
    assert "".join(text for index, text in pieces if index == 0) == "<one>"
    assert "".join(text for index, text in pieces if index == 1) == "<two>"
    assert [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]] == [0, 1]  # side by side


def test_fields_reach_the_engine(client, engine):
    dials = {"temperature": 0, "top_p": 0.5, "top_k": 7, "seed": 11, "stop": ["\n", "", "END"], "max_tokens": 9}
    client.post("/v1/chat/completions", json={"messages": HELLO, **dials, "max_completion_tokens": 5})
    request = engine.seen[-1]
    assert request.stop_strings == ("\n", "END")
    assert set(request.stop_ids) == {SPECIALS["<|end|>"], SPECIALS["<|endoftext|>"]}
    sampling = request.sampling
    drawn = (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed, sampling.max_tokens)
    assert drawn == (0, 0.5, 7, 11, 5)


def test_defaults_are_the_apis(client, engine):
    nulls = dict.fromkeys(["temperature", "top_p", "seed", "stop", "n", "stream", "max_tokens", "model"])
    for body in ({}, nulls):
        client.post("/v1/chat/completions", json={"messages": HELLO, **body})
        sampling = engine.seen[-1].sampling
        assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1.0, 1.0, 0)
        assert sampling.max_tokens == engine.context_length - len(engine.seen[-1].prompt)
    client.post("/v1/completions", json={"prompt": "x"})
    assert engine.seen[-1].sampling.max_tokens == 16
    assert len({request.sampling.seed for request in engine.seen}) == 3


def test_length_is_cut_to_the_room_in_the_context(client, engine):
    engine.script = lambda _: "x" * 1000
    body = {"prompt": [65] * 500, "max_tokens": 4096}
    choice = client.post("/v1/completions", json=body).json()["choices"][0]
    assert (len(choice["text"]), choice["finish_reason"]) == (12, "length")


def test_system_developer_and_part_contents(client, engine):
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be kind."}, {"role": "user", "content": parts}]
        assert client.post("/v1/chat/completions", json={"messages": messages}).status_code == 200
        assert engine.tokenizer.decode(engine.seen[-1].prompt) == "Be kind.\n\nhello"


def test_special_tokens_in_text_stay_text(client, engine):
    client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "<|end|><|assistant|>"}]})
    client.post("/v1/completions", json={"prompt": "<|end|>"})
    assert [[i for i in request.prompt if i > 255] for request in engine.seen] == [[256, 257, 259, 258], [256]]


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        ("chat/completions", {}, "messages", "required"),
        ("chat/completions", {"messages": []}, "messages", "at least 1"),
        ("chat/completions", {"messages": "hello"}, "messages", "list"),
        ("chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, "messages", "'user'"),
        ("chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages", "string"),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "text"),
        ("chat/completions", {"messages": [{"role": "system", "content": "x"}]}, "messages", "followed"),
        ("chat/completions", {"messages": HELLO, "temperature": "hot"}, "temperature", "number"),
        ("chat/completions", {"messages": HELLO, "temperature": -1}, "temperature", "between"),
        ("chat/completions", {"messages": HELLO, "top_p": 0}, "top_p", "above 0"),
        ("chat/completions", {"messages": HELLO, "top_k": -2}, "top_k", "0 (off)"),
        ("chat/completions", {"messages": HELLO, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ("chat/completions", {"messages": HELLO, "n": 129}, "n", "less than or equal to 128"),
        ("chat/completions", {"messages": HELLO, "n": 0}, "n", "greater than or equal to 1"),
        ("chat/completions", {"messages": HELLO, "min_p": 2}, "min_p", "between"),
        ("chat/completions", {"messages": HELLO, "repetition_penalty": 0}, "repetition_penalty", "above 0"),
        ("chat/completions", {"messages": HELLO, "presence_penalty": 1e9}, "presence_penalty", "between"),
        ("chat/completions", {"messages": HELLO, "logit_bias": {"x": 1}}, "logit_bias", "no token id"),
        ("chat/completions", {"messages": HELLO, "logit_bias": {"9999": 1}}, "logit_bias", "outside the vocabulary"),
        ("chat/completions", {"messages": HELLO, "logit_bias": {"65": 1e9}}, "logit_bias", "between"),
        ("chat/completions", {"messages": HELLO, "stop_token_ids": [999]}, "stop_token_ids", "outside the vocabulary"),
        ("chat/completions", {"messages": HELLO, "stop": 5}, "stop", "list of strings"),
        ("chat/completions", {"messages": HELLO, "stop": ["x"] * 17}, "stop", "at most 16"),
        ("chat/completions", {"messages": HELLO, "stream": "yes"}, "stream", "boolean"),
        ("chat/completions", {"messages": HELLO, "seed": 2**63}, "seed", "less than"),
        ("chat/completions", {"messages": HELLO, "logprobs": 1}, "logprobs", "boolean"),
        ("chat/completions", {"messages": HELLO, "top_logprobs": 2}, None, "logprobs to be true"),
        ("chat/completions", {"messages": HELLO, "logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ("chat/completions", {"messages": HELLO, "tools": [{"type": "function"}]}, None, "tools is not served"),
        ("chat/completions", {"messages": HELLO, "best_of": 2}, None, "best_of is not served"),
        ("chat/completions", {"messages": HELLO, "response_format": {"type": "xml"}}, "response_format", "json_object"),
        (
            "chat/completions",
            {"messages": HELLO, "response_format": {"type": "json_schema"}},
            "response_format",
            "needs",
        ),
        ("chat/completions", {"messages": HELLO, "guided_regex": "[0-"}, "guided_regex", "unclosed"),
        ("chat/completions", {"messages": HELLO, "guided_json": {"type": 5}}, "guided_json", "type"),
        ("chat/completions", {"messages": HELLO, "guided_json": "not json"}, "guided_json", "cannot be followed"),
        ("chat/completions", {"messages": HELLO, "guided_choice": []}, "guided_choice", "at least 1"),
        ("completions", {"prompt": "a", "guided_regex": "a", "guided_choice": ["b"]}, None, "both given"),
        (
            "completions",
            {"prompt": "a", "structured_outputs": {"regex": "a", "choice": ["b"]}},
            "structured_outputs",
            "m",
        ),
        ("completions", {}, "prompt", "required"),
        ("completions", {"prompt": []}, "prompt", "token ids"),
        ("completions", {"prompt": [[]]}, "prompt", "token ids"),
        ("completions", {"prompt": ["a", 5]}, "prompt", "token ids"),
        ("completions", {"prompt": [True]}, "prompt", "token ids"),
        ("completions", {"prompt": [260]}, "prompt", "outside the vocabulary"),
        ("completions", {"prompt": [-1]}, "prompt", "outside the vocabulary"),
        ("completions", {"prompt": ["a"] * 65}, "prompt", "at most 64"),
        ("completions", {"prompt": "a", "max_tokens": 0}, None, "needs echo"),
        ("completions", {"prompt": "a", "max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ("completions", {"prompt": "a", "logprobs": 21}, "logprobs", "less than or equal to 20"),
        ("completions", {"prompt": ["a"] * 3, "n": 50}, None, "150 choices"),
        ("tokenize", {}, None, "one of prompt and messages"),
        ("detokenize", {"tokens": [260]}, "tokens", "outside the vocabulary"),
        ("completions", {"prompt": "a", "suffix": "b"}, None, "suffix is not served"),
        ("completions", {"prompt": "a", "best_of": 3}, None, "best_of is not served"),
        ("completions", {"prompt": "a", "use_beam_search": True}, None, "use_beam_search is not served"),
    ],
)
def test_wrong_bodies_are_named(client, engine, path, body, param, words):
    response = client.post(f"/v1/{path}" if "completions" in path else f"/{path}", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert not engine.seen


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'{"messages": [', "application/json", "not valid JSON"),
        (b"[]", "application/json", "JSON object"),
        (b"", "application/json", "JSON object"),
        (b"\xff\xfe", "application/json", "body"),
        (b"[" * 100_000, "application/json", "body"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "text/plain", "Content-Type: application/json"),
    ],
)
def test_bodies_that_are_no_json_object(client, content, kind, words):
    response = client.post("/v1/chat/completions", content=content, headers={"content-type": kind})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
NAMES = """messages prompt temperature top_p top_k min_p seed stop stream stream_options n max_tokens tools user echo
logprobs top_logprobs logit_bias response_format structured_outputs guided_json guided_regex guided_choice best_of
presence_penalty stop_token_ids ignore_eos"""


@settings(max_examples=40, deadline=None)
@given(extra=st.dictionaries(st.sampled_from(NAMES.split()) | st.text(max_size=5), JSON, max_size=3))
def test_no_body_makes_the_server_fail(extra):
    with open_client(ScriptedEngine()) as client:
        for path, body in (("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "x"})):
            content = json.dumps(body | extra)  # NaN and Infinity too, which no client should send
            response = client.post(f"/v1/{path}", content=content, headers={"content-type": "application/json"})
            assert response.status_code in (200, 400), response.text


def test_unknown_fields_are_ignored(client):
    body = {
        "messages": HELLO,
        "frequency_penalty": 0.5,
        "user": "me",
        "metadata": {"a": 1},
        "wrong": [1],
        "best_of": 1,
        "suffix": None,
        "tools": [],
    }
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_a_prompt_that_fills_the_context(client, engine):
    response = client.post("/v1/completions", json={"prompt": [65] * engine.context_length})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    long = [{"role": "user", "content": "x" * 600}]
    assert client.post("/v1/chat/completions", json={"messages": long}).json()["error"]["param"] == "messages"
    assert client.post("/v1/completions", json={"prompt": [65] * (engine.context_length - 1)}).status_code == 200


def test_chat_without_chat_tokens_points_at_the_tokenizer():
    tokenizer = ByteTokenizer()
    tokenizer.special_tokens = {}
    with open_client(ScriptedEngine(tokenizer=tokenizer)) as client:
        response = client.post("/v1/chat/completions", json={"messages": HELLO})
        assert response.status_code == 400
        assert "<|user|>" in response.json()["error"]["message"]
        assert client.post("/v1/completions", json={"prompt": "x"}).json()["choices"][0]["text"] == "X"


def test_other_models_and_places_are_not_found(client):
    for response in (
        client.post("/v1/chat/completions", json={"model": "gpt-9", "messages": HELLO}),
        client.post("/v1/completions", json={"model": "gpt-9", "prompt": "x"}),
        client.get("/v1/models/gpt-9"),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"
        assert "'tiny'" in response.json()["error"]["message"]
    assert "/openapi.json" in client.get("/v1/nothing").json()["error"]["message"]
    assert client.get("/v1/completions").status_code == 405


def test_bodies_above_the_cap(engine):
    with open_client(engine, max_body_bytes=2000) as client:
        body = json.dumps({"prompt": "x" * 3000}).encode()
        headers = {"content-type": "application/json"}
        announced = client.post("/v1/completions", content=body, headers=headers)
        pieces = client.post("/v1/completions", content=iter([body[:1500], body[1500:]]), headers=headers)
        for response in (announced, pieces):
            assert response.status_code == 413
            assert "2000 bytes" in response.json()["error"]["message"]
        assert client.post("/v1/completions", json={"prompt": "x" * 400}).status_code == 200


@pytest.fixture
def log(caplog):
    """What serving logs, whether or not the command line has taken groundup's logger over."""
    logger = logging.getLogger("groundup.serving")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_failing_engine_is_a_500_and_ends_a_stream_with_an_error(engine, log):
    def fail(_):
        raise ZeroDivisionError("of the engine")

    engine.script = fail
    with open_client(engine) as client:
        response = client.post("/v1/chat/completions", json={"messages": HELLO})
        assert response.status_code == 500
        assert response.json()["error"]["type"] == "server_error"
        *_, last = events(client.post("/v1/chat/completions", json={"messages": HELLO, "stream": True}))
        assert last["error"]["type"] == "server_error"
        assert "of the engine" in log.text
        engine.script = lambda _: "fine again"
        assert client.post("/v1/chat/completions", json={"messages": HELLO}).status_code == 200


def test_information(client, engine):
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tiny"]
    assert client.get("/v1/models/tiny").json()["context_length"] == engine.context_length
    idle = {"running": 0, "waiting": 0}
    assert client.get("/health").json() == {"status": "ok", **idle, "models": {"tiny": idle}}
    assert client.get("/").json()["models"] == ["tiny"]


def test_home_leads_to_the_page_once_there_is_one(engine):
    app = create_app({"tiny": engine})
    app.state.home = "/somewhere"
    response = TestClient(app).get("/", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, "/somewhere")


def test_no_other_site_may_read_answers(client):
    response = client.post("/v1/completions", json={"prompt": "x"}, headers={"origin": "https://example.org"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_openapi_document(client):
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health"} <= set(document["paths"])
    references = set()

    def walk(value):
        if isinstance(value, dict):
            references.update([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references <= schemas
    assert "#/components/schemas/ErrorBody" in references
    identifiers = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(identifiers) == len(set(identifiers))


def test_a_stopping_server_refuses_new_requests(engine):
    app = create_app({"tiny": engine})
    worker: GenerationWorker = app.state.workers["tiny"]
    worker.close()
    client = TestClient(app)
    response = client.post("/v1/completions", json={"prompt": "x"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "stopping" in response.json()["error"]["message"]
    assert (client.get("/health").status_code, client.get("/health").json()["status"]) == (503, "stopping")
