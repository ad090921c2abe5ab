"""Models out to other programs and in again: the same weights, the same words, and faults told in a sentence."""

from pathlib import Path

import pytest
import torch

from groundup.checkpoint.store import write_checkpoint
from groundup.cli.main import main
from groundup.core.errors import ConfigError, InputError, MissingError, OutputError
from groundup.inference.engine import find_checkpoint, load_engine
from groundup.inference.requests import Request, Sampling
from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import StateSpace
from groundup.models.presets import llama
from groundup.stages.interchange import export_model, import_model
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe

TEXT = "the cat sat on the mat and the dog sat on the log; " * 20


@pytest.fixture
def words() -> BytePairTokenizer:
    return train_bpe([TEXT], 280, "gpt2", ("<|endoftext|>",))


def checkpoint_of(config: DecoderConfig, words: BytePairTokenizer | None, folder: Path) -> Path:
    model = Decoder(config)
    initialize(model, 0)
    write_checkpoint(folder / "checkpoints", 7, config, model.state_dict(), {}, words)
    return folder


@pytest.mark.parametrize("name", ["folder", "file.gguf"])
def test_out_and_in_again(tmp_path: Path, words: BytePairTokenizer, name: str) -> None:
    config = llama(words.vocab_size, 64, 32, 2, 4, 2, 48)
    source = checkpoint_of(config, words, tmp_path / "ours")
    export_model(source, tmp_path / name, "float32")
    if name == "file.gguf":
        words.save(tmp_path / "words")
    result = import_model(tmp_path / name, tmp_path / "again", tmp_path / "words" if "gguf" in name else None)
    before, after = find_checkpoint(source).weights(), find_checkpoint(tmp_path / "again").weights()
    assert result["parameters"] == sum(weight.numel() for weight in before.values())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    request = Request(tuple(words.encode("the cat")), Sampling(max_tokens=12, temperature=0.0))
    found = [load_engine(path, torch.float32).generate([request])[0].ids for path in (source, tmp_path / "again")]
    assert found[0] == found[1]


def test_transformers_says_the_same(tmp_path: Path, words: BytePairTokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    source = checkpoint_of(llama(words.vocab_size, 64, 32, 2, 4, 2, 48, qk_norm=True), words, tmp_path / "ours")
    export_model(source, tmp_path / "theirs", "float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")("the cat sat", return_tensors="pt").input_ids
    assert ids[0].tolist() == words.encode("the cat sat")
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0].tolist()
    request = Request(
        tuple(ids[0].tolist()), Sampling(max_tokens=12, temperature=0.0), stop_ids=(words.vocab_size - 1,)
    )
    ours = load_engine(source, torch.float32).generate([request])[0].ids
    assert theirs[ids.shape[1] :][: len(ours)] == list(ours)


def test_smaller_formats_are_rounded_and_nothing_else(tmp_path: Path, words: BytePairTokenizer) -> None:
    source = checkpoint_of(llama(words.vocab_size, 64, 32, 1, 4, 2, 48), words, tmp_path / "ours")
    export_model(source, tmp_path / "half", "bfloat16")
    import_model(tmp_path / "half", tmp_path / "again")
    before, after = find_checkpoint(source).weights(), find_checkpoint(tmp_path / "again").weights()
    assert all(torch.equal(before[name].bfloat16().float(), after[name]) for name in before)


def test_faults(tmp_path: Path, words: BytePairTokenizer) -> None:
    plain = checkpoint_of(llama(words.vocab_size, 64, 32, 1, 4, 2, 48), words, tmp_path / "plain")
    hybrid = DecoderConfig(words.vocab_size, 64, 32, 1, layers=(Layer(StateSpace(head_width=16)),))
    with pytest.raises(ConfigError, match="No Hugging Face family can hold this decoder"):
        export_model(checkpoint_of(hybrid, words, tmp_path / "hybrid"), tmp_path / "out", "float32")
    with pytest.raises(ConfigError, match="dtype 'q8_0' cannot be written to out; choose one of float32"):
        export_model(plain, tmp_path / "out", "q8_0")
    with pytest.raises(OutputError, match="is there already"):
        export_model(plain, plain, "float32")
    with pytest.raises(MissingError, match=r"name a folder with config\.json"):
        import_model(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(MissingError, match=r"has no config\.json"):
        import_model(plain, tmp_path / "out")
    export_model(plain, tmp_path / "out", "float32")
    with pytest.raises(OutputError, match="is not empty"):
        import_model(tmp_path / "out", plain)
    (tmp_path / "out" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="is no whole safetensors file"):
        import_model(tmp_path / "out", tmp_path / "again")
    (tmp_path / "out" / "config.json").write_text('{"model_type": "lama"}')
    with pytest.raises(InputError, match="did you mean 'llama'"):
        import_model(tmp_path / "out", tmp_path / "again")


def test_the_verbs(tmp_path: Path, words: BytePairTokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint_of(llama(words.vocab_size, 64, 32, 1, 4, 2, 48), words, tmp_path / "ours")
    assert main(["export", str(source), "--out", str(tmp_path / "out")]) == 0
    assert f"written: {tmp_path / 'out'}; load it: transformers." in capsys.readouterr().out
    assert main(["import", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0
    assert "next: groundup generate" in capsys.readouterr().out
    (tmp_path / "out" / "tokenizer.json").unlink()
    assert main(["import", str(tmp_path / "out"), "--out", str(tmp_path / "mute")]) == 0
    assert "next: groundup account" in capsys.readouterr().out
    assert main(["generate", str(tmp_path / "mute"), "--prompt", "a"]) == 1
    assert "imported without a tokenizer" in capsys.readouterr().err
