"""`groundup account`: published numbers in its tables, configs of several kinds, the picture, people's mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.cli import account
from groundup.cli import main as cli
from groundup.core.config import encode
from groundup.models.presets import llama, preset
from groundup.web.accounting_chart import component_shares_chart, in_words

XL_SHAPE = llama(50_257, 1024, 1600, 48, 25, 25, 6400)


@pytest.fixture
def tell(monkeypatch, capsys, tmp_path):
    """Run the verb in an empty folder; its exit code, and what it printed, in lines of any length."""
    monkeypatch.setitem(cli.VERBS, "account", "what a decoder costs")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["account", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def cells(shown: str, name: str) -> list[str]:
    """The cells of the first row of a table that begins with a name."""
    rows = ([cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if "│" in line)
    return next(row[1:] for row in rows if row[0] == name)


def test_llama_3_405b(tell) -> None:
    run = ["--gpus", "16000", "--tokens", "15.6e12", "--context", "8192", "--batch-size", "2048", "--mfu", "0.4043"]
    code, shown, _ = tell("llama3-405b", "--hardware", "h100", *run)
    assert code == 0
    assert cells(shown, "all") == ["405,853,388,800", "100.0%"]
    assert cells(shown, "FLOPs")[0] == "3.799e+25"
    assert cells(shown, "time") == ["68.7 days", "74.07 days"]
    assert cells(shown, "GPU-hours") == ["26.38 million", "28.44 million"]
    assert cells(shown, "at $2.00 an hour")[0] == "$52.76 million"
    assert cells(shown, "carbon, CO2e")[0] == "4,432 t"
    assert "0.24 kg CO2e per kWh" in shown
    assert "400 TFLOP/s each (MFU 40.4%)" in shown
    assert cells(shown, "steps") == ["929,833", "929,833"]


def test_the_shape_of_gpt2_xl_from_a_file(tell) -> None:
    Path("xl.json").write_text(json.dumps(encode(XL_SHAPE)))
    code, shown, _ = tell("xl.json", "--dtype", "float32")
    assert code == 0
    assert cells(shown, "all")[0] == "2,127,057,600"
    assert cells(shown, "weights")[0] == "8.508 GB"
    assert cells(shown, "total")[:3] == ["100.0%", "4.408 GFLOP", "4.513 TFLOP"]
    shares = [cells(shown, name)[0] for name in ("projections", "attention", "feed-forward", "unembedding")]
    assert shares == ["22.3%", "7.1%", "66.9%", "3.6%"]
    _, shown, _ = tell("xl.json", "--context", "16384")
    assert cells(shown, "total")[2] == "149.5 TFLOP"
    assert cells(shown, "attention")[0] == "55.2%"


def test_memory_is_spread_and_compared(tell) -> None:
    _, shown, _ = tell("llama3-8b", "--gpus", "8", "--context", "8192")
    assert cells(shown, "weights") == ["16.06 GB", "2.008 GB"]
    assert cells(shown, "adamw moments") == ["64.24 GB", "8.03 GB"]
    assert "of H100 SXM: fits" in shown
    assert "does not fit" in tell("llama3-8b", "--context", "8192")[1]
    _, shown, _ = tell("llama3-8b", "--gpus", "8", "--context", "8192", "--checkpoint", "1", "--optimizer", "muon")
    assert "of H100 SXM: fits" in shown
    assert "backward, recomputing" in shown
    assert float(cells(shown, "muon moments")[0].split()[0]) < 64.24
    assert (
        "2 × 8,192 tokens at a time" in tell("llama3-8b", "--gpus", "8", "--context", "8192", "--accumulation", "4")[1]
    )


def test_inference_is_bound_by_memory_until_rows_share_the_weights(tell) -> None:
    _, shown, _ = tell("llama3-8b", "--context", "128")
    assert cells(shown, "bound by") == ["memory", "memory"]
    assert cells(shown, "time")[1].endswith("days")
    _, shown, _ = tell("llama3-8b", "--context", "128", "--requests", "512")
    assert cells(shown, "bound by") == ["arithmetic", "arithmetic"]


def test_configs_of_runs_and_of_hugging_face(tell) -> None:
    model = encode(llama(97, 64, 32, 2, 4, 2, 48))
    Path("run").mkdir()
    for data in (model, {"model": model, "steps": 5}, {"pretrain": {"model": model}, "sft": {}}):
        Path("run/config.json").write_text(json.dumps(data))
        counts = {cells(tell(name)[1], "all")[0] for name in ("run/config.json", "run")}
        assert counts == {"21,728"}
    theirs = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    theirs |= {"num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 97, "max_position_embeddings": 64}
    theirs |= {"rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu"}
    Path("run/config.json").write_text(json.dumps(theirs))
    assert cells(tell("run")[1], "all")[0] == "21,728"


def test_a_preset_is_meant_even_where_a_folder_has_its_name(tell) -> None:
    Path("gpt2-small").mkdir()
    assert cells(tell("gpt2-small")[1], "all")[0] == "124,439,808"
    assert "depth=4: parameters" in tell("depth=4")[1]


def test_without_known_power_no_energy_is_told(tell) -> None:
    _, shown, _ = tell("gpt2-small", "--hardware", "tpu-v5e")
    assert "--watts gives energy and carbon" in shown
    assert "carbon" not in shown.replace("energy and carbon", "")
    assert "│ carbon" in tell("gpt2-small", "--hardware", "tpu-v5e", "--watts", "200")[1]


def test_this_machine_is_measured(tell, monkeypatch) -> None:
    monkeypatch.setattr("groundup.kernels.peak.measured_matmul_flops", lambda dtype: 50e9)
    code, shown, _ = tell("cs336-tinystories", "--hardware", "cpu", "--dtype", "float32", "--mfu", "0.5")
    assert code == 0
    assert "25 GFLOP/s each (MFU 50.0%)" in shown


def test_tokens_default_to_twenty_for_each_active_parameter(tell) -> None:
    assert "a run of 257.6 billion tokens" in tell("mixtral-8x7b")[1]


def test_the_picture(tell) -> None:
    code, shown, _ = tell("gpt2-xl", "--plot", "shares.png")
    assert code == 0
    assert shown.splitlines()[-1] == "shares of the components in 4 decoders: shares.png"
    drawn = Path("shares.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    tell("gpt2-xl", "--plot", "again.png")
    assert Path("again.png").read_bytes() == drawn
    tell("gpt2-xl", "--plot", "other.png", "--compare", "cs336-xl")
    assert Path("other.png").read_bytes() != drawn


def test_the_picture_shows_what_the_numbers_say(monkeypatch) -> None:
    """Bars by size, stacked to 1; areas over the contexts."""
    from matplotlib.axes import Axes

    bars, areas = [], []
    barh, stackplot = Axes.barh, Axes.stackplot
    monkeypatch.setattr(Axes, "barh", lambda self, *a, **k: (bars.append((a, k)), barh(self, *a, **k))[1])
    monkeypatch.setattr(Axes, "stackplot", lambda self, *a, **k: (areas.append(a), stackplot(self, *a, **k))[1])
    sizes = {"large": preset("gpt2-large"), "xl shape": XL_SHAPE, "small": preset("gpt2-small")}
    component_shares_chart(sizes, "xl shape", (1024, 16_384), 1024)
    assert [label.split(" (")[0] for label in bars[0][0][0]] == ["small", "large", "xl shape"]
    assert [round(100 * part[0][1][2], 1) for part in bars] == [22.3, 7.1, 66.9, 3.6]
    assert all(sum(part[0][1][bar] for part in bars) == pytest.approx(1) for bar in range(3))
    (contexts, shares) = areas[0]
    assert contexts == (1024, 16_384)
    assert [round(100 * each, 1) for each in shares[1]] == [7.1, 55.2]


@pytest.mark.parametrize(
    ("count", "words"), [(1_557_611_200, "1.56 B"), (671e9, "671 B"), (22_696_448, "22.7 M"), (999, "999")]
)
def test_sizes_in_words(count: int, words: str) -> None:
    assert in_words(count) == words


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["gpt2-xxl"], 1, "There is no preset 'gpt2-xxl'; did you mean 'gpt2-xl'? A config of your own is a path"),
        (["none.json"], 1, "none.json"),
        (["broken.json"], 1, "broken.json"),
        (["list.json"], 1, "list.json holds no config"),
        (["typo.json"], 1, "unknown key 'widht'; did you mean 'width'?"),
        (["theirs.json"], 1, "mamba"),
        (["depth=7"], 1, "depth is 7; it must be even"),
        (["gpt2-xl", "--hardware", "h10"], 1, "There is no hardware 'h10'; did you mean 'h100'?"),
        (["gpt2-xl", "--hardware", "a100", "--dtype", "float8"], 1, "A100 SXM 80 GB in float8; choose one of float32"),
        (["gpt2-xl", "--dtype", "bf16"], 1, "There is no number format 'bf16'"),
        (["gpt2-xl", "--hardware", "cpu", "--dtype", "int8"], 1, "measured in float32, bfloat16, float16, not in int8"),
        (["gpt2-xl", "--optimizer", "adagrat"], 1, "There is no optimizer 'adagrat'; did you mean 'adagrad'?"),
        (["gpt2-xl", "--context", "2048"], 1, "gpt2-xl has embeddings for 1,024 positions"),
        (["gpt2-xl", "--plot", "x.png", "--compare", "gpt3"], 1, "There is no preset 'gpt3'"),
        (["gpt2-xl", "--gpus", "0"], 2, "gpus is 0; it must be at least 1"),
        (["gpt2-xl", "--tokens", "0"], 2, "tokens is 0.0; it must be at least 1"),
        (["gpt2-xl", "--mfu", "40"], 2, "mfu is 40.0; it must be above 0 and at most 1, such as 0.4 for 40 %"),
        (["gpt2-xl", "--price", "-2"], 2, "price is -2.0; it must be at least 0"),
        (["gpt2-xl", "--power-overhead", "0.9"], 2, "power_overhead is 0.9; it must be at least 1"),
        (["gpt2-xl", "--checkpoint", "-1"], 2, "checkpoint is -1; it must be at least 0"),
        (["gpt2-xl", "--watts", "nan"], 2, "watts is nan; it must be above 0"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], code: int, sentence: str, tell) -> None:
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    Path("typo.json").write_text(json.dumps({"widht": 64}))
    Path("theirs.json").write_text(json.dumps({"model_type": "mamba"}))
    left, shown, told = tell(*words)
    assert left == code, told
    assert sentence in told
    assert "Traceback" not in told
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 FLOP"),
        (999, "999 FLOP"),
        (4.5133365e12, "4.513 TFLOP"),
        (2.5e20, "250 EFLOP"),
        (3.8e25, "3.800e+25 FLOP"),
    ],
)
def test_units(value: float, shown: str) -> None:
    assert account.scaled(value, "FLOP") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (5e-6, "5 µs"),
        (0.022, "22 ms"),
        (100.6, "100.6 s"),
        (600, "10 minutes"),
        (9000, "2.5 hours"),
        (6.048e6, "70 days"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert account.duration(seconds) == shown


def test_a_table_needs_no_torch() -> None:
    program = (
        "import sys\nfrom groundup.cli import account\naccount.run(account.Args('llama3-8b'))\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
