"""A model with random weights behind a true connection: lm-eval, the openai client, curl, and what fuzzing finds."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import openai
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, settings
from live_server import MODEL, live
from scripted_engine import ScriptedEngine

from groundup.inference.requests import Request, Sampling
from groundup.serving.app import create_app
from groundup.tokenization.chat import END_OF_TEXT

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import full_logits, tiny_engine

CONTEXT = 96


@pytest.fixture(scope="module")
def engine():
    return tiny_engine(context_length=CONTEXT, sharpness=10.0)


@pytest.fixture(scope="module")
def url(engine):
    with live(engine) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_lm_eval_gets_the_likelihoods_of_the_engine(url):
    """By ids and with the server's own tokenizer, in batches; texts that do not fit are cut on the left by both."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    pairs = [
        ("The state of our", " Union"),
        ("", "No context at all"),
        ("Ünïcode 💡 and", " — more"),
        ("a", "b"),
        ("long " * 29 + "long", " enough"),
        *((f"Question {number}: how many", f" are {number * number}?") for number in range(8)),
    ]
    options = {"tokenizer_backend": "remote", "batch_size": 4, "max_length": CONTEXT, "max_retries": 1}
    model = LocalCompletionsAPI(base_url=f"{url}/v1/completions", model=MODEL, **options)
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    found = model.loglikelihood(requests, disable_tqdm=True)
    direct = tiny_engine(context_length=CONTEXT, sharpness=10.0)
    mark = direct.tokenizer.special_tokens[END_OF_TEXT]
    for (context, continuation), (total, greedy) in zip(pairs, found, strict=True):
        before, after = direct.tokenizer.encode(context) or [mark], direct.tokenizer.encode(continuation)
        ids = [*before, *after][-(CONTEXT - 1) :]  # lm-eval keeps room for the token that it asks for and throws away
        expected, is_greedy = direct.score([(ids[: -len(after)], after)])[0]
        assert total == pytest.approx(expected, abs=1e-4)
        assert greedy == is_greedy


def test_echoed_logprobs_are_those_of_a_forward_pass(client, engine):
    ids = [256, *b"Fellow citizens, \xc3\xa9"]
    answer = client.completions.create(model=MODEL, prompt=ids, max_tokens=0, echo=True, logprobs=3)
    found = answer.choices[0].logprobs
    expected = torch.log_softmax(full_logits(engine, ids).float(), dim=-1)
    own = [expected[place, token].item() for place, token in enumerate(ids[1:])]
    assert found.token_logprobs[0] is None
    assert found.token_logprobs[1:] == pytest.approx(own, abs=1e-5)
    for place, best in enumerate(found.top_logprobs[1:]):
        likely = expected[place].topk(3).values.tolist()
        assert sorted(best.values(), reverse=True)[:3] == pytest.approx(likely, abs=1e-5)


def test_an_answer_is_that_of_the_engine_alone(client):
    direct = tiny_engine(context_length=CONTEXT, sharpness=10.0)
    prompt = (direct.tokenizer.special_tokens[END_OF_TEXT], *direct.tokenizer.encode("We must"))
    answers = client.completions.create(model=MODEL, prompt="We must", max_tokens=20, seed=5, n=3, logprobs=1)
    for number, choice in enumerate(answers.choices):
        sampling = Sampling(max_tokens=20, temperature=1.0, seed=5 + number)
        expected = direct.generate([Request(prompt, sampling, alternatives=1)])[0]
        assert choice.text == expected.text
        assert choice.logprobs.token_logprobs == pytest.approx([t.logprob for t in expected.token_logprobs], abs=1e-4)


def test_answers_in_a_form(client):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    turns = [{"role": "user", "content": "Hi"}]
    answer = client.chat.completions.create(model=MODEL, messages=turns, response_format=form, seed=1)
    if answer.choices[0].finish_reason == "stop":
        assert json.loads(answer.choices[0].message.content)["n"] in (1, 2)
    for fields in ({"structured_outputs": {"regex": "[0-9]{4}"}}, {"guided_regex": "[0-9]{4}"}):
        answer = client.completions.create(model=MODEL, prompt="In", extra_body=fields, seed=2)
        assert len(answer.choices[0].text) == 4
        assert answer.choices[0].text.isdecimal()
    chosen = {"guided_choice": ["yes", "no"]}
    drawn = client.completions.create(model=MODEL, prompt="In", extra_body=chosen, n=20, seed=0)
    assert {choice.text for choice in drawn.choices} == {"yes", "no"}


def curl(url, *arguments):
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", *arguments, url]
    body, _, status = subprocess.run(command, capture_output=True, check=True, text=True).stdout.rpartition("\n")
    return int(status), body


def test_curl_and_requests_that_cannot_be_answered(url):
    json_type = ("-H", "Content-Type: application/json")

    def post(path, data):
        return curl(url + path, *json_type, "--data-binary", json.dumps(data))

    status, body = post("/v1/completions", {"prompt": "x", "max_tokens": 5, "ignore_eos": True})
    assert (status, json.loads(body)["usage"]["completion_tokens"]) == (200, 5)
    status, body = curl(f"{url}/health")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    status, body = post("/v1/completions", {"prompt": "x", "stream": True, "max_tokens": 3})
    assert status == 200
    assert body.endswith("data: [DONE]\n\n")
    wrong = [
        (400, "/v1/completions", {"prompt": "x" * 5000}),
        (400, "/v1/completions", {"prompt": 5}),
        (400, "/v1/completions", {"prompt": "x", "n": 10**9}),
        (400, "/v1/completions", {"prompt": "x", "max_tokens": "many"}),
        (404, "/v1/completions", {"prompt": "x", "model": "gpt-9"}),
        (404, "/v1/nothing", {}),
        (400, "/v1/chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}),
    ]
    for expected, path, data in wrong:
        status, body = post(path, data)
        assert (status, set(json.loads(body)["error"])) == (expected, {"message", "type", "param", "code"})


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": "x", "max_tokens": 1e400}',
        b'{"prompt": "x", "logit_bias": {"\\ud800": 1}}',
        b'{"prompt": "x", "guided_json": {"\\ud800": 1, "type": 5}}',
        b'{"prompt": "x", "guided_regex": "\\ud800"}',
        b"{" * 100_000,
    ],
)
def test_bodies_of_bytes_that_are_no_request(url, body):
    answer = httpx.post(f"{url}/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{url}/health").json()["status"] == "ok"


API = schemathesis.openapi.from_dict(create_app({MODEL: ScriptedEngine()}).openapi())


@pytest.fixture(scope="module")
def scripted_url():
    with live(ScriptedEngine(context_length=64)) as url:
        yield url


@API.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore")
def test_no_request_of_the_document_makes_the_server_fail(case, scripted_url):
    response = case.call(base_url=scripted_url)
    assert response.status_code < 500, response.text


@pytest.mark.slow
def test_a_thousand_requests_with_clients_that_leave(tmp_path):
    """Concurrency 8, every fifth client leaves: see `soak.py`, which says what it measured."""
    from soak import soak

    found = soak(tiny_engine(context_length=CONTEXT), requests=1000, concurrency=8, seed=0)
    assert found.statuses == {200}
    assert found.left > 100
    assert found.most_seconds_to_free < 1
    assert found.growth < 0.05
    assert found.running_at_end == 0
    assert found.blocks_held_at_end == 0
    assert threading.active_count() < 50
