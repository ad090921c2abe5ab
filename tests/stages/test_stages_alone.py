"""Each stage on plain files, as its verb runs it: what it takes, and what it refuses before it writes anything."""

import errno
import json
from dataclasses import replace

import pytest
import torch
from tiny_quickstart import COMPUTE, tiny_config, write_notes

from groundup.batches.config import CORPUS, DataConfig, MixturePhase
from groundup.batches.windows import WindowSource
from groundup.checkpoint import store
from groundup.core.errors import ConfigError, InputError, MissingError, OutputError
from groundup.corpus.config import CorpusConfig
from groundup.inference.engine import find_checkpoint
from groundup.models.config import Layer
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.lstm_config import LstmConfig
from groundup.models.mixer_config import Attention, GatedMLP
from groundup.optim.batch_ramp import BatchRamp
from groundup.stages import compute
from groundup.stages.compute import prepare_compute
from groundup.stages.config import ComputeConfig
from groundup.stages.corpus import run_corpus
from groundup.stages.evaluate import run_evaluate
from groundup.stages.grpo import run_grpo
from groundup.stages.interchange import export_model
from groundup.stages.pretrain import run_pretrain
from groundup.stages.sft import run_sft
from groundup.stages.texts import text_fingerprint, train_and_heldout
from groundup.stages.token_shards import TokenShardsConfig, run_token_shards
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.chat import END_OF_TEXT, SPECIAL_TOKENS
from groundup.training.config import AverageConfig, GuardConfig
from groundup.training.loop import Diverged, train
from groundup.training.precision import PRECISIONS


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Which dtypes were measured; the true measurement takes a second."""
    asked = []
    monkeypatch.setattr(compute, "fastest_dtype", lambda: torch.bfloat16)
    monkeypatch.setattr(compute, "measured_matmul_flops", lambda dtype: asked.append(dtype) or 1e9)
    return asked


@pytest.fixture
def byte_tokenizer(tmp_path):
    special = {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)}
    return BytePairTokenizer([], special_tokens=special).save(tmp_path / "tokenizer").parent


@pytest.fixture
def notes(tmp_path):
    return write_notes(tmp_path / "notes")


@pytest.fixture
def config(notes):
    whole = tiny_config(notes)
    return replace(whole, pretrain=replace(whole.pretrain, steps=2))


@pytest.fixture
def pretrained(config, notes, byte_tokenizer, tmp_path):
    run_pretrain(config.pretrain, notes, byte_tokenizer, tmp_path / "base")
    return tmp_path / "base"


def test_pretrain_then_evaluate_on_plain_files(config, notes, pretrained, tmp_path):
    result = json.loads((pretrained / "result.json").read_text())
    assert (result["steps"], result["tokens"], result["dtype"]) == (2, 2 * 4 * 80, "float32")
    assert result["peak_flops_per_second"] == 1e9
    assert json.loads((pretrained / "config.json").read_text())["model"]["vocab_size"] == 260
    evaluated = run_evaluate(config.evaluate, pretrained, notes, tmp_path / "evaluated")
    _, heldout = train_and_heldout(notes)
    assert evaluated["heldout"] == {"documents": len(heldout), "bytes": sum(len(t.encode()) for t in heldout)}
    assert set(evaluated["bits_per_byte"]) == {"model", "xz", "xz_alone", "kneser_ney"}
    assert [sample["prompt"] for sample in evaluated["samples"]] == ["the river"]
    bare = replace(config.evaluate, baselines=False, continuation_questions=0, stride=20)
    again = run_evaluate(bare, pretrained / "checkpoints", notes, tmp_path / "bare")
    assert list(again["bits_per_byte"]) == ["model"]
    assert again["tasks"] == {}


LOCAL = (Layer(Attention(2, 2, window=16), GatedMLP(32)),)
OTHER_KINDS = [
    LstmConfig(context_length=80, width=32, depth=2),
    HierarchicalConfig(context_length=80, width=32, depth=1, layers=(Layer(Attention(2, 1), GatedMLP(64)),),
                       local_width=16, encoder_depth=1, decoder_depth=1, local_layers=LOCAL),
]  # fmt: skip


@pytest.mark.parametrize("model", OTHER_KINDS, ids=lambda model: model.kind)
def test_other_kinds_of_models_train_and_resume_and_speak(model, config, notes, byte_tokenizer, tmp_path, monkeypatch):
    settings = replace(config.pretrain, model=model, steps=5, checkpoint_every=2)
    whole = run_pretrain(settings, notes, byte_tokenizer, tmp_path / "whole")
    assert whole["parameters"] == sum(each.numel() for each in find_checkpoint(tmp_path / "whole").weights().values())
    assert whole["validation_bits_per_byte"] < 9  # a uniform guess has log2 260
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped_after(3))
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(settings, notes, byte_tokenizer, tmp_path / "stopped")
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    run_pretrain(settings, notes, byte_tokenizer, tmp_path / "stopped")
    assert find_checkpoint(tmp_path / "stopped").fingerprint == find_checkpoint(tmp_path / "whole").fingerprint
    evaluated = run_evaluate(replace(config.evaluate, baselines=False), tmp_path / "whole", notes, tmp_path / "eval")
    assert evaluated["bits_per_byte"]["model"] < 9
    assert evaluated["samples"][0]["text"]
    with pytest.raises(InputError, match=f"holds a model of kind {model.kind}; only decoders can be exported"):
        export_model(tmp_path / "whole", tmp_path / "model.gguf", "float32")


def in_windows(source):
    """`training_batches` of another class of sources."""
    return lambda data, streams, rows_before, context, seed, steps: source(streams[CORPUS], rows_before, context, seed)


def stopped_after(steps):
    """The training loop of a process that is interrupted then."""

    def ticks(*arguments):
        for tick in train(*arguments):
            yield tick
            if tick.step == steps:
                raise KeyboardInterrupt

    return ticks


def test_after_spikes_it_goes_back_and_on_behind_them(config, notes, byte_tokenizer, tmp_path, monkeypatch, caplog):
    """Batches 21 to 26 are poison: three skips, back to the checkpoint of step 20, and on with batch 24; again three,
    back to 20, on with 27."""
    asked = []

    class Poisoned(WindowSource):
        def batch(self, step, shard=0, shards=1):
            asked.append(step)
            batch = super().batch(step)
            return batch._replace(weights_BT=batch.weights_BT * (torch.nan if 21 <= step <= 26 else 1))

    monkeypatch.setattr("groundup.stages.pretrain.training_batches", in_windows(Poisoned))
    guard = GuardConfig(factor=10.0, window=8, patience=3, rollbacks=2)
    settings = replace(config.pretrain, steps=30, checkpoint_every=10, guard=guard, data=DataConfig(prefetch=0))
    with caplog.at_level("WARNING"):
        result = run_pretrain(settings, notes, byte_tokenizer, tmp_path / "base")
    assert asked == [*range(24), *range(24, 27), *range(27, 37)]
    assert caplog.text.count("Going back to step 20, and on with the batches behind these.") == 2
    assert result["steps"] == 30
    with pytest.raises(Diverged, match="3 updates in a row were skipped"):
        run_pretrain(replace(settings, guard=replace(guard, rollbacks=1)), notes, byte_tokenizer, tmp_path / "less")


def test_a_stop_behind_the_save_of_the_last_skip_changes_nothing(config, notes, byte_tokenizer, tmp_path, monkeypatch):
    """Batches 21 to 24 are poison. The third skip in a row ends step 24, which is saved, so training goes back to just
    there, and the skip of batch 24 is the first of a new row: for one who resumes there too."""
    asked = []

    class Poisoned(WindowSource):
        def batch(self, step, shard=0, shards=1):
            asked.append(step)
            batch = super().batch(step)
            return batch._replace(weights_BT=batch.weights_BT * (torch.nan if 21 <= step <= 24 else 1))

    monkeypatch.setattr("groundup.stages.pretrain.training_batches", in_windows(Poisoned))
    guard = GuardConfig(factor=10.0, window=8, patience=3)
    settings = replace(config.pretrain, steps=30, checkpoint_every=12, guard=guard, data=DataConfig(prefetch=0))
    run_pretrain(settings, notes, byte_tokenizer, tmp_path / "whole")
    assert asked == list(range(30))
    asked.clear()
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped_after(24))
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(settings, notes, byte_tokenizer, tmp_path / "stopped")
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    run_pretrain(settings, notes, byte_tokenizer, tmp_path / "stopped")
    assert asked == list(range(30))
    assert find_checkpoint(tmp_path / "stopped").fingerprint == find_checkpoint(tmp_path / "whole").fingerprint


def test_a_budget_of_time_is_planned_once(config, notes, byte_tokenizer, tmp_path, monkeypatch):
    """0.5 s a step after the first three: of 20 s, 11 trial steps leave some 14, in which 27 fit (97 %)."""
    clock = [0.0]

    class Slow(WindowSource):
        def batch(self, step, shard=0, shards=1):
            clock[0] += 0.5
            return super().batch(step)

    monkeypatch.setattr("groundup.stages.pretrain.training_batches", in_windows(Slow))
    for module in ("training.loop", "stages.pretraining"):
        monkeypatch.setattr(f"groundup.{module}.time.perf_counter", lambda: clock[0])
    settings = replace(config.pretrain, budget="20s", checkpoint_every=4, data=DataConfig(prefetch=0))
    monkeypatch.setattr("groundup.stages.pretraining.train", stopped_after(13))
    with pytest.raises(KeyboardInterrupt):
        run_pretrain(settings, notes, byte_tokenizer, tmp_path / "base")
    assert json.loads((tmp_path / "base" / "plan.json").read_text()) == {"budget": "20s", "steps": 28}
    monkeypatch.setattr("groundup.stages.pretraining.train", train)
    assert run_pretrain(settings, notes, byte_tokenizer, tmp_path / "base")["steps"] == 28
    assert 18 < clock[0] <= 20 + 0.5
    plain = run_pretrain(replace(settings, budget="", steps=28), notes, byte_tokenizer, tmp_path / "plain")
    assert plain["steps"] == 28
    weights = [find_checkpoint(tmp_path / name).fingerprint for name in ("base", "plain")]
    assert weights[0] == weights[1]  # the trial left no trace


def test_other_budgets_are_computed(config, notes, byte_tokenizer, tmp_path):
    settings = replace(config.pretrain, budget="3200tok")
    assert run_pretrain(settings, notes, byte_tokenizer, tmp_path / "base")["steps"] == 3200 // (4 * 80)


def test_a_budget_of_epochs_is_that_of_the_text_read_most_often(config, notes, byte_tokenizer, tmp_path):
    def trained(budget, **changes):
        settings = replace(config.pretrain, budget=budget, **changes)
        return run_pretrain(settings, notes, byte_tokenizer, tmp_path / budget)

    alone = trained("0.1epochs")
    a_step = alone["epochs"]["corpus"] / alone["steps"]
    assert 0.1 - a_step <= alone["epochs"]["corpus"] <= 0.1
    run_token_shards(TokenShardsConfig(), byte_tokenizer, [notes / "00.txt"], tmp_path / "page")
    half = DataConfig(sources={"page": tmp_path / "page"}, weights={CORPUS: 0.5, "page": 0.5})
    mixed = trained("2epochs", data=half)["epochs"]
    assert mixed["page"] == pytest.approx(2, rel=0.15)
    assert mixed["corpus"] < 0.2
    assert trained("640tok,9epochs")["steps"] == trained("9epochs, 640tok")["steps"] == 2


def test_training_goes_on_from_a_run_on_other_text(config, notes, pretrained, byte_tokenizer, tmp_path):
    other = write_notes(tmp_path / "other")
    settings = replace(config.pretrain, start_from=pretrained, steps=1, optimizer=replace(config.pretrain.optimizer,
                       learning_rate=1e-9, embedding_learning_rate=1e-9, matrix_learning_rate=1e-9))  # fmt: skip
    run_pretrain(settings, other, byte_tokenizer, tmp_path / "more")
    before, after = (find_checkpoint(folder).weights() for folder in (pretrained, tmp_path / "more"))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-6, rtol=1e-5)
    bare = BytePairTokenizer([], special_tokens={END_OF_TEXT: 256}).save(tmp_path / "bare").parent
    with pytest.raises(InputError, match="was trained with another tokenizer; use its own: --tokenizer"):
        run_pretrain(settings, other, bare, tmp_path / "no")
    wide = replace(settings, model=replace(config.pretrain.model, width=64))
    with pytest.raises(InputError, match="embedding is 260 x 32 in the checkpoint and 260 x 64 in this model"):
        run_pretrain(wide, other, byte_tokenizer, tmp_path / "no")


def test_a_full_disk_ends_the_training_and_leaves_the_last_checkpoint(
    config, notes, byte_tokenizer, tmp_path, monkeypatch
):
    settings = replace(config.pretrain, steps=6, checkpoint_every=2)
    save_file = store.save_file

    def until_step_4(tensors, path):
        if "00000004" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_file(tensors, path)

    monkeypatch.setattr(store, "save_file", until_step_4)
    with pytest.raises(OutputError, match=r"(?i)no space left"):
        run_pretrain(settings, notes, byte_tokenizer, tmp_path / "full")
    assert find_checkpoint(tmp_path / "full").state["step"] == 2
    monkeypatch.setattr(store, "save_file", save_file)
    run_pretrain(settings, notes, byte_tokenizer, tmp_path / "full")
    whole = run_pretrain(settings, notes, byte_tokenizer, tmp_path / "whole")
    assert whole["steps"] == 6
    assert find_checkpoint(tmp_path / "full").fingerprint == find_checkpoint(tmp_path / "whole").fingerprint


def test_packed_documents_and_a_mixture_that_changes(config, notes, byte_tokenizer, tmp_path):
    """From the middle on, three rows of four come from other text, in batches that grow."""
    other = tmp_path / "other.txt"
    other.write_text("mississippi river delta " * 400)
    run_token_shards(TokenShardsConfig(), byte_tokenizer, [other], tmp_path / "shards")
    data = DataConfig(
        packing="documents",
        sources={"rivers": tmp_path / "shards"},
        weight_changes=(MixturePhase(0.5, {"corpus": 0.25, "rivers": 0.75}),),
    )
    settings = replace(config.pretrain, steps=8, data=data, batch_ramp=BatchRamp(0.5, 4, "doubling"), accumulate=2)
    result = run_pretrain(settings, notes, byte_tokenizer, tmp_path / "mixed")
    rows = 2 * 2 + 2 * 2 + 4 * 4
    assert result["tokens"] == rows * 80
    assert set(result["epochs"]) == {"corpus", "rivers"}
    assert result["epochs"]["rivers"] == pytest.approx(9 * 80 / (400 * 24), rel=0.1)  # 3/4 of the last 12 rows
    lines = [json.loads(line) for line in (tmp_path / "mixed" / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get("tokens", 0) for line in lines) == rows * 80
    with pytest.raises(ConfigError, match="names an unknown source 'lakes'; known: corpus, rivers"):
        replace(data, weight_changes=(MixturePhase(0.5, {"lakes": 1.0}),))
    words = BytePairTokenizer([], special_tokens={END_OF_TEXT: 256}).save(tmp_path / "bare").parent
    with pytest.raises(InputError, match="tokenizer"):
        run_pretrain(settings, notes, words, tmp_path / "other-ids")


def test_an_average_is_evaluated_and_saved_beside_the_weights(config, notes, byte_tokenizer, tmp_path):
    settings = replace(config.pretrain, steps=6, average=AverageConfig("latest", snapshots=3))
    result = run_pretrain(settings, notes, byte_tokenizer, tmp_path / "base")
    assert result["averaged_bits_per_byte"] != result["validation_bits_per_byte"]
    assert find_checkpoint(tmp_path / "base" / "averaged").fingerprint != find_checkpoint(tmp_path / "base").fingerprint
    plain = run_pretrain(replace(settings, average=AverageConfig()), notes, byte_tokenizer, tmp_path / "plain")
    assert plain["validation_bits_per_byte"] == result["validation_bits_per_byte"]
    assert plain["averaged_bits_per_byte"] is None


def test_a_hierarchical_model_needs_bytes(config, notes, tmp_path):
    words = train_bpe(["the river the river the river"] * 9, 263, special_tokens=SPECIAL_TOKENS)
    words.save(tmp_path / "words")
    with pytest.raises(InputError, match="reads bytes, and this tokenizer merges them"):
        run_pretrain(replace(config.pretrain, model=OTHER_KINDS[1]), notes, tmp_path / "words", tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_corpus_without_a_held_out_part(config, notes, byte_tokenizer, tmp_path):
    run_corpus(CorpusConfig(source="files", inputs=(notes,), held_out_fraction=0.0), tmp_path / "corpus")
    result = run_pretrain(config.pretrain, tmp_path / "corpus", byte_tokenizer, tmp_path / "base")
    assert result["validation_bits_per_byte"] is None
    with pytest.raises(InputError, match="holds no text out"):
        run_evaluate(config.evaluate, tmp_path / "base", tmp_path / "corpus", tmp_path / "evaluated")
    assert not (tmp_path / "evaluated").exists()


@pytest.mark.parametrize("stride", [-1, 81])
def test_a_stride_outside_the_context(config, notes, pretrained, tmp_path, stride):
    with pytest.raises(ConfigError, match=f"stride is {stride}; it must be between 0 and the model's context of 80"):
        run_evaluate(replace(config.evaluate, stride=stride), pretrained, notes, tmp_path / "evaluated")
    assert not (tmp_path / "evaluated").exists()


def test_tokenizers_without_the_tokens_that_a_stage_needs(config, notes, tmp_path):
    BytePairTokenizer([]).save(tmp_path / "bare")
    with pytest.raises(InputError, match=r"The tokenizer has no <\|endoftext\|>"):
        run_pretrain(config.pretrain, notes, tmp_path / "bare", tmp_path / "base")
    assert not (tmp_path / "base").exists()
    BytePairTokenizer([], special_tokens={END_OF_TEXT: 256}).save(tmp_path / "no-chat")
    run_pretrain(config.pretrain, notes, tmp_path / "no-chat", tmp_path / "base")
    with pytest.raises(InputError, match=r"The tokenizer has no <\|user\|>"):
        run_sft(config.sft, tmp_path / "base", tmp_path / "sft")
    assert not (tmp_path / "sft").exists()


def test_grpo_needs_a_finished_sft_run(config, pretrained, tmp_path):
    with pytest.raises(InputError, match="must be a finished sft or grpo run"):
        run_grpo(config.grpo, pretrained, tmp_path / "grpo")
    with pytest.raises(MissingError, match="There is no run or checkpoint"):
        run_sft(config.sft, tmp_path / "nowhere", tmp_path / "sft")
    assert not (tmp_path / "grpo").exists()
    assert not (tmp_path / "sft").exists()


def test_sft_ends_at_its_target(config, pretrained, tmp_path, monkeypatch):
    from groundup.evaluation import answering
    from groundup.stages import sft as stage

    def perfect(engine, examples):
        texts = tuple(example.answer for example in examples)
        return answering.Answers(tuple(examples), texts, (True,) * len(texts))

    monkeypatch.setattr(stage, "answer", perfect)
    result = run_sft(config.sft, pretrained, tmp_path / "sft")
    assert result["steps"] == config.sft.evaluate_every + config.sft.anneal_steps
    whole = run_sft(replace(config.sft, anneal_steps=0), pretrained, tmp_path / "whole")
    assert whole["steps"] == config.sft.evaluate_every


def test_sft_anneals_to_a_learning_rate_of_nearly_zero(config):
    from groundup.optim.schedules import learning_rate_fraction
    from groundup.stages.sft import phase

    assert phase(config.sft, None) == (config.sft.optimizer, config.sft.max_steps)
    optimizer, end = phase(replace(config.sft, anneal_steps=4), 6)
    assert end == 10
    assert [learning_rate_fraction(optimizer, step, end) for step in range(6, 10)] == pytest.approx(
        [1, 0.75, 0.5, 0.25]
    )


def test_plain_files_are_split_with_nothing_in_both(tmp_path):
    folder = write_notes(tmp_path / "notes")
    train, heldout = train_and_heldout(folder)
    assert (len(train), len(heldout)) == (22, 2)
    assert not set(train) & set(heldout)
    (tmp_path / "one.txt").write_text("".join(f"line {number}\n" for number in range(200)))
    (front,), (back,) = train_and_heldout(tmp_path / "one.txt")
    assert front + back == (tmp_path / "one.txt").read_text()
    assert len(back) == len(front + back) // 20
    (tmp_path / "tiny.txt").write_text("x")
    with pytest.raises(InputError, match="too little text to train on"):
        train_and_heldout(tmp_path / "tiny.txt")


def test_a_corpus_folder_brings_its_own_split_and_fingerprint(notes, tmp_path):
    out = tmp_path / "corpus"
    result = run_corpus(CorpusConfig(source="files", inputs=(notes,), seed=1), out)
    train, heldout = train_and_heldout(out)
    assert (len(train), len(heldout)) == tuple(result["splits"][name]["documents"] for name in ("train", "heldout"))
    assert text_fingerprint(out) == result["fingerprint"]
    before = text_fingerprint(notes)
    (notes / "00.txt").write_text("changed")
    assert text_fingerprint(notes) != before


def test_the_dtype_is_chosen_once_and_kept_with_the_threads(tmp_path, measured, monkeypatch):
    threads = torch.get_num_threads()
    try:
        first = prepare_compute(ComputeConfig(threads=1), tmp_path)
        assert first == (PRECISIONS["bfloat16"], 1e9)
        monkeypatch.setattr(compute, "fastest_dtype", lambda: torch.float32)  # the machine is busy with something else
        assert prepare_compute(ComputeConfig(threads=2), tmp_path) == first
        assert torch.get_num_threads() == 1, "a resumed run keeps the threads that it began with"
        assert measured == [torch.bfloat16]
    finally:
        torch.set_num_threads(threads)


def test_a_given_dtype_is_not_weighed_against_others(tmp_path, measured):
    assert prepare_compute(COMPUTE, tmp_path) == (PRECISIONS["float32"], 1e9)
    assert measured == [torch.float32]
