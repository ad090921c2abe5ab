"""The page of a profile: the numbers of its result, self-contained, drawn by a real browser."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from profile_result import PHASES, result
from test_report import HOSTILE, Reader

from groundup.web.profile_charts import Mark, memory_figure, roofline_figure
from groundup.web.profile_page import render
from groundup.web.profile_text import counts_text, milliseconds, moments_text, rate_text, shortened, weights_text

PROVENANCE = {
    "argv": ["groundup", "profile"],
    "started": "2026-01-01T00:00:00+0000",
    "hardware": {"processor": "a processor", "cores": 2},
    "libraries": {"torch": "2.13.0"},
    "kernels": {"attention.causal": "blocked"},
    "git": {"commit": "0123456789abcdef", "dirty": ""},
}


def page(values: dict[str, Any], name: str = "step") -> str:
    return render(name, values, PROVENANCE, {"repeats": 10})


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def plain(reader: Reader) -> str:
    return "".join(reader.text).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("others", [(), ("eager",), ("eager, recomputing", "compiled, recomputing")])
def test_the_numbers_of_the_result_stand_on_the_page_with_their_exact_values(others: tuple[str, ...]) -> None:
    values = result(*others)
    shown = set(read(page(values)).values)
    for each in values["variants"]:
        expected = [each["step"][key] for key in ("mean", "median", "deviation")]
        expected += [each["phases"][phase][key] for phase in PHASES for key in ("mean", "median", "deviation")]
        expected += [row["seconds"] for row in each["operations"]] + [row["calls"] for row in each["operations"]]
        expected += [row[key] for row in each["memory"]["parts"] for key in ("predicted", "measured")]
        assert [value for value in expected if value not in shown] == []
    main = values["variants"][0]
    expected = [main[key] for key in ("tokens_per_second", "mfu", "matmul_share", "share_of_roof")]
    expected += [part["mean"] for part in values["parts"]] + [main["memory"]["resident"]["peak"]]
    expected += [
        product["share_of_roof"] for product in main["products"] if product["role"] != "optimizer"
    ]  # the optimizer's are told as a rate
    assert [value for value in expected if value not in shown] == []
    assert len([tag for tag, _ in read(page(values)).tags if tag == "svg"]) == 5 + 2 * (1 + len(others))


def test_the_page_needs_nothing_but_itself() -> None:
    html = page(result("eager"))
    reader = read(html)
    ids = reader.ids()
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base", "form")
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert "src" not in attributes
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    assert "http" not in html.replace("http-equiv", "")
    assert "#0102" not in html  # every colour has become a variable of the page
    labels = [attributes["aria-label"] for tag, attributes in reader.tags if tag == "svg"]
    assert all(len(label) > 30 and any(character.isdigit() for character in label) for label in labels)
    assert len(set(labels)) == len(labels)


def test_the_same_result_gives_the_same_bytes() -> None:
    assert page(result("eager")) == page(result("eager"))


def test_what_accounting_does_not_know_is_left_open() -> None:
    text = plain(read(page(result(decoder=False))))
    assert "A training step of an LSTM with 4.2 M parameters on 16 × 256 tokens" in text
    assert "accounting says –" in text
    assert "nan" not in text.lower().replace("provenance", "")


def test_the_first_sentence_says_what_was_found() -> None:
    text = plain(read(page(result())))
    assert "bfloat16, compiled, 2 threads: 520 ms, of which 68 % in matrix products." in text
    assert "Against" not in text
    assert "Against eager1.61 ×" in plain(read(page(result("eager"))))


def test_number_formats_stand_on_the_page() -> None:
    values = result()
    values["dtypes"]["parameters"][0] |= {"gradient": None, "master": None, "moments": {}}
    text = plain(read(page(values)))
    assert "embeddingembedding6786,432bfloat16–––" in text  # a frozen weight in fp32 has none of them
    assert "blocks.*.sequence.querymatrices6786,432bfloat16bfloat16float32float32 (momentum)" in text
    assert "outputs of layersbfloat16 (6)" in text
    assert "Read off this training (bfloat16)" in text


def test_names_are_never_markup() -> None:
    values = result("eager")
    values["variants"][0]["operations"][0]["name"] = HOSTILE
    values["tokens"] = HOSTILE
    for product in values["variants"][0]["products"][:3]:
        product["weights"] = HOSTILE
    reader = read(page(values, HOSTILE))
    assert {tag for tag, _ in reader.tags} & {"script", "img"} == set()
    assert "".join(reader.text).count("<script>alert(1)</script>") >= 4


def test_numbers_of_close_marks_do_not_hide_each_other() -> None:
    marks = [Mark(str(place), "forward", 100.0 + place, 5e11 + 1e9 * place) for place in range(1, 6)]
    svg = roofline_figure("close", "alt 1", 7e11, 7e10, marks, ["1 one"])
    reader = read(svg)
    places = [
        attributes["transform"] if "transform" in attributes else (attributes["x"], attributes["y"])
        for (tag, attributes) in reader.tags
        if tag == "text"
    ]
    assert len(set(places)) == len(places)


def test_a_product_above_the_roof_is_drawn_where_it_is() -> None:
    """Small products live in caches, so they may beat the slope."""
    svg = roofline_figure("above", "alt 1", 7e11, 7e10, [Mark("1", "forward", 0.5, 9e10)], ["1 one"])
    assert "nan" not in svg
    assert "inf" not in svg


def test_memory_of_a_few_bytes_is_drawn() -> None:
    svg = memory_figure("small", "alt 1", [0.0, 1.0], [10, 20], [])
    assert "kB" in svg


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("aten::mm", "mm"),
        ("graph_0_cpp_fused__to_copy__unsafe_view_add_mul_sigmoid_view_3", "fused add_mul_sigmoid"),
        ("graph_12_cpp_fused__softmax__to_copy_masked_fill_mul_slice_7", "fused softmax_masked_fill_mul"),
        ("cpp_fused_clone_view_0", "fused copies"),
        ("## Call CompiledFxGraph fcurhjz3 ##", "compiled graph, around its kernels"),
        ("autograd::engine::evaluate_function: MmBackward0", "engine: MmBackward0"),
        ("between operations", "between operations"),
        ("aten::" + "x" * 80, "x" * 59 + "…"),
    ],
)
def test_operations_have_short_names(name: str, shown: str) -> None:
    assert shortened(name) == shown


def test_weights_have_names_and_shape() -> None:
    assert weights_text({"weights": "gate, up", "shape": [512, 192]}) == "gate, up 512×192"
    assert weights_text({"weights": "a, b, c, d, e", "shape": None}) == "a, b, c, d …"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (milliseconds(2.9538), "2,954 ms"),
        (milliseconds(0.09944), "99.4 ms"),
        (milliseconds(0.00054), "0.54 ms"),
        (milliseconds(0), "0 ms"),
        (rate_text(7.2e11), "720 GFLOP/s"),
        (rate_text(9.894e14), "989 TFLOP/s"),
        (counts_text({"bfloat16": 8, "float32": 5}), "bfloat16 (8), float32 (5)"),
        (moments_text({"moments": {"mean": "float32", "mean_square": "float32"}}), "float32 (mean, mean_square)"),
        (moments_text({"moments": {"a": "float32", "b": "bfloat16"}}), "float32 (a), bfloat16 (b)"),
    ],
)
def test_numbers_carry_their_units(shown: str, expected: str) -> None:
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_chromium_shows_the_page_without_a_fault(tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here; scripts/install-system-packages.sh installs it")
    (tmp_path / "profile.html").write_text(page(result("eager")))
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync"]  # fmt: skip
    faults: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for width, scheme in ((1180, "light"), (400, "dark")):
            tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            tab.on("console", lambda message: faults.append(message.text))
            tab.on("pageerror", lambda error: faults.append(str(error)))
            tab.on("request", lambda asked: faults.append(asked.url) if "profile.html" not in asked.url else None)
            tab.goto((tmp_path / "profile.html").as_uri())
            boxes = [figure.bounding_box() for figure in tab.locator("svg").all()]
            assert len(boxes) == 9
            assert all(box and box["width"] > 300 and box["height"] > 60 for box in boxes)
            assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
            legend = tab.locator("svg text", has_text="forward").first
            ink = legend.evaluate("node => getComputedStyle(node).fill")
            assert ink == {"light": "rgb(28, 33, 38)", "dark": "rgb(231, 229, 223)"}[scheme]
            tab.locator("nav a", has_text="Roofline").click()
            assert tab.url.endswith("#roofline")
        browser.close()
    assert faults == []
