"""The report: the page and summary.json say the same, of whole, partial, broken and hostile runs."""

import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_run import align, evaluate, pretrain, share, whole_run, write_stage

from groundup.core.errors import InputError, MissingError
from groundup.stages.report import run_report
from groundup.web import plots
from groundup.web.report_data import STAGES, collect, count_not_finite, number
from groundup.web.report_html import clean, element
from groundup.web.report_pretraining import spread
from groundup.web.report_text import duration_text, points_text, short_text, size_text

VOID = {"meta", "link"}
HOSTILE = "</blockquote><script>alert(1)</script><img src=x onerror=alert(2)> &amp; \x00\x1b[31m \ud800 \u202e"


class Reader(HTMLParser):
    """Collects what tests ask about, and fails on a tag that is not closed in its place."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.values: list[float] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag == "data":
            self.values.append(float(self.tags[-1][1]["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = whole_run(tmp_path_factory.mktemp("runs") / "quickstart")
    run_report(run)
    return run


def test_every_number_of_the_summary_stands_on_the_page_with_its_exact_value(finished_run: Path) -> None:
    numbers = json.loads((finished_run / "summary.json").read_text())
    shown = set(read(finished_run / "report.html").values)
    hidden = [name for name, value in leaves(numbers) if value not in shown]
    assert hidden == []
    assert len(list(leaves(numbers))) > 35


def leaves(values: Any, name: str = "") -> list[tuple[str, float]]:
    if isinstance(values, dict):
        return [leaf for key, value in values.items() for leaf in leaves(value, f"{name}.{key}")]
    return [(name, float(values))] if isinstance(values, int | float) else []


def test_the_summary_holds_what_the_stages_measured(finished_run: Path) -> None:
    numbers = json.loads((finished_run / "summary.json").read_text())
    assert numbers["run"] == "quickstart"
    assert numbers["bits_per_byte"] == {"model": 1.25731, "xz": 1.7204, "kneser_ney": 1.5518}
    assert numbers["bits_per_byte_interval"] == {"low": 1.2391, "high": 1.2766}
    assert numbers["accuracy"] == {"sft": share(125, 400), "grpo": share(209, 400), "control": share(127, 400)}
    assert numbers["gain"]["grpo"] == {"estimate": 0.21, "low": 0.152, "high": 0.268}
    assert list(numbers["seconds"]) == list(STAGES)
    assert numbers["total_seconds"] == pytest.approx(8.412 + 6.05 + 281.377 + 21.6 + 24.8 + 142.1 + 140.7)
    assert (numbers["tokens_per_second"], numbers["mfu"]) == (8349.21, 0.4751)


def test_the_page_needs_nothing_but_itself(finished_run: Path) -> None:
    reader = read(finished_run / "report.html")
    ids = reader.ids()
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base", "form")
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert "src" not in attributes
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    page = (finished_run / "report.html").read_text()
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert all(f"url(#{name})" in page or f"#{name}" in page for name in ids)


def test_every_figure_says_in_words_what_it_shows(finished_run: Path) -> None:
    figures = [attributes for tag, attributes in read(finished_run / "report.html").tags if tag == "svg"]
    assert len(figures) == 21
    assert all(attributes["role"] == "img" for attributes in figures)
    labels = [attributes["aria-label"] for attributes in figures]
    assert all(len(label) > 30 and any(character.isdigit() for character in label) for label in labels)
    assert len(set(labels)) == len(labels)


def test_the_same_run_gives_the_same_bytes_whatever_the_style_of_the_user(finished_run: Path) -> None:
    import matplotlib

    before = (finished_run / "report.html").read_bytes()
    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0, "svg.fonttype": "path"}):
        assert run_report(finished_run).read_bytes() == before
        assert matplotlib.rcParams["lines.linewidth"] == 9.0


def test_the_verdict_follows_the_interval(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "weak")
    align(run, "grpo", 133, 0.33, (0.02, -0.01, 0.05))
    evaluate(run)
    worse = json.loads((run / "evaluate/result.json").read_text())
    worse["bits_per_byte"]["model"] = 1.6
    (run / "evaluate/result.json").write_text(json.dumps(worse))
    text = plain(run_report(run))
    assert "a change of +2.0 points (95 % interval −1.0 to +5.0, within chance)" in text
    assert "3 % more than Kneser–Ney (1.552), 7 % fewer than xz (1.720)" in text
    assert "more than chance" not in text
    assert "xz alone2.160" in text


def plain(page: Path) -> str:
    """The page's text, with no-break spaces as spaces."""
    return "".join(read(page).text).replace("\N{NO-BREAK SPACE}", " ")


def test_a_plain_pretraining_run_has_a_report(tmp_path: Path) -> None:
    pretrain(tmp_path, stage="alone")
    reader = read(run_report(tmp_path / "alone"))
    assert [name for name in reader.ids() if not name.startswith(("m", "p"))] == ["timings"]
    assert "pretraining" in reader.ids()
    numbers = json.loads((tmp_path / "alone/summary.json").read_text())
    assert numbers["validation_bits_per_byte"] == 1.2743
    assert numbers["bits_per_byte"] == {"model": None, "kneser_ney": None, "xz": None}
    assert numbers["accuracy"] == {"sft": None, "grpo": None, "control": None}
    assert "left out below: corpus, tokenizer, evaluation" in plain(tmp_path / "alone/report.html")


@pytest.mark.parametrize("missing", ["corpus", "pretrain", "sft", "control"])
def test_a_missing_stage_leaves_its_section_out_and_says_so(tmp_path: Path, missing: str) -> None:
    run = whole_run(tmp_path / "run")
    shutil.rmtree(run / missing)
    text = plain(run_report(run))
    assert "Not part of this run, and left out below: " in text
    assert missing not in json.loads((run / "summary.json").read_text())["seconds"]
    if missing == "control":
        assert "No random-reward control was run" in text


@pytest.mark.parametrize("only", STAGES)
def test_one_stage_alone_is_enough(tmp_path: Path, only: str) -> None:
    run = whole_run(tmp_path / "run")
    for other in set(STAGES) - {only}:
        shutil.rmtree(run / other)
    assert list(collect(run).stages) == [only]
    read(run_report(run))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "control"])
def test_the_folder_of_one_stage_is_recognised(tmp_path: Path, stage: str) -> None:
    run = whole_run(tmp_path / "run")
    assert list(collect(run / stage).stages) == [stage]


def test_a_stage_that_was_killed_is_drawn_as_far_as_it_came(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    (run / "pretrain/result.json").unlink()
    with open(run / "pretrain/metrics.jsonl", "a") as file:
        file.write('{"step": 561, "lo')
    text = plain(run_report(run))
    assert "Started and not finished: pretraining." in text
    assert "Training loss" in text


def test_samples_on_the_way_are_shown_for_each_prompt_from_the_first_to_the_last(finished_run: Path) -> None:
    text = plain(finished_run / "report.html")
    assert "What the model writes after “The”, 8 of 56 samples" in text
    assert "What the model writes without a prompt, 8 of 56 samples" in text
    shown = [10, 90, 170, 250, 320, 400, 480, 560]
    page = (finished_run / "report.html").read_text()
    assert [int(step) for step in re.findall(r"the text of step (\d+)<", page)] == shown * 2
    assert spread(8, 8) == list(range(8))
    assert spread(57, 8) == [0, 8, 16, 24, 32, 40, 48, 56]


def test_what_is_logged_by_role_is_drawn_in_one_figure_each_as_far_as_colours_go(tmp_path: Path) -> None:
    roles = [f"rest rule {number}" for number in range(8)]
    lines = [{"step": step, **{f"update_ratio_{role}": 0.0 if role == roles[0] else 1e-3 * step for role in roles}}
        for step in range(1, 9)]  # fmt: skip
    write_stage(tmp_path, "pretrain", {"seconds": 1.0}, lines)
    page = run_report(tmp_path)
    labels = [attributes["aria-label"] for tag, attributes in read(page).tags if tag == "svg"]
    drawn = ", ".join(f"{role} 0.008" for role in roles[1:7])
    assert labels[:-1] == [f"Update ratio (‖Δw‖ / ‖w‖), last: {drawn}."]  # the frozen one has no place on the axis
    assert "Not drawn: rest rule 7." in plain(page)


def test_a_run_that_goes_on_can_be_drawn_without_touching_what_it_writes(tmp_path: Path) -> None:
    pretrain(tmp_path, stage="alone")
    half_written = tmp_path / "alone" / ".tmp-0123456789ab-result.json"
    half_written.write_text("{")
    run_report(tmp_path / "alone")
    assert half_written.exists()


def test_a_diverged_run_does_not_look_like_a_short_one(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 3.0 if step < 8 else math.nan} for step in range(10)]
    write_stage(tmp_path, "pretrain", {"seconds": 1.0, "train_loss": math.nan, "mfu": math.inf}, lines)
    assert "2 values are not finite and not drawn: the run diverged there." in plain(run_report(tmp_path))
    numbers = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert numbers["mfu"] is None
    assert count_not_finite(lines, "loss") == 2


def test_text_of_a_model_is_never_markup(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run <b>&")
    write_stage(run, "evaluate", {"seconds": 1, "bits_per_byte": {"model": 2.0, "xz": 3.0, "kneser_ney": 2.5},
        "samples": [{"prompt": HOSTILE, "text": HOSTILE}], "tasks": {HOSTILE: {"accuracy": share(1, 2)}}})  # fmt: skip
    write_stage(run, "sft", {"seconds": 1, "accuracy": share(1, 2), "accuracy_by_task": {HOSTILE: share(1, 2)},
        "samples": [{"prompt": HOSTILE, "expected": HOSTILE, "answer": HOSTILE, "correct": True}]})  # fmt: skip
    write_stage(run, "corpus", {"seconds": 1, "funnel": [{"stage": HOSTILE, "documents": 1, "dropped": 1, "bytes": 9,
        "reasons": {HOSTILE: 1}}], "cleaning": {HOSTILE: [HOSTILE]}, "pii": HOSTILE})  # fmt: skip
    write_stage(run, "tokenizer", {"seconds": 1, "comparison": [{"name": "$\\frac{" + HOSTILE, "bytes_per_token": 1}]})
    (run / "pretrain" / "samples.jsonl").write_text(json.dumps({"step": 3, "prompt": HOSTILE, "text": HOSTILE}) + "\n")
    (run / "config.json").write_text(json.dumps({"note": HOSTILE}))
    reader = read(run_report(run))
    assert {tag for tag, _ in reader.tags} & {"script", "img", "b1"} == set()
    text = "".join(reader.text)
    assert text.count("<script>alert(1)</script>") >= 12
    assert "␀␛[31m" in text


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("value", [{"seconds": None}, {"accuracy": 3, "funnel": 3, "samples": "x", "tasks": [1],
    "bits_per_byte": [], "comparison": {"a": 1}, "pass_at_k": [8], "accuracy_by_task": 4, "splits": 5,
    "gain": "x"}])  # fmt: skip
def test_results_of_another_shape_do_not_break_the_page(tmp_path: Path, stage: str, value: dict[str, Any]) -> None:
    write_stage(tmp_path, stage, value, [{"step": "one", "loss": 1}, {"loss": 2}, {"step": 3, "reward": [1]}])
    read(run_report(tmp_path))


def test_faults_name_the_place_and_leave_the_old_report(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no run folder"):
        run_report(tmp_path / "nowhere")
    with pytest.raises(MissingError, match="no result of a stage"):
        run_report(tmp_path)
    run = whole_run(tmp_path / "run")
    before = run_report(run).read_bytes()
    for broken, fault in (("{", "not valid JSON"), ("[1]", "JSON object")):
        (run / "sft/result.json").write_text(broken)
        with pytest.raises(InputError, match=fault):
            run_report(run)
    assert (run / "report.html").read_bytes() == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".tmp")] == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_smoothing_is_the_mean_of_a_window_around_each_value(values: list[float]) -> None:
    half = max(1, round(plots.SMOOTHING_SHARE * len(values) / 2))
    for place, smoothed in enumerate(plots.smooth(values)):
        reach = min(half, place)
        window = values[place - reach : place + reach + 1]
        assert smoothed == pytest.approx(sum(window) / len(window), abs=1e-6)


@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_thinning_keeps_ends_and_extremes(length: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(length)
    steps, kept = plots.thin(range(length), list(values))
    assert len(kept) <= 2 * plots.STRETCHES + 2
    assert (kept.min(), kept.max(), kept[0], kept[-1]) == (values.min(), values.max(), values[0], values[-1])
    assert (np.diff(steps) > 0).all()
    assert (values[steps.astype(int)] == kept).all()


def test_a_long_curve_stays_small() -> None:
    values = list(np.random.default_rng(0).standard_normal(100_000))
    svg = plots.curve_figure("long", "long", "y", [plots.Curve("a", range(100_000), values, kind="noisy")])
    assert len(svg) < 40_000


def test_figures_show_names_that_no_font_of_ours_has() -> None:
    bars = [plots.Bar("词元 🙂 $x_1$", 2, "2"), plots.Bar("<b>" * 20, 0, "0"), plots.Bar("\x00\ud800\n", 1, "1")]
    svg = plots.bar_figure("names", 'alt <>&"', bars)
    assert "词元 🙂 $x_1$" in svg
    assert 'aria-label="alt &lt;&gt;&amp;&quot;"' in svg
    assert "<b>" not in svg


@given(st.text())
def test_any_text_comes_back_from_the_page(text: str) -> None:
    reader = Reader()
    reader.feed(element("p", text, title=text))
    reader.close()
    pictures = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)} | {127: "␡"}
    expected = text.encode("utf-8", "replace").decode().translate(pictures)
    assert "".join(reader.text) == expected
    assert reader.tags == [("p", {"title": expected})]
    assert clean("a < b") == "a &lt; b"


@pytest.mark.parametrize(("shown", "expected"), [
    (duration_text(7.31), "7.3 s"), (duration_text(59.96), "1 min 00 s"), (duration_text(252), "4 min 12 s"),
    (duration_text(7999), "2 h 13 min"), (size_text(999), "999 B"), (size_text(629_004), "629.0 kB"),
    (size_text(6.9e6), "6.9 MB"), (short_text(9_999), "9,999"), (short_text(12_400), "12 k"),
    (short_text(6_912_256), "6.9 M"), (short_text(7.21e11), "721.0 G"), (points_text(-0.021), "−2.1"),
])  # fmt: skip
def test_numbers_carry_their_units(shown: str, expected: str) -> None:
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_numbers_that_are_none_are_not_invented() -> None:
    assert number({"a": {"b": 2}}, "a", "b") == 2
    for values in ({"a": True}, {"a": "2"}, {"a": math.nan}, {"a": None}, {}, [1], None):
        assert number(values, "a") is None


def test_chromium_shows_the_page_without_a_fault(finished_run: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here; scripts/install-system-packages.sh installs it")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync"]  # fmt: skip
    faults: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for width, scheme in ((1180, "light"), (400, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: faults.append(request.url) if "report.html" not in request.url else None)
            page.goto((finished_run / "report.html").as_uri())
            boxes = [figure.bounding_box() for figure in page.locator("svg").all()]
            assert len(boxes) == 21
            assert all(box and box["width"] > 300 and box["height"] > 60 for box in boxes)
            assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
            ink = page.locator("svg text").first.evaluate("node => getComputedStyle(node).fill")
            assert ink == {"light": "rgb(28, 33, 38)", "dark": "rgb(231, 229, 223)"}[scheme]
            page.locator("nav a", has_text="Timings").click()
            assert page.url.endswith("#timings")
        browser.close()
    assert faults == []
