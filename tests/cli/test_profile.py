"""`groundup profile`: what it writes, that its parts sum to their wholes, and people's mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.accounting.flops import training_forward_flops
from groundup.accounting.language_model import training_flops_per_token
from groundup.accounting.memory import moment_bytes, weight_bytes
from groundup.cli import main as cli
from groundup.cli.profile import Args, defaults
from groundup.core.config import encode
from groundup.core.errors import ConfigError
from groundup.models.lstm_config import LstmConfig
from groundup.models.presets import llama
from groundup.stages import compute, profile
from groundup.stages.config import ComputeConfig, PretrainConfig
from groundup.stages.profile_config import ProfileConfig
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT, SPECIAL_TOKENS
from groundup.tokenization.token_shards import token_blocks, write_index, write_shard
from groundup.training.operation_groups import GROUPS
from groundup.training.profiling import PHASES
from groundup.training.roofline import Roofs

MODEL = llama(97, context_length=32, width=32, depth=2, num_heads=2, num_kv_heads=1, mlp_width=48, qk_norm=True)
TINY = PretrainConfig(MODEL, compute=ComputeConfig("float32", compile=False, threads=1), batch_size=4)
ROOFS = Roofs(1e10, 2e9, 3e9)


@pytest.fixture
def tell(monkeypatch, capsys, tmp_path):
    """Run the verb in an empty folder, with roofs that take no time to measure; its exit code and what it printed."""
    monkeypatch.setattr(profile, "measured_roofs", lambda dtype: ROOFS)
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: 1e9)
    monkeypatch.setattr(compute, "fastest_dtype", lambda: torch.float32)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["profile", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def written(config: PretrainConfig, name: str = "config.json") -> str:
    Path(name).write_text(json.dumps(encode(config)))
    return name


def few(*words: str) -> list[str]:
    return ["--out", "out", "--warmup", "1", "--repeats", "3", "--traced", "1", *words]


def result() -> dict[str, Any]:
    return json.loads(Path("out/result.json").read_text())


def test_what_it_writes_and_that_parts_sum_to_wholes(tell) -> None:
    code, shown, _ = tell("--config", written(TINY), *few())
    assert code == 0
    found = result()
    assert {path.name for path in Path("out").iterdir()} == {
        "compute.json", "config.json", "log.txt", "metrics.jsonl", "operations.json", "profile.html",
        "provenance.json", "result.json", "trace.json",
    }  # fmt: skip
    (main,) = found["variants"]
    assert (main["name"], found["model"], found["tokens"]) == ("eager", "decoder", "random")
    tokens = 4 * 32
    assert found["flops_per_step"] == tokens * training_flops_per_token(MODEL)
    assert main["tokens_per_second"] == pytest.approx(tokens / main["step"]["median"])
    assert main["mfu"] == pytest.approx(found["flops_per_step"] / main["step"]["median"] / ROOFS.peak_flops)
    assert sum(phase["mean"] for phase in main["phases"].values()) == pytest.approx(main["step"]["mean"])
    assert list(main["phases"]) == list(PHASES)
    assert [sum(step) for step in main["timed_steps"]] == pytest.approx([line["seconds"] for line in metrics()])
    assert list(main["groups"]) == list(GROUPS)
    assert sum(main["groups"].values()) == pytest.approx(main["traced_step_seconds"])
    assert 0 < main["matmul_share"] < 1
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1)
    flops = training_forward_flops(MODEL)  # the loss computes its gradients in the forward pass
    assert sum(part["flops"] for part in found["parts"]) == tokens * (flops.total + 2 * flops.unembedding)
    assert f"page: {Path('out/profile.html')}" in shown
    for title in ("phases of a step", "operations by own time", "forward pass by part", "memory of", "matrix products"):
        assert title in shown


def metrics() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]


def test_the_files_agree_with_the_result(tell) -> None:
    tell("--config", written(TINY), *few())
    (main,) = result()["variants"]
    listed = json.loads(Path("out/operations.json").read_text())
    assert main["operations"] == listed[: len(main["operations"])]
    assert sum(row["seconds"] for row in listed) == pytest.approx(main["traced_step_seconds"])
    events = json.loads(Path("out/trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events if event.get("tid") == "phases" and event["ph"] == "X"] == list(PHASES)
    html = Path("out/profile.html").read_text()
    assert f'<data value="{main["step"]["median"]!r}">' in html
    settings = json.loads(Path("out/config.json").read_text())
    assert settings["pretrain"]["model"] == encode(MODEL)


def test_memory_stands_beside_accounting(tell) -> None:
    tell("--config", written(TINY), *few())
    memory = result()["variants"][0]["memory"]
    rows = {row["part"]: row for row in memory["parts"]}
    for part, expected in (("weights", weight_bytes(MODEL, "float32")), ("moments", moment_bytes(MODEL, "muon"))):
        assert rows[part]["predicted"] == rows[part]["measured"] == expected
    assert rows["gradients"]["measured"] == rows["gradients"]["predicted"]
    assert rows["peak"]["measured"] == memory["tensors"]["peak"] == max(memory["tensors"]["bytes"])
    assert rows["peak"]["measured"] > sum(rows[part]["measured"] for part in ("weights", "masters", "moments"))
    assert memory["resident"]["peak"] > 1e7


def test_recomputing_is_compared_with_keeping(tell) -> None:
    code, shown, _ = tell("--config", written(TINY), "--recompute", "1", "--compare-recompute", *few())
    assert code == 0
    recomputing, keeping = result()["variants"]
    assert (recomputing["name"], keeping["name"]) == ("eager, recomputing", "eager")
    kept = [
        {row["part"]: row["measured"] for row in each["memory"]["parts"]}["activations and logits"]
        for each in (recomputing, keeping)
    ]
    assert kept[0] < kept[1]
    roles = [{product["role"] for product in each["products"]} for each in (recomputing, keeping)]
    assert "recomputed" in roles[0]
    assert "recomputed" not in roles[1]
    assert (Path("out") / keeping["trace"]).name == "trace_eager.json"
    assert Path("out/operations_eager.json").exists()
    assert "eager, recomputing is" in shown


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float8"])
def test_number_formats_are_told_of_every_tensor(tell, name: str) -> None:
    code, shown, _ = tell("--config", written(TINY), "--compute.dtype", name, *few())
    assert code == 0
    found = result()
    products = {"float16": "float16"}.get(name, "bfloat16")
    assert (found["dtype"], found["dtypes"]["precision"], found["roofs"]["dtype"]) == (name, name, products)
    assert found["roofs"]["width"] == (512 if name == "float16" else 2048)
    for row in found["dtypes"]["parameters"]:
        assert (row["weight"], row["master"]) == (products, "float32")
        assert row["gradient"] == ("float32" if name == "float16" else "bfloat16")
        assert set(row["moments"].values()) == {"float32"}
    for text in (f"number formats, {name}", "blocks.*.sequence.query", "softmax", "float32 (1)"):
        assert text in shown
    assert ("float8_e5m2 (14)" in shown) == (name == "float8")
    html = Path("out/profile.html").read_text()
    assert "<code>blocks.*.channel.down</code>" in html
    memory = {row["part"]: row for row in found["variants"][0]["memory"]["parts"]}
    assert memory["weights"]["predicted"] == memory["weights"]["measured"] == weight_bytes(MODEL, "bfloat16")
    assert memory["masters"]["predicted"] == memory["masters"]["measured"]


def test_the_same_command_measures_again(tell) -> None:
    tell("--config", written(TINY), *few())
    first = result()
    tell("--config", written(TINY), *few())
    assert result()["variants"][0]["timed_steps"] != first["variants"][0]["timed_steps"]
    assert len(metrics()) == 3


def test_accumulated_and_packed_steps_and_other_models(tell) -> None:
    assert tell("--config", written(TINY), "--accumulate", "2", "--data.packing", "documents", *few())[0] == 0
    assert result()["variants"][0]["tokens_per_second"] > 0
    lstm = PretrainConfig(LstmConfig(97, context_length=32, width=16, depth=1), compute=TINY.compute, batch_size=4)
    assert tell("--config", written(lstm), *few())[0] == 0
    found = result()
    assert found["model"] == "lstm"
    assert {row["predicted"] for row in found["variants"][0]["memory"]["parts"]} == {None}


def test_given_tokens_bring_their_vocabulary(tell) -> None:
    special = {name: 256 + place for place, name in enumerate(SPECIAL_TOKENS)}
    words = BytePairTokenizer([], special_tokens=special)
    folder = Path("notes/tokens/train")
    folder.mkdir(parents=True)
    blocks = token_blocks(words, [(b"all that is written here " * 40, True)], special[END_OF_TEXT])
    shard = write_shard(folder, 0, "notes", blocks, words.vocab_size)
    write_index(folder, words, special[END_OF_TEXT], [shard])
    for place in ("notes", "notes/tokens/train"):
        assert tell("--config", written(TINY), "--tokens", place, *few())[0] == 0
        assert result()["tokens"] == place
        settings = json.loads(Path("out/config.json").read_text())
        assert settings["pretrain"]["model"]["vocab_size"] == words.vocab_size


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--tokens", "nowhere"], "There is no folder nowhere"),
        (["--tokens", "."], "holds no token shards"),
        (["--config", "nowhere.json"], "no file nowhere.json"),
        (["--recipe", "quikstart"], "quickstart"),
        (["--repeats", "0"], "repeats is 0"),
        (["--compare-eager", "--compute.no-compile"], "compute.compile is off"),
        (["--compare-recompute"], "give --recompute 1"),
        (["--batch-size", "100000000"], "this machine has"),
        (["--batch-size", "3", "--accumulate", "2"], "equal parts"),
    ],
)
def test_mistakes_are_told_in_a_sentence_before_anything_is_written(tell, words: list[str], fault: str) -> None:
    code, _, told = tell(*words)
    assert code in (cli.EXIT_FAULT, cli.EXIT_USAGE)
    assert fault in " ".join(told.split())
    assert "Traceback" not in told
    assert not Path("runs").exists()


def test_options_start_from_a_recipe_or_a_file(tell) -> None:
    assert defaults([]).settings == defaults(["--recipe", "quickstart"]).settings
    assert defaults(["--config", written(TINY)]).settings == TINY
    tell("--config", written(TINY), *few())
    assert defaults(["--config", "out/config.json"]).settings == TINY  # a profile's own config
    assert "--compare-eager" in (Args.__doc__ or "")


def test_a_comparison_that_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"compute\.compile is off"):
        ProfileConfig(TINY, compare_eager=True)
    with pytest.raises(ConfigError, match="nothing is recomputed"):
        ProfileConfig(TINY, compare_recompute=True)
