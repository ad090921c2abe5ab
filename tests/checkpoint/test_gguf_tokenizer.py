"""The tokenizer in a GGUF file: against the `gguf` package, and llama.cpp itself where it is installed."""

from pathlib import Path
from typing import Any

import pytest
from gguf_samples import GATED, attention, decoder, random_weights

from groundup.checkpoint.gguf import write_gguf
from groundup.core.errors import ConfigError
from groundup.models.config import Layer
from groundup.tokenization.bpe_training import train_bpe

TEXTS = [
    "the cat sat on the mat, and the hat sat on the cat! " * 8,
    "don't  stop\n\nwe'll see Grüße, 中文 12 345 \t x",
] * 4
SPECIAL = ("<|endoftext|>", "<|user|>")


def with_tokenizer(folder: Path, pattern: str) -> tuple[Path, Any]:
    tokenizer = train_bpe(TEXTS, 300, pattern, SPECIAL)
    config = decoder(Layer(attention(), GATED), vocab_size=tokenizer.vocab_size + 3)
    return write_gguf(config, random_weights(config), folder / "model.gguf", tokenizer=tokenizer), tokenizer


def test_a_tokenizer_is_written_in_printable_bytes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path, tokenizer = with_tokenizer(tmp_path, "gpt2")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    texts = fields["tokenizer.ggml.tokens"]
    size = tokenizer.vocab_size
    assert len(texts) == size + 3
    assert texts[size - 2 :] == [*SPECIAL, f"[PAD{size}]", f"[PAD{size + 1}]", f"[PAD{size + 2}]"]
    assert texts[ord(" ")] == "Ġ"
    assert "Ġthe" in texts
    normal, control, unused = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.UNUSED
    assert fields["tokenizer.ggml.token_type"] == [normal] * (size - 2) + [control] * 2 + [unused] * 3
    assert fields["tokenizer.ggml.merges"][0] == "a t"
    assert len(fields["tokenizer.ggml.merges"]) == len(tokenizer.merges)
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert fields["tokenizer.ggml.eos_token_id"] == size - 2
    assert fields["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize("pattern", ["gpt2", "digits", "cl100k", "o200k"])
def test_llama_cpp_gives_the_same_tokens(pattern: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    path, tokenizer = with_tokenizer(tmp_path, pattern)
    model = llama_cpp.Llama(str(path), verbose=False, n_ctx=64)
    texts = [*TEXTS[:2], "  12 a\r\n  <|user|>x ", "Ünï'LL it's 🙂 ", "\n \n", "HTTPServer 3.14"]
    if pattern == "digits":  # but for spaces in front of a digit
        texts[2] = texts[2].replace("  12", " 12")
    for text in texts:
        for special in (False, True):
            found = model.tokenize(text.encode(), add_bos=False, special=special)
            assert found == tokenizer.encode(text, allow_special=special), text
    assert model.token_eos() == tokenizer.special_tokens["<|endoftext|>"]
    assert model.detokenize(tokenizer.encode("Grüße, 中")) == "Grüße, 中".encode()
    model.close()


def test_a_tokenizer_that_llama_cpp_would_use_otherwise_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = decoder(Layer(attention(), GATED), vocab_size=270)
    weights, path = random_weights(config), tmp_path / "model.gguf"
    with pytest.raises(ConfigError, match=r"no pre-tokenizer for the pattern '\\\\w\+'"):
        write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 270, r"\w+"))
    with pytest.raises(ConfigError, match="has 290 tokens, but the model only 270"):
        write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 290))
    assert not path.exists()
    write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 270, "digits"))
    assert "spaces in front of a digit" in caplog.text
    assert "token 11" in caplog.text
