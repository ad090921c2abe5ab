"""What `bench-serve` measures: percentiles, levels, a true server, and its page in a browser."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.cli.main import main
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.serving.load import Arrival, Sample, measure, percentiles, summary
from groundup.stages.config import ServingBenchmarkConfig
from groundup.stages.serving_benchmark import run_serving_benchmark, warm_up
from groundup.web.serving_page import render

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from live_server import MODEL, live
from scripted_engine import ScriptedEngine

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_those_of_numpy(values):
    found = percentiles(values)
    assert list(found.values()) == pytest.approx(np.percentile(values, (50, 90, 99)).tolist())


def test_a_summary_by_hand():
    samples = [Sample(10, [11, 12, 14], 5, 3), Sample(10, [12, 13], 7, 2), Sample(10, error="status 429")]
    found = summary(samples, concurrency=2)
    assert (found["requests"], found["failed"], found["error"]) == (3, 1, "status 429")
    assert (found["ttft"]["p50"], found["itl"]["p50"], found["tpot"]["p50"], found["e2e"]["p50"]) == (1.5, 1, 1.25, 3.5)
    assert (found["seconds"], found["output_tokens_per_second"], found["requests_per_second"]) == (4, 1.25, 0.5)
    with pytest.raises(InputError, match="All 1 requests failed"):
        summary(samples[2:], concurrency=1)


@pytest.mark.parametrize("rate", [None, 200.0])
def test_a_level_asks_every_body_once_and_no_more_than_so_many_at_once(rate):
    engine = ScriptedEngine(script=lambda prompt: prompt[-4:], delay_seconds=0.01)
    bodies = [{"prompt": f"p{number:03}", "stream": True, "max_tokens": 4} for number in range(24)]
    for body in bodies:
        body["stream_options"] = {"include_usage": True}
    with live(engine) as url:
        samples = asyncio.run(measure(f"{url}/v1", bodies, Arrival(3, rate), seed=0))
    assert [(s.error, len(s.pieces), s.prompt_tokens, s.output_tokens) for s in samples] == [("", 4, 5, 5)] * 24
    assert len({bytes(request.prompt[1:]) for request in engine.seen}) == 24
    assert engine.most_running == 3
    gaps = [after - before for s in samples for before, after in zip(s.pieces, s.pieces[1:], strict=False)]
    assert 0.01 <= np.median(gaps) < 1


def test_a_warm_up_has_every_batch_size_that_a_level_can_have():
    assert [warm_up(clients) for clients in (1, 2, 4, 5)] == [[1], [1, 2], [1, 2, 4], [1, 2, 4, 5]]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    config = ServingBenchmarkConfig((1, 4), requests=8, prompt_tokens=8, output_tokens=6)
    with live(ScriptedEngine(script=lambda _: "x" * 100, delay_seconds=0.002)) as url:
        returned = run_serving_benchmark(config, url, out)
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(returned))
    return returned


def test_a_url_is_measured(result):
    assert result["model"] == MODEL
    assert [level["concurrency"] for level in result["levels"]] == [1, 4]
    assert [(level["requests"], level["failed"]) for level in result["levels"]] == [(8, 0)] * 2
    assert result["levels"][1]["output_tokens_per_second"] > result["levels"][0]["output_tokens_per_second"]


@pytest.mark.parametrize(
    ("target", "options", "words", "fault"),
    [
        ("no/such/run", {}, "neither a URL nor a run", MissingError),
        ("http://127.0.0.1:9", {}, "does not answer", MissingError),
        (None, {"prompt_tokens": 600}, "do not fit into the model's context of 512", ConfigError),
        (None, {"prompts": Path("no/such/file")}, "no/such/file", MissingError),
    ],
)
def test_wrong_input(target, options, words, fault, tmp_path):
    with live(ScriptedEngine()) as url, pytest.raises(fault, match=words):
        run_serving_benchmark(ServingBenchmarkConfig((1,), **options), target or url, tmp_path)


def test_the_verb_prints_a_table_and_says_where_the_page_is(tmp_path, capsys):
    with live(ScriptedEngine(script=lambda _: "x" * 100)) as url:
        words = ["bench-serve", url, "--concurrency", "1", "2", "--requests", "2", "--output-tokens", "3"]
        assert main([*words, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "tokens/s" in shown
    assert "serving.html shows the curves" in shown
    assert "<svg" in (tmp_path / "serving.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome")
def test_the_page_in_a_browser(result, tmp_path):
    from playwright.sync_api import sync_playwright

    roofline = {
        "dtype": "bfloat16",
        "peak_flops": 4e11,
        "bandwidth": 5e10,
        "context": 64,
        "bytes_per_token": 7_000_000,
        "batches": [1, 2, 4, 8, 16],
        "memory": [7000.0, 14000.0, 25000.0, 43000.0, 66000.0],
        "compute": [54000.0] * 5,
        "measured": [[1, 90.0], [4, 300.0]],
    }
    page_file = tmp_path / "serving.html"
    page_file.write_text(render(result | {"roofline": roofline, "model": "<script>alert(1)</script>"}))
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        errors = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        assert page.locator("h1").inner_text() == "<script>alert(1)</script>"
        assert page.locator("figure svg").count() == 5
        assert page.locator("tbody tr").count() == 2
        for drawing in page.locator("figure svg").all():
            assert drawing.bounding_box()["height"] > 100
        browser.close()
    assert not errors
