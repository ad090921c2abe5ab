"""Text to a chat by the verbs alone: corpus, tokenizer, pretrain, sft, grpo, then `groundup serve` and a real browser.

The model is tiny and knows nothing: what counts is that every verb takes what the one before it wrote.
"""

import io
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from groundup.cli.main import main
from groundup.stages import compute

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))
from tiny_quickstart import write_notes

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
HERE = "--compute.dtype float32 --compute.threads 1"
LAYER = "--model.layers.0.sequence"
SHAPE = f"--model.context-length 240 --model.width 32 --model.depth 2 {LAYER}.num-heads 2 {LAYER}.num-kv-heads 2"
STORY = (
    "corpus build --input {notes} --out {run}/corpus",
    "tokenizer train --corpus {run}/corpus --out {run}/tokenizer --vocab-size 300",
    "pretrain --corpus {run}/corpus --tokenizer {run}/tokenizer --out {run}/pretrain --steps 6 --batch-size 4 "
    f"--model.layers.0.channel.hidden-width 64 --compute.no-compile {SHAPE} {HERE}",
    "evaluate {run}/pretrain --corpus {run}/corpus --out {run}/evaluate --kneser-ney-order 3 --sample-tokens 8 "
    f"--continuation-questions 4 {HERE}",
    "sft --base {run}/pretrain --out {run}/sft --max-steps 2 --batch-size 8 --validation-examples 10 "
    f"--heldout-examples 20 --pass-at-8-examples 1 {HERE}",
    "grpo --start {run}/sft --out {run}/grpo --grpo.steps 2 --grpo.prompts 2 --grpo.group-size 2 "
    f"--heldout-examples 20 --pass-at-8-examples 1 {HERE}",
)

WATCH = """() => {
  window.lengths = new Set();
  const note = () => {
    const answer = document.querySelectorAll(".assistant .words")[window.wanted];
    if (answer && answer.textContent) window.lengths.add([...answer.textContent].length);
  };
  new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The run folder after all verbs, and what each printed."""
    place = tmp_path_factory.mktemp("story")
    names = {"notes": write_notes(place / "notes"), "run": place / "run"}
    printed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
        for command in STORY:
            words = command.format(**names).split()
            patch.setattr(sys, "stdout", io.StringIO())
            assert main(words) == 0
            printed[words[0]] = sys.stdout.getvalue()
    return names["run"], printed


def test_every_verb_says_where_the_result_is_and_what_is_next(story):
    run, printed = story
    for verb, place, following in (
        ("corpus", run / "corpus", "groundup tokenizer train --corpus"),
        ("tokenizer", run / "tokenizer" / "tokenizer.json", "groundup tokenizer encode"),
        ("pretrain", run / "pretrain" / "checkpoints", "groundup sft --base"),
        ("evaluate", run / "evaluate" / "result.json", "groundup generate"),
        ("sft", run / "sft" / "checkpoints", "groundup grpo --start"),
        ("grpo", run / "grpo" / "checkpoints", "groundup serve"),
    ):
        end = " ".join(printed[verb].splitlines()[-2:])
        assert str(place) in end
        assert f"next: {following}" in end or following in end.partition("next: ")[2]
        assert place.exists()
    assert "bits per byte" in printed["evaluate"]
    assert "95 % interval" in " ".join(printed["grpo"].split())
    assert "gain over the start" in printed["grpo"]


def test_generate_continues_the_prompt_and_repeats_itself(story, capsys):
    run, _ = story
    texts = []
    for seed in ("0", "0", "1"):
        command = f"generate {run}/pretrain --max-tokens 20 --temperature 1 --seed {seed} --prompt river"
        assert main(command.split()) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith("river")
    assert texts[0] == texts[1] != texts[2]


def test_chat_answers_every_line_and_a_prompt_that_is_too_long_is_one_sentence(story, capsys, monkeypatch):
    run, _ = story
    monkeypatch.setattr(sys, "stdin", io.StringIO("Copy 12.\n/new\nReverse 34.\n"))
    assert main(["chat", str(run), "--max-tokens", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("river " * 400 + "\n"))
    assert main(["chat", str(run)]) == 1
    assert capsys.readouterr().err.startswith("error: The prompt has ")


def test_a_run_can_be_started_again_from_its_config(story, tmp_path, capsys, monkeypatch):
    run, _ = story
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e10)
    command = f"pretrain --config {run}/pretrain/config.json --corpus {run}/corpus --tokenizer {run}/tokenizer"
    assert main([*command.split(), "--out", str(tmp_path / "again")]) == 0
    assert "parameters" in capsys.readouterr().out
    weights = [
        (folder / "checkpoints" / "step_00000006" / "model" / "weights.safetensors").read_bytes()
        for folder in (run / "pretrain", tmp_path / "again")
    ]
    assert weights[0] == weights[1]


def test_the_run_is_listed_with_its_stages(story, capsys):
    run, _ = story
    assert main(["runs", str(run)]) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in ("corpus", "tokenizer", "pretrain", "sft", "grpo"))


@contextmanager
def served(run):
    """`groundup serve` as a user starts it, on any free port; yields the URL of the page."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "groundup.cli.main", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            lines = iter(server.stdout.readline, "")
            yield next(line.split()[-1] for line in lines if "chat page" in line)
        finally:
            server.terminate()


def ask(page, question, number):
    """Type a question, the `number`-th of the chat; the lengths at which its answer was seen, and the whole answer."""
    page.evaluate(f"window.lengths.clear(); window.wanted = {number - 1}")
    page.get_by_label("Message").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".user .words")).to_have_text([question] * number)
    expect(page.locator(".numbers").nth(number - 1)).to_contain_text("token", timeout=30_000)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    return page.evaluate("[...window.lengths]"), page.locator(".assistant .words").last.text_content()


@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium or google-chrome; scripts/install-system-packages.sh gets one"
)
def test_a_prompt_typed_in_the_page_is_answered_by_the_model(story):
    run, _ = story
    with served(run) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(url)
        expect(page.get_by_test_id("model")).to_have_text(run.name)
        page.evaluate(WATCH)
        for number in range(1, 13):  # an answer of a model that knows nothing may be too short to come in pieces
            lengths, text = ask(page, "Sort the digits 739142.", number)
            assert max(lengths, default=0) == len(text)
            if len(lengths) >= 3:
                break
        else:
            pytest.fail("twelve answers came each in one piece")
        browser.close()
