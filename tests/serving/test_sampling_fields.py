"""Beyond a plain answer: `n`, echo, log-probabilities, penalties, forms of the answer, tokens, keys, metrics."""

import json

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from scripted_engine import SPECIALS, ScriptedEngine
from test_api import HELLO, events, open_client

from groundup.inference.requests import Grammar
from groundup.serving.app import AppOptions, create_app
from groundup.serving.grammars import one_of
from groundup.tokenization.chat import Message, render_conversation


@pytest.fixture
def engine():
    return ScriptedEngine(script=lambda prompt: prompt[-3:].upper())


@pytest.fixture
def client(engine):
    with open_client(engine) as client:
        yield client


def complete(client, **body):
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_n_answers_have_seeds_of_their_own_and_share_the_prompt(client, engine):
    answer = complete(client, prompt=["abc", "def"], n=3, seed=7)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert [choice["text"] for choice in answer["choices"]] == ["ABC"] * 3 + ["DEF"] * 3
    assert [request.sampling.seed for request in engine.seen] == [7, 8, 9, 7, 8, 9]
    assert answer["usage"] == {"prompt_tokens": 8, "completion_tokens": 24, "total_tokens": 32}
    chat = client.post("/v1/chat/completions", json={"messages": HELLO, "n": 2, "stream": True})
    *chunks, done = events(chat)
    assert done == "[DONE]"
    first = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["delta"].get("role")]
    ends = [c["choices"][0]["index"] for c in chunks if c["choices"][0]["finish_reason"]]
    assert (first, ends) == ([0, 1], [0, 1])


def test_echo_and_logprobs_stand_over_prompt_and_answer(client, engine):
    engine.script = lambda _: "XY"
    answer = complete(client, prompt="xé", max_tokens=2, echo=True, logprobs=1)
    choice = answer["choices"][0]
    assert choice["text"] == "xéXY"
    found = choice["logprobs"]
    assert found["tokens"] == ["", "x", "bytes:\\xc3", "bytes:\\xa9", "X", "Y", ""]
    assert found["token_logprobs"] == [None, -1.2, -1.95, -1.69, -0.88, -0.89, -2.59]
    assert found["top_logprobs"][:2] == [None, {"A": 0, "x": -1.2}]
    assert found["text_offset"] == [0, 0, 1, 1, 2, 3, 4]


def test_echo_alone_scores_a_prompt(client, engine):
    answer = complete(client, prompt=[[65, 66, 67], [88]], max_tokens=0, echo=True, logprobs=2)
    assert [choice["text"] for choice in answer["choices"]] == ["ABC", "X"]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == [None, -0.66, -0.67]
    assert answer["choices"][1]["logprobs"]["token_logprobs"] == [None]
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}
    assert not engine.seen
    whole = [65] * engine.context_length
    assert complete(client, prompt=whole, max_tokens=0, echo=True)["choices"][0]["text"] == "A" * len(whole)
    assert (
        client.post("/v1/completions", json={"prompt": [*whole, 65], "max_tokens": 0, "echo": True}).status_code == 400
    )


def test_a_stream_has_the_same_logprobs_as_a_whole_answer(client):
    body = {"prompt": "abc", "echo": True, "logprobs": 2, "max_tokens": 9}
    whole = complete(client, **body)["choices"][0]
    *chunks, _ = events(client.post("/v1/completions", json=body | {"stream": True}))
    pieces = [chunk["choices"][0] for chunk in chunks]
    assert "".join(piece["text"] for piece in pieces) == whole["text"] == "abcABC"
    for name, values in whole["logprobs"].items():
        assert [value for piece in pieces if piece["logprobs"] for value in piece["logprobs"][name]] == values
    assert len(whole["logprobs"]["tokens"]) == 8  # the mark, abc, ABC, and the token that ended it


def test_logprobs_of_a_chat(client):
    body = {"messages": HELLO, "logprobs": True, "top_logprobs": 2}
    content = client.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == [*"LLO", ""]
    likely = [{"token": "A", "logprob": 0.0, "bytes": [65]}, {"token": "B", "logprob": -0.1, "bytes": [66]}]
    assert content[0] == {"token": "L", "logprob": -0.76, "bytes": [76], "top_logprobs": likely}
    *chunks, _ = events(client.post("/v1/chat/completions", json=body | {"stream": True}))
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for found in logprobs if found for entry in found["content"]] == content
    body["top_logprobs"] = None
    content = client.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]["content"]
    assert content[0]["top_logprobs"] == []


def test_penalties_and_filters_reach_the_engine(client, engine):
    dials = {"min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": -0.5, "top_k": -1}
    complete(client, prompt="x", **dials, logit_bias={"65": -100, "66": 5}, stop_token_ids=[10])
    request = engine.seen[-1]
    drawn = {name: getattr(request.sampling, name) for name in dials}
    assert drawn == dials | {"top_k": 0}
    assert request.sampling.logit_bias == ((65, -100.0), (66, 5.0))
    assert set(request.stop_ids) == {10, SPECIALS["<|end|>"], SPECIALS["<|endoftext|>"]}
    complete(client, prompt="x", ignore_eos=True, stop_token_ids=[10])
    assert engine.seen[-1].stop_ids == (10,)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json_schema", '{"type": "object"}')),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            Grammar("json_schema", json.dumps(SCHEMA)),
        ),
        ({"structured_outputs": {"json": SCHEMA}}, Grammar("json_schema", json.dumps(SCHEMA))),
        ({"structured_outputs": {"regex": "[0-9]+"}}, Grammar("regex", "[0-9]+")),
        ({"structured_outputs": {"choice": ["a", "b"]}}, one_of(["a", "b"])),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Grammar("lark", 'start: "a"')),
        ({"structured_outputs": {"json_object": True}}, Grammar("json_schema", '{"type": "object"}')),
        ({"guided_json": json.dumps(SCHEMA)}, Grammar("json_schema", json.dumps(SCHEMA))),
        ({"guided_regex": "a|b"}, Grammar("regex", "a|b")),
        ({"guided_choice": ['say "a"', "b\n"]}, one_of(['say "a"', "b\n"])),
        ({"guided_grammar": 'start: "a"'}, Grammar("lark", 'start: "a"')),
    ],
)
def test_forms_of_the_answer(client, engine, fields, grammar):
    assert client.post("/v1/chat/completions", json={"messages": HELLO} | fields).status_code == 200
    assert engine.seen[-1].grammar == grammar


def test_tokens_and_back(client, engine):
    found = client.post("/tokenize", json={"prompt": "ab", "return_token_strs": True}).json()
    assert found == {"count": 3, "max_model_len": 512, "tokens": [256, 97, 98], "token_strs": ["", "a", "b"]}
    plain = client.post("/tokenize", json={"prompt": "ab", "add_special_tokens": False}).json()
    assert (plain["tokens"], plain["token_strs"]) == ([97, 98], None)
    assert client.post("/tokenize", json={"messages": HELLO}).json()["tokens"] == [256, 257, *b"hello", 259, 258]
    assert client.post("/detokenize", json={"tokens": [104, 105]}).json() == {"prompt": "hi"}
    assert client.get("/tokenizer_info").json()["eos_token"] == "<|endoftext|>"


def test_the_chat_template_is_that_of_the_model(client):
    import jinja2

    template = jinja2.Environment().from_string(client.get("/tokenizer_info").json()["chat_template"])
    names = {number: name for name, number in SPECIALS.items()}
    for roles in (
        ("user",),
        ("system", "user"),
        ("user", "assistant", "user"),
        ("system", "user", "assistant", "user"),
    ):
        turns = [Message(role, f"text {number}") for number, role in enumerate(roles)]
        ids, _ = render_conversation(ScriptedEngine().tokenizer, turns)
        ours = "".join(names[token] if token in names else chr(token) for token in ids)
        theirs = template.render(messages=[vars(turn) for turn in turns], add_generation_prompt=False)
        assert theirs == ours


def test_keys():
    app = create_app({"tiny": ScriptedEngine()}, AppOptions(api_keys=("first", "second")))
    with TestClient(app) as client:

        def status(path, **headers):
            return client.get(path, headers=headers).status_code

        assert [status("/v1/models", authorization=f"Bearer {key}") for key in ("first", "second")] == [200, 200]
        for headers in (
            {},
            {"authorization": "Bearer third"},
            {"authorization": "first"},
            {"authorization": "Bearer "},
        ):
            refused = client.get("/v1/models", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            error = refused.json()["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert [status(path) for path in ("/metrics", "/openapi.json", "/v1/nothing", "/")] == [401] * 4
        assert status("/health") == 200


def test_pages_of_other_origins_may_ask_only_where_they_are_named():
    options = AppOptions(api_keys=("key",), cors_origins=("https://example.org",))
    with TestClient(create_app({"tiny": ScriptedEngine()}, options)) as client:
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for origin, allowed in (("https://example.org", "https://example.org"), ("https://other.org", None)):
            before = client.options("/v1/completions", headers={"origin": origin, **asks})
            assert before.headers.get("access-control-allow-origin") == allowed


def test_several_models_answer_by_name():
    engines = {name: ScriptedEngine(script=lambda _, name=name: name) for name in ("first", "second")}
    with TestClient(create_app(engines)) as client:
        for asked, answering in ((None, "first"), ("first", "first"), ("second", "second")):
            answer = complete(client, model=asked, prompt="x")
            assert (answer["model"], answer["choices"][0]["text"]) == (answering, answering)
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["first", "second"]
        assert client.get("/v1/models/second").json()["id"] == "second"
        assert "'first', 'second'" in client.post("/tokenize", json={"model": "third", "prompt": ""}).text


def test_metrics_count_what_was_asked(engine):
    engine.delay_seconds = 0.01
    with open_client(engine) as client:
        for _ in range(3):
            complete(client, prompt="abc")
        complete(client, prompt="abc", max_tokens=0, echo=True, logprobs=0)
        text = client.get("/metrics").text
    values = {
        (sample.name.removeprefix("groundup:"), sample.labels.get("finished_reason", sample.labels.get("le"))): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name, label=None):
        assert values[name, label].labels["model_name"] == "tiny"
        return values[name, label].value

    assert value("prompt_tokens_total") == 16
    assert value("generation_tokens_total") == 12
    assert [value("request_success_total", reason) for reason in ("stop", "length", "error")] == [3, 1, 0]
    assert value("time_to_first_token_seconds_count") == 3
    assert 0.03 <= value("time_to_first_token_seconds_sum") < 3
    assert value("inter_token_latency_seconds_count") == 9
    assert 0.09 <= value("inter_token_latency_seconds_sum") < 9
    assert value("e2e_request_latency_seconds_count") == 4
    assert [value(name) for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")] == [
        0,
        0,
        0,
    ]
