"""The compiled encoder gives the ids of the plain Python path and of tiktoken, on any text and from many threads."""

import random
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.tokenization import acceleration, streaming
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.compiled import encoder
from groundup.tokenization.compiled.objects import LARGE_PAGE
from groundup.tokenization.patterns import PATTERNS

SIZE = 2000
SPECIALS = {"<|end|>": 5000, "<|end of text|>": 5001}
SYLLABLES = [
    *("ba", "ke", "lo", "mi", "nur", "stra", "the", "ing", "tion", "Qua", "xyz", "THE", "ab", "abab", "aaa", "é", "ğü"),
    *("привет", "мир", "до", "中文", "日", "语", "한국", "ー", "e\u0301", "अ", "٣", "𝐀𝐁", "🙂", "👩\u200d🚀"),
]
GLUE = [*"    -/\t\n\u3000", ", ", ". ", "\n\n    ", "'s ", "'LL ", " 1863 ", "12345", "\r\n"]


def prose(seed: int, size: int) -> str:
    """Some `size` characters: a few hundred words of which the first are frequent, and now and then a new one."""
    generator = random.Random(seed)
    words = ["".join(generator.choices(SYLLABLES, k=generator.randint(1, 5))) for _ in range(400)]
    parts: list[str] = []
    while size > 0:
        word = words[int(400 * generator.random() ** 3)]
        if generator.random() < 0.05:
            word = "".join(generator.choices(SYLLABLES, k=generator.randint(1, 12)))
        parts += [word, generator.choice(GLUE)]
        size -= len(parts[-1]) + len(parts[-2])
    return "".join(parts)


@cache
def trained(pattern: str) -> BytePairTokenizer:
    return train_bpe([prose(1, 60_000)], SIZE, pattern)


class PlainTokenizer(BytePairTokenizer):
    """One without kernels, whatever is loaded."""

    def compile(self) -> bool:
        return False


def twin(kind: type[BytePairTokenizer], tokenizer: BytePairTokenizer) -> BytePairTokenizer:
    """An equal tokenizer with nothing in its caches."""
    return kind(
        tokenizer.merges,
        tokenizer.pattern,
        tokenizer.special_tokens,
        tokenizer.ids,
        whole_pieces=tokenizer.whole_pieces,
        normalization=tokenizer.normalization,
    )


def compiled_twin(tokenizer: BytePairTokenizer) -> BytePairTokenizer:
    compiled = twin(BytePairTokenizer, tokenizer)
    assert compiled.compile()
    return compiled


def plain_twin(tokenizer: BytePairTokenizer) -> BytePairTokenizer:
    return twin(PlainTokenizer, tokenizer)


@cache
def tiktoken_twin(pattern: str) -> tiktoken.Encoding:
    ours = trained(pattern)
    ranks = {data: token for token, data in ours.vocabulary.items()}
    return tiktoken.Encoding("twin", pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens=SPECIALS)


def assert_same_ids(ours: BytePairTokenizer, expected: list[int], text: str) -> None:
    """Every way into the kernels: as a list, as an array, from bytes, divided among threads."""
    assert ours._kernels is not None
    assert ours.encode(text) == expected
    assert ours.encode_array(text).tolist() == expected
    data = text.encode("utf-8", "surrogatepass")
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert ours.encode_array(data).tolist() == expected
    for threads in (2, 3):
        assert ours.encode_array(text, threads=threads).tolist() == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ids_are_those_of_python_and_tiktoken(pattern):
    generator = random.Random(2)
    kernels, plain, peer = compiled_twin(trained(pattern)), plain_twin(trained(pattern)), tiktoken_twin(pattern)
    source = prose(3, 300_000)
    sizes = [generator.randint(1, 80) for _ in range(200)] + [generator.randint(80, 3000) for _ in range(60)]
    for size in [*sizes, 4095, 4096, 4097, 20_000, 100_000]:
        start = generator.randrange(len(source) - size)
        text = source[start : start + size]
        expected = peer.encode_ordinary(text)
        assert plain.encode(text) == expected
        assert_same_ids(kernels, expected, text)
    assert plain._kernels is None


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_ids_of_any_text(pattern, text):
    shared = trained(pattern)
    assert shared.compile()
    assert_same_ids(shared, tiktoken_twin(pattern).encode_ordinary(text), text)


@pytest.mark.parametrize("text", ["", "a", "é", "\0", " ", "\n", "\ud800", "a\ud800b", "\ud83d\ude42 x"])
def test_short_and_impossible_texts(text):
    kernels, plain = compiled_twin(trained("cl100k")), plain_twin(trained("cl100k"))
    assert_same_ids(kernels, plain.encode(text), text)
    assert kernels.encode_array(text).dtype == np.uint32


@pytest.mark.parametrize("unit", ["a", "xq", "é", "🙂", "THE", "の"])
def test_long_pretokens(unit):
    """One piece of each length around the limits: its own key, scanned for the best merge, remembered."""
    for pattern in ("gpt2", "o200k"):
        kernels, plain = compiled_twin(trained(pattern)), plain_twin(trained(pattern))
        for size in [*range(1, 20), *range(61, 68), *range(125, 131), *range(250, 260), 2047, 2048, 2049, 5000]:
            text = f"{(unit * size)[:size]} {(unit * size)[: size // 2]} {(unit * size)[:size]}"
            assert_same_ids(kernels, plain.encode(text), text)


def test_a_pretoken_of_300_kilobytes():
    tokenizer = BytePairTokenizer([(97, 97), *((256 + i, 256 + i) for i in range(12))], "gpt2")
    text = "a" * 300_001
    expected = plain_twin(tokenizer).encode(text)
    assert len(expected) < 60
    assert_same_ids(compiled_twin(tokenizer), expected, text)
    random_text = "".join(random.Random(4).choices("ab", k=60_000))
    assert_same_ids(compiled_twin(trained("gpt2")), plain_twin(trained("gpt2")).encode(random_text), random_text)


def test_forward_merges():
    """A merge may use the token of a later one (Llama 3 has such); long pre-tokens are merged by another routine."""
    tokenizer = BytePairTokenizer([(97, 258), (99, 100), (98, 99), (97, 98)], "gpt2")
    kernels, plain = compiled_twin(tokenizer), plain_twin(tokenizer)
    for text in ("abc", "abcd", "abcbcab", "bcdabc", "abababcdbc", "abcdbcab" * 30, "".join(["abc", "bcd"] * 40)):
        assert_same_ids(kernels, plain.encode(text), text)


def rarities(kind: str) -> str:
    """Text whose pre-tokens hardly repeat: many short ones fill the table, long ones the arena of the cache."""
    generator = random.Random(kind)
    size = {"short": 9, "long": 150}[kind]
    return " ".join("".join(generator.choices("abcdefé", k=size)) for _ in range({"short": 20_000, "long": 2500}[kind]))


@pytest.mark.parametrize("kind", ["short", "long"])
def test_a_cache_that_grows_and_starts_afresh(monkeypatch, kind):
    """Whole pieces are in the cache only, so they must outlive both; 89 are all that this smallest cache takes."""
    monkeypatch.setattr(encoder, "FIRST_SLOTS", 1 << 12)
    monkeypatch.setattr(encoder, "MOST_SLOTS", 1 << 13)
    afresh, sizes = [], []
    start_afresh, set_pieces = encoder._Workspace._start_afresh, encoder._Workspace._set_pieces
    monkeypatch.setattr(
        encoder._Workspace, "_start_afresh", lambda self, slots: (afresh.append(slots), start_afresh(self, slots))
    )
    monkeypatch.setattr(
        encoder._Workspace,
        "_set_pieces",
        lambda self, pieces, arena: (sizes.append(len(pieces)), set_pieces(self, pieces, arena)),
    )
    whole = {f" {letter}{'xyz' * (number % 90)}whole": SIZE + number for number, letter in enumerate("abcdefghij" * 8)}
    merged = trained("gpt2")
    tokenizer = BytePairTokenizer(
        merged.merges, "gpt2", whole_pieces={piece.encode(): token for piece, token in whole.items()}
    )
    kernels, plain = compiled_twin(tokenizer), plain_twin(tokenizer)
    assert (afresh, len(sizes)) == ([1 << 12], 1)
    pieces = list(whole)
    text = rarities(kind)
    cut = [text[at : at + 5000] + pieces[at // 5000 % len(pieces)] + "." for at in range(0, len(text), 5000)]
    for part in ("".join(cut), *cut, "".join(reversed(cut))):
        expected = plain.encode(part)
        assert kernels.encode(part) == expected
        assert kernels.encode_array(part).tolist() == expected
        assert set(expected) & set(whole.values())
    assert afresh.count(1 << 13) > 1
    assert max(sizes) == 2 * min(sizes)


def test_a_cache_in_large_pages():
    words = random.Random(14).sample(range(10**6), 45_000)
    text = " ".join(map(str, words)).translate(str.maketrans("0123456789", "abcdefghij"))
    kernels, plain = compiled_twin(trained("gpt2")), plain_twin(trained("gpt2"))
    expected = plain.encode(text)
    assert kernels.encode(text) == expected
    assert kernels._kernels is not None
    assert kernels._kernels._idle[0]._pieces.nbytes > LARGE_PAGE
    assert kernels.encode_array(text).tolist() == expected


def test_ids_in_another_order_with_gaps():
    merged = trained("o200k")
    generator = random.Random(5)
    ids = generator.sample(range(10_000, 1_000_000), 256 + len(merged.merges))
    tokenizer = BytePairTokenizer(merged.merges, "o200k", SPECIALS, ids)
    kernels, text = compiled_twin(tokenizer), prose(6, 20_000)
    expected = [ids[number] for number in merged.encode(text)]
    assert_same_ids(kernels, expected, text)
    assert_same_ids(kernels, expected[:20], merged.decode(merged.encode(text)[:20]))


@pytest.mark.parametrize("normalization", ["NFC", "NFD", "NFKC", "NFKD"])
def test_normalization(normalization):
    merged = trained("cl100k")
    tokenizer = BytePairTokenizer(merged.merges, "cl100k", SPECIALS, normalization=normalization)
    kernels, plain = compiled_twin(tokenizer), plain_twin(tokenizer)
    text = prose(7, 5000) + "e\u0301 ﬁ ½ Å ⒈\n가 \u0958\n" + "<|end|>\u0338"
    assert_same_ids(kernels, plain.encode(text), text)
    expected = plain.encode(text, allow_special=True)
    assert kernels.encode_array(text, allow_special=True).tolist() == expected
    assert SPECIALS["<|end|>"] in expected


@pytest.mark.parametrize("policy", [False, True, {"<|end|>"}, {"<|end|>", "<|end of text|>"}, frozenset()])
def test_special_tokens(policy):
    text = f"{prose(8, 300)}<|end|>{prose(9, 300)}<|end of text|><|end|><|end"
    tokenizer = BytePairTokenizer(trained("gpt2").merges, "gpt2", SPECIALS)
    kernels, plain = compiled_twin(tokenizer), plain_twin(tokenizer)
    allowed = set(SPECIALS) if policy is True else set(policy or ())
    expected = tiktoken_twin("gpt2").encode(text, allowed_special=allowed, disallowed_special=())
    assert plain.encode(text, allow_special=policy) == expected
    for found in (
        kernels.encode(text, allow_special=policy),
        kernels.encode_array(text, allow_special=policy).tolist(),
        kernels.encode_array(text.encode(), allow_special=policy, threads=2).tolist(),
        *kernels.encode_batch([text, text], allow_special=policy, threads=2),
        list(kernels.encode_iterable([text], allow_special=policy)),
    ):
        assert found == expected


def test_special_tokens_that_are_refused():
    kernels = compiled_twin(BytePairTokenizer(trained("gpt2").merges, "gpt2", SPECIALS))
    for text in ("ab<|end|>", b"ab<|end|>"):
        with pytest.raises(InputError, match=r"'<\|end\|>' at character 2"):
            kernels.encode_array(text, allow_special="error")
    with pytest.raises(ConfigError, match="no special token"):
        kernels.encode_array("ab", allow_special={"<|ende|>"})
    assert kernels.encode_array("ab", allow_special="error").tolist() == kernels.encode("ab")


def test_bytes_that_are_not_utf8():
    kernels = compiled_twin(trained("cl100k"))
    generator = random.Random(10)
    data = prose(11, 4000).encode()
    for _ in range(200):
        at, size = generator.randrange(len(data)), generator.randint(1, 400)
        broken = bytearray(data[at : at + size] or b"\xff")
        broken[generator.randrange(len(broken))] = generator.randrange(256)
        expected = kernels.encode(broken.decode("utf-8", "replace"))
        assert kernels.encode_array(bytes(broken)).tolist() == expected
        assert kernels.encode_array(bytes(broken), threads=2).tolist() == expected
    surrogate = "a\ud800b".encode("utf-8", "surrogatepass")
    assert kernels.encode_array(surrogate).tolist() == kernels.encode("a\ufffd\ufffd\ufffdb")


def test_files(tmp_path):
    kernels, path = compiled_twin(BytePairTokenizer(trained("o200k").merges, "o200k", SPECIALS)), tmp_path / "text"
    for data in (b"", b"x", prose(20, 6000).encode(), "é<|end|>\n".encode() * 900, b"ab\xff\xe4 c" * 9):
        path.write_bytes(data)
        expected = kernels.encode_array(data).tolist()
        assert kernels.encode_file(path).tolist() == expected
        assert kernels.encode_file(path, threads=2).tolist() == expected
        allowed = kernels.encode_array(data, allow_special=True).tolist()
        assert kernels.encode_file(path, allow_special=True).tolist() == allowed


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "digits"])
def test_files_in_parts(tmp_path, monkeypatch, pattern):
    """Wherever a part ends, also where a cut is far or nowhere, and where a character is broken."""
    from groundup.tokenization.compiled import encoder

    kernels, path = compiled_twin(trained(pattern)), tmp_path / "text"
    unbroken = "日本語" * 300 + "x" * 2000 + "\n" * 700 + " " * 500
    text = (prose(21, 5000) + unbroken + prose(22, 3000)).encode()
    for part in (7, 64, 1000):
        monkeypatch.setattr(encoder, "PIECE", part)
        for data in (text, text[:3000] + b"\xe4" + text[3000:], unbroken.encode()):
            path.write_bytes(data)
            for threads in (1, 2, 3):
                assert kernels.encode_file(path, threads=threads).tolist() == kernels.encode_array(data).tolist()


def test_any_bytes_like_object_is_read():
    kernels = compiled_twin(trained("gpt2"))
    data = ("the words " * 40 + "é").encode()
    for other in (bytearray(data), memoryview(data), np.bytes_(data), bytearray(data[:-2])):
        assert kernels.encode_array(other).tolist() == kernels.encode(bytes(other).decode())


def test_many_threads_share_one_tokenizer():
    kernels, plain = compiled_twin(trained("o200k")), plain_twin(trained("o200k"))
    source = prose(12, 60_000)
    texts = [source[at : at + size] for at in range(0, 50_000, 2500) for size in (7, 300, 9000)] * 3
    expected = [plain.encode(text) for text in texts]
    kernels.encode(source)
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(kernels.encode, texts))
        arrays = [array.tolist() for array in pool.map(kernels.encode_array, texts)]
        divided = [array.tolist() for array in pool.map(lambda text: kernels.encode_array(text, threads=2), texts)]
    assert lists == arrays == divided == expected
    assert kernels.encode_batch(texts, threads=8) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
def test_parts_of_a_text_wherever_it_is_divided(pattern, monkeypatch):
    monkeypatch.setattr(streaming, "LEAST", 1)
    merged = trained(pattern)
    kernels = compiled_twin(BytePairTokenizer(merged.merges, pattern, SPECIALS))
    text = "the  mi's\n\n x!\r\n/12345 <|end|> é\u0301\t\ud83d\ude42\u3000中文\n <|end of text|>, I'LL \ud800!\n\na \n "
    for allow_special in (False, True):
        expected = kernels.encode(text, allow_special=allow_special)
        for at in range(len(text) + 1):
            for parts in ([text[:at], text[at:]], [text[:at], "", *text[at:]]):
                assert list(kernels.encode_iterable(parts, allow_special=allow_special)) == expected
    long = text * 200
    parts = [long[at : at + 700] for at in range(0, len(long), 700)]
    assert list(kernels.encode_iterable(parts)) == kernels.encode(long)


@pytest.mark.parametrize(
    ("pattern", "normalization", "text"),
    [("cl100k", "NFD", "é\n"), ("cl100k", "NFC", "\u0958\n"), ("o200k", "NFKC", "⒈\n"), ("o200k", "NFKC", "!\n／")],
)
def test_parts_of_a_text_that_is_normalized(pattern, normalization, text, monkeypatch):
    """What is no place to cut afterwards must not be one before."""
    monkeypatch.setattr(streaming, "LEAST", 1)
    merges = [(0x81, 10), (0xBC, 10), (ord("."), 10), (10, ord("/"))]
    kernels = compiled_twin(BytePairTokenizer(merges, pattern, normalization=normalization))
    whole = f"{'word' * 3}{text}" * 3
    expected = kernels.encode(whole)
    for at in range(len(whole) + 1):
        assert list(kernels.encode_iterable([whole[:at], whole[at:]])) == expected


def test_memory_of_a_stream_does_not_follow_its_length():
    kernels = compiled_twin(trained("cl100k"))
    part = prose(13, 50_000)

    def parts() -> Iterator[str]:
        for _ in range(400):
            yield part

    tracemalloc.start()
    total = sum(1 for _ in kernels.encode_iterable(parts()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 400 * len(part) / 10
    assert peak < 5_000_000 < 400 * len(part) / 4


@pytest.mark.parametrize(
    "tokenizer",
    [
        BytePairTokenizer([(97, 98)], r"\w+|\W", SPECIALS),
        BytePairTokenizer([(97, 98)], "gpt2", whole_pieces={b"x" * 256: 300}),
        BytePairTokenizer([(97, 98)], "gpt2", whole_pieces={b" %d!" % i: 300 + i for i in range(4097)}),
    ],
    ids=["a pattern of the user's own", "a whole piece too long", "too many whole pieces"],
)
def test_what_the_kernels_do_not_do_is_done_in_python(tokenizer, monkeypatch):
    monkeypatch.setattr(acceleration, "WORTH_LOADING", 1)
    assert not tokenizer.compile()
    text = f"abc ab {'x' * 256} 12! é\n" * 30
    expected = tokenizer.encode(text)
    assert tokenizer.decode(expected) == text
    assert expected.count(256) == 60
    assert tokenizer.encode_array(text, threads=2).tolist() == expected
    assert tokenizer.encode_array(text.encode() + b"\xff").tolist() == tokenizer.encode(text + "\ufffd")
    assert tokenizer.encode_batch([text], threads=2) == [expected]
    assert list(tokenizer.encode_iterable([text[:99], text[99:]])) == expected
