"""tokenizer.json and vocabularies from elsewhere: what is written comes back, what is broken is named."""

import base64
import json

import pytest

from groundup.core.errors import InputError, MissingError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.printable_bytes import from_printable, to_printable
from groundup.tokenization.vocabulary_files import load_vocabulary

TEXT = "The cat sat on the mat; the naïve cat's 12 hats. 日本 日本 the other hatter mattered, naturally. " * 4


@pytest.fixture
def tokenizer() -> BytePairTokenizer:
    return train_bpe([TEXT], 300, "digits", ("<|end|>", "<|user|>"))


def test_saved_tokenizer_comes_back(tokenizer, tmp_path):
    assert tokenizer.save(tmp_path / "new") == tmp_path / "new" / "tokenizer.json"
    for place in (tmp_path / "new", tmp_path / "new" / "tokenizer.json"):
        loaded = BytePairTokenizer.load(place)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode(TEXT + "<|end|>", allow_special=True) == tokenizer.encode(
            TEXT + "<|end|>", allow_special=True
        )
        assert loaded.vocabulary == tokenizer.vocabulary


def test_file_is_readable_and_the_same_each_time(tokenizer, tmp_path):
    first = tokenizer.save(tmp_path / "a").read_bytes()
    assert first == BytePairTokenizer.load(tmp_path / "a").save(tmp_path / "b").read_bytes()
    data = json.loads(first)
    assert "a t" in data["merges"]
    assert data["special_tokens"] == {"<|end|>": 298, "<|user|>": 299}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="other"), "is not a groundup tokenizer"),
        (lambda d: d.update(version=9), "has version 9"),
        (lambda d: d.pop("merges"), "merges"),
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d.update(pattern="(["), "not a regular expression"),
        (lambda d: d["merges"].append("Q QQ"), "joins a token that no earlier merge makes"),
        (lambda d: d["merges"].append("xy"), r"merge 42 \('xy'\) is not two tokens"),
        (lambda d: d["merges"].append("x "), r"merge 42 \('x '\) is not two tokens"),
        (lambda d: d["merges"].append(d["merges"][0]), "which is a token already"),
        (lambda d: d["merges"].append("語 a"), "stands for no byte"),
        (lambda d: d.update(alphabet="abc"), "not a usable tokenizer"),
        (lambda d: d["special_tokens"].update({"<|z|>": 5}), "id 5, which another token has"),
        (lambda d: d["special_tokens"].update({"<|z|>": "5"}), r"special_tokens\.<\|z\|>"),
    ],
)
def test_broken_files_are_named(tokenizer, tmp_path, change, message):
    path = tokenizer.save(tmp_path)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        BytePairTokenizer.load(tmp_path)
    assert str(path) in str(caught.value)


def test_missing_and_cut_files(tokenizer, tmp_path):
    with pytest.raises(MissingError, match=r"no tokenizer\.json in"):
        BytePairTokenizer.load(tmp_path)
    with pytest.raises(MissingError, match="There is no file"):
        BytePairTokenizer.load(tmp_path / "absent")
    path = tokenizer.save(tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="not valid JSON"):
        BytePairTokenizer.load(tmp_path)


def test_printable_bytes():
    assert to_printable(b" the\n\x00\x7f\xad") == "ĠtheĊĀġŃ"  # as in the GPT-2 files
    assert from_printable(to_printable(bytes(range(256)))) == bytes(range(256))
    assert not any(character.isspace() for character in to_printable(bytes(range(256))))
    with pytest.raises(ValueError, match="stands for no byte"):
        from_printable("a b")


class TestVocabulariesFromElsewhere:
    @pytest.fixture
    def gpt2_like(self, tokenizer, tmp_path):
        """A GPT-2 folder with the bytes in another order and a special token at the end."""
        order = [*range(33, 256), *range(33)]
        names = [to_printable(bytes([byte])) for byte in order]
        merges = [(tokenizer.vocabulary[left], tokenizer.vocabulary[right]) for left, right in tokenizer.merges]
        names += [to_printable(left + right) for left, right in merges]
        vocabulary = {name: token for token, name in enumerate(names)} | {"<|endoftext|>": len(names)}
        (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
        lines = ["#version: 0.2", *(f"{to_printable(left)} {to_printable(right)}" for left, right in merges), ""]
        (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
        return tmp_path

    def test_gpt2_files(self, tokenizer, gpt2_like):
        loaded = load_vocabulary(gpt2_like)
        assert loaded.special_tokens == {"<|endoftext|>": 298}
        twin = BytePairTokenizer(tokenizer.merges, "gpt2")
        pieces = [[t.decode_bytes([token]) for token in t.encode(TEXT)] for t in (loaded, twin)]
        assert pieces[0] == pieces[1]
        assert loaded.encode("!") == [0]
        loaded.save(gpt2_like / "ours")
        assert load_vocabulary(gpt2_like / "ours").encode(TEXT) == loaded.encode(TEXT)

    def test_broken_gpt2_files(self, gpt2_like):
        merges = gpt2_like / "merges.txt"
        lines = merges.read_text(encoding="utf-8").splitlines()
        merges.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]), encoding="utf-8")
        with pytest.raises(InputError, match="is not a GPT-2 vocabulary"):
            load_vocabulary(gpt2_like)
        (gpt2_like / "vocab.json").write_text('{"a": 0}')
        with pytest.raises(InputError, match="no token with the id 1"):
            load_vocabulary(gpt2_like)

    def test_rank_file(self, tokenizer, tmp_path):
        path = tmp_path / "gpt2.tiktoken"
        tokens = [tokenizer.vocabulary[token] for token in range(256 + len(tokenizer.merges))]
        path.write_text("".join(f"{base64.b64encode(t).decode()} {rank}\n" for rank, t in enumerate(tokens)))
        loaded = load_vocabulary(path)
        assert loaded.merges == tokenizer.merges
        assert loaded.encode(TEXT) == BytePairTokenizer(tokenizer.merges, "gpt2").encode(TEXT)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("not base64 at all\n", "line 1 is not"),
            ("YQ== 1\n", "line 1 has the rank 1"),
            ("YQ== 0\n", "first 256 tokens are not the 256 bytes"),
            ("", "first 256 tokens are not the 256 bytes"),
            (
                "".join(f"{base64.b64encode(bytes([b])).decode()} {b}\n" for b in range(256)) + "YWJj 256\n",
                "rank 256 is not two",
            ),
        ],
    )
    def test_broken_rank_files(self, tmp_path, content, message):
        path = tmp_path / "x.tiktoken"
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_vocabulary(path)

    def test_folder_without_a_vocabulary(self, tmp_path):
        with pytest.raises(MissingError, match="no vocabulary in"):
            load_vocabulary(tmp_path)
