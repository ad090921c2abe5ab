"""tokenizer.json and the files of GPT-2: what is written comes back, what is broken is named."""

import json

import pytest

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.printable_bytes import from_printable, to_printable
from groundup.tokenization.vocabulary_files import load_vocabulary, save_vocabulary

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
        (lambda d: d.update(version=1), "has version 1; this groundup reads version 2, train it again"),
        (lambda d: d.pop("merges"), "merges"),
        (lambda d: d.update(extra=1), "unknown key 'extra'"),
        (lambda d: d.update(pattern="(["), "not a regular expression"),
        (lambda d: d["merges"].append("Q QQ"), r"merge 42 \('Q QQ'\) joins a token that no merge makes"),
        (lambda d: d["merges"].append("xy"), r"merge 42 \('xy'\) is not two tokens"),
        (lambda d: d["merges"].append("x "), r"merge 42 \('x '\) is not two tokens"),
        (lambda d: d["merges"].append(d["merges"][0]), "which is a token already"),
        (lambda d: d["merges"].append("語 a"), "stands for no byte"),
        (lambda d: d.update(ids=[1, 2, 3]), "There are 3 ids for 298 tokens"),
        (lambda d: d.update(ids=[7] * 298), "id 7, which another token has"),
        (lambda d: d.update(ids=["a"]), r"ids\.0"),
        (lambda d: d.update(normalization="nfc"), "normalization"),
        (lambda d: d["whole_pieces"].update({"zq": 5}), "id 5, which another token has"),
        (lambda d: d["whole_pieces"].update({"語": 500}), "stands for no byte"),
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


def test_everything_that_a_vocabulary_from_elsewhere_can_have_comes_back(tokenizer, tmp_path):
    full = BytePairTokenizer(
        tokenizer.merges,
        r"\w+|\W",
        {"<|end|>": 0},
        [2 * number + 1 for number in range(298)],
        whole_pieces={b" zq": 2, b"\xff\xfe": 4},
        normalization="NFKC",
    )
    full.save(tmp_path)
    loaded = BytePairTokenizer.load(tmp_path)
    assert loaded.fingerprint == full.fingerprint
    assert loaded.vocabulary == full.vocabulary
    assert (loaded.ids, loaded.whole_pieces, loaded.normalization) == (full.ids, full.whole_pieces, "NFKC")


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


class TestGpt2Files:
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

    def test_reading(self, tokenizer, gpt2_like):
        loaded = load_vocabulary(gpt2_like)
        assert loaded.special_tokens == {"<|endoftext|>": 298}
        twin = BytePairTokenizer(tokenizer.merges, "gpt2")
        pieces = [[t.decode_bytes([token]) for token in t.encode(TEXT)] for t in (loaded, twin)]
        assert pieces[0] == pieces[1]
        assert loaded.encode("!") == [0]
        loaded.save(gpt2_like / "ours")
        assert load_vocabulary(gpt2_like / "ours").encode(TEXT) == loaded.encode(TEXT)
        assert load_vocabulary(gpt2_like, "digits").encode("123") == [16, 17, 18]

    def test_written_files_are_those_that_were_read(self, gpt2_like, tmp_path):
        loaded = load_vocabulary(gpt2_like)
        save_vocabulary(loaded, "gpt2", tmp_path / "again")
        assert load_vocabulary(tmp_path / "again").fingerprint == loaded.fingerprint
        assert (tmp_path / "again" / "merges.txt").read_bytes() == (gpt2_like / "merges.txt").read_bytes()
        first, again = (json.loads((folder / "vocab.json").read_text()) for folder in (gpt2_like, tmp_path / "again"))
        assert list(again.items()) == list(first.items())

    def test_transformers_reads_what_is_written(self, gpt2_like, tmp_path):
        import transformers

        loaded = load_vocabulary(gpt2_like)
        save_vocabulary(loaded, "gpt2", tmp_path / "again")
        theirs = transformers.GPT2TokenizerFast.from_pretrained(str(tmp_path / "again"))
        assert theirs(TEXT)["input_ids"] == loaded.encode(TEXT)
        assert theirs("<|endoftext|>")["input_ids"] == [298]

    def test_broken_files(self, gpt2_like):
        merges = gpt2_like / "merges.txt"
        whole = merges.read_text(encoding="utf-8")
        for line, message in [("Q q", "has no token 'Qq'"), ("Qq", "'Qq'"), ("a t", "is a token already")]:
            merges.write_text(f"{whole}{line}\n", encoding="utf-8")
            with pytest.raises(InputError, match=message):
                load_vocabulary(gpt2_like)
        (gpt2_like / "vocab.json").write_text('{"a": 0}')
        with pytest.raises(InputError, match="has no token 'Ā'"):
            load_vocabulary(gpt2_like)
        (gpt2_like / "vocab.json").write_text("[1]")
        with pytest.raises(InputError, match="is not a GPT-2 vocabulary"):
            load_vocabulary(gpt2_like)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pattern": "digits"}, "cuts text with"),
            ({"pattern": "gpt2", "normalization": "NFC"}, "cannot hold the normalization NFC"),
            ({"pattern": "gpt2", "whole_pieces": {b"ab": 700}}, "cannot hold tokens without a merge"),
            ({"pattern": "gpt2", "special_tokens": {"Ġ": 700}}, "'Ġ' is written like another token"),
        ],
    )
    def test_what_its_readers_would_read_otherwise_is_not_written(self, tokenizer, tmp_path, options, message):
        with pytest.raises(ConfigError, match=message):
            save_vocabulary(BytePairTokenizer(tokenizer.merges, **options), "gpt2", tmp_path / "x")
        assert not (tmp_path / "x").exists()


class TestForms:
    def test_a_pattern_only_where_none_is_named(self, tokenizer, tmp_path):
        tokenizer.save(tmp_path)
        with pytest.raises(ConfigError, match="names its own pre-token pattern"):
            load_vocabulary(tmp_path, "gpt2")

    def test_other_json(self, tmp_path):
        (tmp_path / "tokenizer.json").write_text("[1]")
        with pytest.raises(InputError, match=r"neither a groundup tokenizer nor one of Hugging Face"):
            load_vocabulary(tmp_path)

    def test_a_folder_without_a_vocabulary(self, tmp_path):
        with pytest.raises(MissingError, match="no vocabulary in"):
            load_vocabulary(tmp_path)

    def test_an_unknown_form(self, tokenizer, tmp_path):
        with pytest.raises(ConfigError, match="no form 'hugingface'; did you mean 'huggingface'"):
            save_vocabulary(tokenizer, "hugingface", tmp_path / "x")  # type: ignore[arg-type]
