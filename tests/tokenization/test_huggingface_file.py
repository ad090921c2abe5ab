"""Hugging Face's tokenizer.json: its libraries give our ids for what is written, we give theirs for what is read."""

import json
from functools import cache
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.huggingface_file import huggingface_json, read_huggingface, tokenizer_of_huggingface
from groundup.tokenization.huggingface_pattern import from_oniguruma, to_oniguruma
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split
from groundup.tokenization.printable_bytes import to_printable
from groundup.tokenization.vocabulary_files import load_vocabulary, save_vocabulary

TEXT = """It is a truth universally acknowledged, that a single man in possession of 4,000 a year must be in want of a
wife. However little known the feelings of such a man may be, it's "fixed" in 1813's minds: aaaa aaaaa aaaaaa!!!   So.
Ça va? Привет, мир и другие слова. 日本語のテキスト。 Ünïcödé café 🙂🙃👩‍👩‍👧. \t\r\n\n  Don't we'll they've I'm 12345
67.8% camelCase DON'T WE'LL
"""
SPECIALS = ("<|end|>", "<|endoftext|>", "<|end|><|end|>")

# Unassigned code points are left out: libraries of different Unicode versions class them differently.
assigned = st.text(st.characters(exclude_categories=("Cn", "Cs")), max_size=40)
snippets = st.lists(
    st.sampled_from([*TEXT.split(" "), " ", "  ", "\n", "\r\n", "'s", "'S", "'ſ", "1", "99", "123456", "\x85", "\xa0"])
)
fuzz = st.one_of(assigned, snippets.map("".join), st.text("aAé b'lL 1\n/", max_size=40))


@cache
def trained(pattern: str) -> BytePairTokenizer:
    return train_bpe([TEXT], 450, pattern, SPECIALS)


@cache
def written(pattern: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(huggingface_json(trained(pattern))))


def ids_of(theirs: tokenizers.Tokenizer, text: str) -> list[int]:
    return theirs.encode(text, add_special_tokens=False).ids


def read(theirs: tokenizers.Tokenizer) -> BytePairTokenizer:
    return tokenizer_of_huggingface(json.loads(theirs.to_str()), Path("tokenizer.json"))


class TestWriting:
    @pytest.mark.parametrize("pattern", sorted(PATTERNS))
    @settings(max_examples=150)
    @given(fuzz)
    def test_their_ids_are_ours(self, pattern, text):
        assert ids_of(written(pattern), text) == trained(pattern).encode(text)

    @pytest.mark.parametrize("pattern", sorted(PATTERNS))
    def test_text_and_special_tokens(self, pattern):
        ours, theirs = trained(pattern), written(pattern)
        text = f"{TEXT}<|end|><|end|><|end|>{TEXT}<|endoftext|>"
        ids = ids_of(theirs, text)
        assert ids == ours.encode(text, allow_special=True)
        assert theirs.decode(ids, skip_special_tokens=False) == text
        assert theirs.get_vocab_size() == ours.vocab_size

    @pytest.mark.parametrize("pattern", sorted(PATTERNS))
    def test_what_is_written_comes_back(self, pattern, tmp_path):
        ours = trained(pattern)
        save_vocabulary(ours, "huggingface", tmp_path)
        for place in (tmp_path, tmp_path / "tokenizer.json"):
            assert load_vocabulary(place).fingerprint == ours.fingerprint

    def test_transformers_reads_it(self, tmp_path):
        import transformers

        ours = trained("cl100k")
        save_vocabulary(ours, "huggingface", tmp_path)
        text = f"{TEXT}<|end|>"
        readers = [
            transformers.AutoTokenizer.from_pretrained(str(tmp_path)),
            transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json")),
        ]
        for theirs in readers:
            ids = theirs(text)["input_ids"]
            assert ids == ours.encode(text, allow_special=True)
            assert theirs.decode(ids) == text
        assert readers[0].eos_token == "<|endoftext|>"

    def test_what_only_a_vocabulary_from_elsewhere_has(self, tmp_path):
        ours = BytePairTokenizer(
            trained("gpt2").merges,
            "gpt2",
            {"<s>": 0, "</s>": 5},
            [token for token in range(1000) if token % 5][: 256 + len(trained("gpt2").merges)],
            whole_pieces={b" zqz": 10, "żółć".encode(): 15},
            normalization="NFC",
        )
        save_vocabulary(ours, "huggingface", tmp_path)
        assert load_vocabulary(tmp_path).fingerprint == ours.fingerprint
        theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in (TEXT, "<s>a zqz zqzz</s>", "żółć z\u0307o\u0301łc\u0301"):
            assert ids_of(theirs, text) == ours.encode(text, allow_special=True)
        assert {10, 15} <= set(ours.encode(" zqz żółć\nżółć"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"merges": (), "pattern": r"(?P<word>\w+)"}, r"the group '\(\?P<wo' is not known on both sides"),
            ({"merges": (), "special_tokens": {"a": 300}}, "'a' is written like another token"),
            (
                {"merges": [(97, 98), (98, 99), (97, 257)], "whole_pieces": {b"zz": 300}},
                "from merges that never join anything",
            ),
        ],
    )
    def test_what_it_cannot_hold_is_refused(self, tmp_path, arguments, message):
        with pytest.raises(ConfigError, match=message):
            save_vocabulary(BytePairTokenizer(**arguments), "huggingface", tmp_path / "x")
        assert not (tmp_path / "x").exists()


class TestReading:
    @pytest.mark.parametrize("use_regex", [True, False])
    def test_what_tokenizers_trains(self, use_regex, tmp_path):
        theirs = tokenizers.Tokenizer(models.BPE())
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
        cut = pre_tokenizers.Split(tokenizers.Regex(r"\p{N}| ?\p{L}+|[^\p{L}\p{N}]+?"), "isolated")
        theirs.pre_tokenizer = level if use_regex else pre_tokenizers.Sequence([cut, level])  # type: ignore[assignment]
        theirs.decoder = decoders.ByteLevel()  # type: ignore[assignment]
        trainer = trainers.BpeTrainer(  # type: ignore[call-arg]
            vocab_size=400,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        theirs.train_from_iterator([TEXT] * 3, trainer)
        theirs.save(str(tmp_path / "tokenizer.json"))
        ours = load_vocabulary(tmp_path)
        assert ours.special_tokens == {"<s>": 0, "</s>": 1}
        assert ours.vocab_size == 400
        assert (ours.pattern == PATTERNS["gpt2"]) == use_regex
        for text in (TEXT, "<s>naïve 🙂</s>", "a\n\n b"):
            assert ours.encode(text, allow_special=True) == ids_of(theirs, text)
            assert ours.decode(ids_of(theirs, text)) == text

    @settings(max_examples=300)
    @given(
        st.lists(st.text("abc", min_size=2, max_size=5), unique=True, max_size=10),
        st.randoms(use_true_random=False),
        st.lists(st.text("abc", max_size=30), max_size=6),
    )
    def test_any_way_to_list_the_merges(self, tokens, random, texts):
        """All cuts of each token into two tokens, in any order: with `ignore_merges` as in Llama 3."""
        known = {*"abc", *tokens}
        cuts = [(token[:at], token[at:]) for token in tokens for at in range(1, len(token))]
        pairs = [(left, right) for left, right in cuts if left in known and right in known]
        random.shuffle(pairs)
        vocabulary = {to_printable(bytes([byte])): byte for byte in range(256)}
        vocabulary |= {token: 256 + place for place, token in enumerate(tokens)}
        theirs = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=True))
        theirs.pre_tokenizer = everything()
        ours = read(theirs)
        for text in [*texts, *tokens, "".join(tokens)]:
            assert ours.encode(text) == ids_of(theirs, text)
        back = tokenizers.Tokenizer.from_str(json.dumps(huggingface_json(ours)))
        for text in texts:
            assert ids_of(back, text) == ids_of(theirs, text)

    @settings(max_examples=200)
    @given(st.lists(st.text("abc", min_size=2, max_size=4), unique=True, max_size=12), st.lists(st.text("abc")))
    def test_one_merge_for_each_token_without_ignore_merges(self, tokens, texts):
        """Merges that never join anything stay what they are: their tokens are only decoded."""
        known = {*"abc"}
        pairs: list[tuple[str, str]] = []
        for token in tokens:
            cuts = [(token[:at], token[at:]) for at in range(1, len(token)) if {token[:at], token[at:]} <= known]
            if cuts:
                pairs.append(cuts[-1])
                known.add(token)
        made = [left + right for left, right in pairs]
        vocabulary = {to_printable(bytes([byte])): byte for byte in range(256)}
        vocabulary |= {token: 256 + place for place, token in enumerate(made)}
        theirs = tokenizers.Tokenizer(models.BPE(vocabulary, pairs))
        theirs.pre_tokenizer = everything()
        ours = read(theirs)
        for text in [*texts, *tokens]:
            assert ours.encode(text) == ids_of(theirs, text)
        assert ours.decode(range(256, 256 + len(made))) == "".join(made)

    def test_both_ways_to_write_a_merge(self):
        content = huggingface_json(trained("gpt2"))
        content["model"]["merges"] = [line.split(" ") for line in content["model"]["merges"]]
        assert tokenizer_of_huggingface(content, Path("x")).fingerprint == trained("gpt2").fingerprint

    def test_normalization(self):
        theirs = tokenizers.Tokenizer.from_str(json.dumps(huggingface_json(trained("gpt2"))))
        theirs.normalizer = normalizers.Sequence([normalizers.NFC()])  # type: ignore[assignment]
        ours = read(theirs)
        assert ours.normalization == "NFC"
        for text in ("e\u0301 \u1100\u1161", "a\u0338<|end|>\u0338", "Å"):
            assert ours.encode(text, allow_special=True) == ids_of(theirs, text)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d["model"].update(type="WordPiece"), "its model is WordPiece"),
            (lambda d: d["model"].update(type="Unigram"), "its model is Unigram"),
            (lambda d: d["model"].update(byte_fallback=True), "has byte_fallback set"),
            (lambda d: d["model"].update(dropout=0.1), r"has dropout set \(0.1\)"),
            (lambda d: d["model"].update(end_of_word_suffix="</w>"), "has end_of_word_suffix set"),
            (lambda d: d["model"].pop("merges"), "not a whole Hugging Face tokenizer"),
            (lambda d: d["model"].update(merges=[["a", "b", "c"]]), "is not two tokens"),
            (lambda d: d["model"].update(merges=["a 語"]), "stands for no byte"),
            (lambda d: d["model"].update(merges=["q qq"]), "joins a token that no merge makes"),
            (lambda d: d["model"].update(merges=["q q"]), "has no token 'qq'"),
            (lambda d: d["model"].update(merges=["a t"]), "no merge makes its token"),
            (lambda d: d["model"]["vocab"].pop("a"), "has no token 'a'"),
            (lambda d: d["model"]["vocab"].update({"<|end|>": 999}), "has two ids, 999 and 447"),
            (lambda d: d.update(normalizer={"type": "Lowercase"}), "normalizer is Lowercase"),
            (lambda d: d["added_tokens"][0].update(lstrip=True), r"'<\|end\|>' has lstrip set"),
            (lambda d: d.update(pre_tokenizer=None), "pre-tokenizer is missing; only byte-level"),
            (lambda d: d.update(pre_tokenizer={"type": "Metaspace"}), "pre-tokenizer is Metaspace; only byte-level"),
            (lambda d: d.update(pre_tokenizer={"type": "ByteLevel"}), "add_prefix_space"),
            (lambda d: d.update(pre_tokenizer=byte_level(use_regex=False)), "does not cut text"),
            (lambda d: steps(d)[1].update(use_regex=True), "cuts text twice"),
            (lambda d: steps(d)[0].update(behavior="Removed"), "with the behavior Isolated"),
            (lambda d: steps(d)[0]["pattern"].update(Regex=r"\h+"), r"the escape '\\\\h' is not known"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, tmp_path, change, message):
        content = huggingface_json(trained("gpt2"))
        change(content)
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message) as caught:
            read_huggingface(path)
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith(".")


class TestPatterns:
    @pytest.mark.parametrize("name", sorted(PATTERNS))
    def test_translation_undoes_itself(self, name):
        assert from_oniguruma(to_oniguruma(PATTERNS[name])) == PATTERNS[name]

    @pytest.mark.parametrize(
        "expression",
        [
            r"\p{N}{1,3}+|\D+",
            r"[ab]{2}+|\s",
            r"^a|a$|\n$",
            r"a\Z|\A.",
            r"(?m:^)a|b(?m:$)",
            r"(?i:'[sd]|ll)|(?:ab){1,2}|(?<=a)b|(?<!a)c|(?=b)b|(?!a)\w",
            r"[]a]+|[^]b]+|[\]\[]",
            r"[[:alpha:]]+|\x61\u0062",
            r"(?>ab|a)b?|a++|b*+a",
        ],
    )
    @settings(max_examples=100)
    @given(text=st.text("abc1234 \n[]'LlSs", max_size=20))
    def test_both_engines_cut_alike(self, expression, text):
        theirs = pre_tokenizers.Split(tokenizers.Regex(to_oniguruma(expression)), "isolated")
        expected = split(compile_pattern(expression), text)
        assert [piece for piece, _ in theirs.pre_tokenize_str(text)] == expected
        assert split(compile_pattern(from_oniguruma(to_oniguruma(expression))), text) == expected

    @pytest.mark.parametrize("expression", [r"[ab]{1,2}+", r"^a|b$", r"a\z|b\Z", r"(?>a{1,2})b?"])
    @settings(max_examples=100)
    @given(text=st.text("ab \n", max_size=20))
    def test_theirs_is_read_as_they_mean_it(self, expression, text):
        theirs = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
        ours = compile_pattern(from_oniguruma(expression))
        assert [piece for piece, _ in theirs.pre_tokenize_str(text)] == split(ours, text)

    @pytest.mark.parametrize(
        "expression",
        [
            r"(?P<x>a)",
            r"(?s:a)",
            r"(?#a)b",
            r"\h",
            r"\X",
            r"\K",
            r"[a[b]]",
            r"[a&&b]",
            r"[a--b]",
            r"(ab){1,2}+",
            r"a{2}?",
        ],
    )
    def test_what_is_not_the_same_on_both_sides_is_refused(self, expression):
        for translate in (to_oniguruma, from_oniguruma):
            with pytest.raises(ValueError, match="is not known on both sides"):
                translate(expression)


def everything() -> pre_tokenizers.PreTokenizer:
    """One piece for the whole text, then printable bytes."""
    cut = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]+"), "isolated")
    return pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(use_regex: bool) -> dict[str, object]:
    return {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex}


def steps(content: dict) -> list[dict]:
    return content["pre_tokenizer"]["pretokenizers"]
