"""Python objects read and made by address, compiled kernels on disk, and when the change to them is made."""

import gc
import logging
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from groundup.tokenization import acceleration, bpe
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.compiled import counter, encoder, layout, objects
from groundup.tokenization.compiled.counter import PieceCounter
from groundup.tokenization.compiled.encoder import CompiledEncoder
from groundup.tokenization.compiled.objects import FEW, LAYOUT_HOLDS, Integers
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split

TEXT = "It's the naïve café, 你好 мир: 1863 words and words. " * 20
MERGES = train_bpe([TEXT], 400, "gpt2").merges


def compiled() -> BytePairTokenizer:
    tokenizer = BytePairTokenizer(MERGES, "gpt2")
    assert tokenizer.compile()
    return tokenizer


def random_ids(count: int, number: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, number, count).astype(np.uint32)


def test_the_layout_is_that_of_this_interpreter():
    with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert (sys.implementation.name == "cpython" and with_gil) == LAYOUT_HOLDS


def test_lists_made_by_pointers_are_lists_of_integers():
    integers = Integers(70_000)
    for count in (0, 1, FEW - 1, FEW, FEW + 1, 1000, 100_000):
        ids = random_ids(count + 5, 70_000)
        made, expected = integers.as_list(ids, count), ids[:count].tolist()
        assert made == expected
        assert {type(token) for token in made} <= {int}
        made.sort()
        made += [1, 2]
        made[:FEW] = [3]
        assert made == [3, *[*sorted(expected), 1, 2][FEW:]]


@pytest.mark.skipif(not LAYOUT_HOLDS, reason="this interpreter is not read by address")
def test_reference_counts_are_those_of_the_lists():
    """The integers are shared by all lists, so a count too low would free them while they are used."""
    integers = Integers(5000)
    ids = np.full(1000, 4321, np.uint32)
    shared = integers.as_list(ids, FEW)[0]
    gc.collect()  # what others left behind holds references too
    none, before = sys.getrefcount(None), sys.getrefcount(shared)
    lists = [integers.as_list(ids, 1000) for _ in range(50)]
    assert sys.getrefcount(shared) == before + 50_000
    assert abs(sys.getrefcount(None) - none) < 1000, "a list of None was made for each, and every None replaced"
    copied = lists[0][:10]
    del lists
    gc.collect()
    assert sys.getrefcount(shared) == before + 10
    del copied
    assert sys.getrefcount(shared) == before
    assert abs(sys.getrefcount(None) - none) < 1000


def test_lists_outlive_their_tokenizer():
    tokenizer = BytePairTokenizer([(97, 98)], "gpt2", ids=[*range(256), 54_321])
    assert tokenizer.compile()
    ids = tokenizer.encode("ab" * 200)
    del tokenizer
    gc.collect()
    filler = [list(range(50_000, 60_000)) for _ in range(20)]
    assert ids == [54_321] * 200
    assert len(filler) == 20


def test_an_unknown_layout_gives_the_same(monkeypatch):
    texts = [TEXT, TEXT * 30, "ascii only " * 50, "", "a"]
    expected = [compiled().encode(text) for text in texts]
    for module in (objects, encoder):
        monkeypatch.setattr(module, "LAYOUT_HOLDS", False)
        monkeypatch.setattr(module, "ASCII_HEADER", None)
    monkeypatch.setattr(objects, "_point_to", None)
    monkeypatch.setattr(objects, "BYTES_HEADER", None)
    copying = compiled()
    assert [copying.encode(text) for text in texts] == expected
    assert [copying.encode_array(text).tolist() for text in texts] == expected
    assert [copying.encode_array(text.encode(), threads=2).tolist() for text in texts] == expected
    kernels = PieceCounter("gpt2")
    kernels.add(TEXT.encode())
    pieces = Counter(split(compile_pattern(PATTERNS["gpt2"]), TEXT))
    assert sorted(kernels.pieces()[2].tolist()) == sorted(pieces.values())
    assert len(kernels) == len(pieces)


def output_of(code: str, *arguments: str, given: bytes = b"") -> bytes:
    """What a process of its own writes: a fault with addresses would end this one."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], input=given, capture_output=True, timeout=100)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr.decode()[-800:]}"
    return done.stdout


FIRST_USE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from groundup.tokenization.bpe import BytePairTokenizer

def encode(_):
    together.wait()
    return tokenizer.encode(text)

sys.setswitchinterval(1e-6)
text, wrong = "abc def" * 100, 0
for _ in range(3):
    tokenizer = BytePairTokenizer([(97, 98)], "gpt2", ids=[*range(256), 200_000])
    expected = tokenizer.encode_array(text).tolist()
    together = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        wrong += sum(ids != expected for ids in pool.map(encode, range(8)))
print(wrong, "wrong")
"""
COPIED = """
import copy, gc, pickle, sys
if sys.argv[1] == "load":
    tokenizer = pickle.load(sys.stdin.buffer)
else:
    from groundup.tokenization.bpe import BytePairTokenizer
    tokenizer = BytePairTokenizer([(97, 98)], "gpt2")
    assert tokenizer.decode(tokenizer.encode_array("abc " * 1000)) == "abc " * 1000
    assert tokenizer.encode("abc " * 1000)[:2] == [256, 99]
    if sys.argv[1] == "dump":
        sys.stdout.buffer.write(pickle.dumps(tokenizer))
        sys.exit()
    tokenizer = copy.deepcopy(tokenizer)
    gc.collect()
    elsewhere = [bytearray(b"\\xff") * (1 << size) for size in range(8, 23) for _ in range(8)]
ids = tokenizer.encode("abc " * 1000)
print(ids == [256, 99, *[32, 256, 99] * 999, 32] and tokenizer.decode(ids) == "abc " * 1000)
"""


def test_threads_that_encode_for_the_first_time_together():
    assert output_of(FIRST_USE) == b"0 wrong\n"


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_a_copy_of_a_tokenizer_with_kernels(way):
    """What is pickled is read in another process, where no address of the first one means anything."""
    if way == "pickle":
        assert output_of(COPIED, "load", given=output_of(COPIED, "dump")) == b"True\n"
    else:
        assert output_of(COPIED, way) == b"True\n"


@pytest.mark.parametrize("kind", [type("Title", (str,), {}), np.str_])
def test_subclasses_of_str(kind, monkeypatch):
    """They keep their characters elsewhere; reading on there would have no end that can be foretold."""
    tokenizer, text = compiled(), "the words " * 30
    expected = tokenizer.encode(text)
    other = kind(text)
    encode = encoder._Workspace.encode

    def checked(self: encoder._Workspace, start: int, size: int) -> tuple[np.ndarray, int]:
        assert start != id(other) + objects.ASCII_HEADER, "there is no text"
        return encode(self, start, size)

    monkeypatch.setattr(encoder._Workspace, "encode", checked)
    assert tokenizer.encode_array(other).tolist() == expected
    assert tokenizer.encode_array(np.bytes_(text.encode())).tolist() == expected
    assert tokenizer.encode(other) == expected


def test_whole_pieces_fit_into_the_first_cache(monkeypatch):
    """The most and longest that are taken; the room is looked at without writing beyond it."""
    entered = []
    monkeypatch.setattr(encoder, "enter_pieces", lambda state, text, lengths, number, ids: entered.append(number))
    number, length = acceleration.MOST_WHOLE_PIECES, acceleration.LONGEST_WHOLE_PIECE
    pieces = {b"%05d" % i + b"x" * (length - 5): 300 + i for i in range(number)}
    kernels = CompiledEncoder(np.empty((0, 2), np.int32), np.arange(256, dtype=np.uint32), "gpt2", pieces)
    assert entered == [number]
    record = 2 + (length + 3) // 4  # words: the count, the id, the bytes
    assert len(kernels._idle[0]._arena) >= number * record + layout.ARENA_RESERVE
    assert int(encoder.FILLED * encoder.FIRST_SLOTS) >= number + layout.MOST_TOKENS


@pytest.mark.parametrize("size", [counter.FIRST_ARENA - 1, counter.FIRST_ARENA, counter.FIRST_ARENA + 1, 600_000])
def test_the_first_pretoken_may_be_larger_than_the_arena(size, monkeypatch):
    calls = []
    make_room = PieceCounter._make_room

    def counted(self: PieceCounter) -> None:
        calls.append(self)
        assert len(calls) < 20, "it asks for room again and again"
        make_room(self)

    monkeypatch.setattr(PieceCounter, "_make_room", counted)
    kernels = PieceCounter("gpt2")
    kernels.add(b"a" * size + b" b")
    assert dict(zip(kernels.pieces()[1].tolist(), kernels.pieces()[2].tolist(), strict=True)) == {size: 1, 2: 1}


@pytest.fixture
def kernel_folder(tmp_path, monkeypatch):
    """A folder of compiled kernels, and a package whose sources the test may change."""
    sources = tmp_path / "compiled"
    sources.mkdir()
    for path in Path(layout.__file__).parent.glob("*.py"):
        shutil.copy(path, sources)
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(layout, "__file__", str(sources / "layout.py"))
    monkeypatch.setattr(layout, "cache_folder", lambda: folder)
    return folder


def fill(folder: Path) -> list[str]:
    names = ["encoding.encode_text-9.py311.nbi", "encoding.encode_text-9.py311.1.nbc", "utf8.is_utf8-5.py311.nbi"]
    for name in [*names, "another.package-3.py311.nbi", "encoding.cpython-311.pyc"]:
        (folder / name).write_bytes(b"machine code")
    return names


@pytest.mark.parametrize("changed", ["compiled/machine.py", "unicode_classes.py"])
def test_kernels_of_other_sources_are_discarded(kernel_folder, tmp_path, changed):
    (tmp_path / "unicode_classes.py").write_text("LETTER = 6\n")
    names = fill(kernel_folder)
    layout._discard_stale_kernels()
    there = {path.name for path in kernel_folder.iterdir()}
    assert not there & set(names), "nothing said of which sources they are"
    assert {"another.package-3.py311.nbi", "encoding.cpython-311.pyc"} < there
    fill(kernel_folder)
    layout._discard_stale_kernels()
    assert set(names) < {path.name for path in kernel_folder.iterdir()}
    with (tmp_path / changed).open("a") as source:
        source.write("# changed\n")
    layout._discard_stale_kernels()
    assert not {path.name for path in kernel_folder.iterdir()} & set(names)


def test_whether_a_kernel_is_on_disk(kernel_folder):
    assert not layout.is_on_disk("encode_text")
    fill(kernel_folder)
    assert layout.is_on_disk("encode_text")
    assert layout.is_on_disk("is_utf8")
    assert not layout.is_on_disk("encode")
    assert not layout.is_on_disk("count_text")


def test_kernels_are_on_disk_after_their_first_use():
    tokenizer = compiled()
    tokenizer.encode_array(TEXT)
    assert layout.is_on_disk("encode_text")
    assert (layout.cache_folder() / "groundup_kernels.txt").exists()


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_when_kernels_pay(loaded, on_disk, monkeypatch):
    asked = []
    monkeypatch.setattr(layout, "is_on_disk", lambda kernel: asked.append(kernel) or on_disk)
    if not loaded:
        monkeypatch.setattr(acceleration, "_KERNELS", "groundup.not_loaded")
    acceleration._was_on_disk.cache_clear()
    expected = {
        1: loaded and on_disk,
        acceleration.WORTH_LOADING - 1: loaded and on_disk,
        acceleration.WORTH_LOADING: on_disk,
        acceleration.WORTH_COMPILING - 1: on_disk,
        acceleration.WORTH_COMPILING: True,
    }
    try:
        assert {size: acceleration.pays(size, "encode_text") for size in expected} == expected
    finally:
        acceleration._was_on_disk.cache_clear()
    assert set(asked) == {"encode_text"}


SMALL_THEN_LARGE = """
import sys
from groundup.tokenization import acceleration
from groundup.tokenization.bpe_training import train_bpe
text = "Some words, it's 1863, naïve 你好.\\n" * 300
tokenizer = train_bpe([text], 300, "gpt2")
ids = tokenizer.encode(text)
assert tokenizer.decode(ids) == text and list(tokenizer.encode_iterable([text])) == ids
assert "numba" not in sys.modules and tokenizer._kernels is None
acceleration.WORTH_LOADING = 1 << 15
assert all(tokenizer.encode(text) == ids for _ in range(4))
from groundup.tokenization.compiled.layout import is_on_disk
assert (tokenizer._kernels is not None) == is_on_disk("encode_text"), tokenizer._kernels
print("done")
"""


def test_little_text_never_loads_numba():
    assert output_of(SMALL_THEN_LARGE) == b"done\n"


def test_ids_before_and_after_the_change_are_the_same(monkeypatch):
    generator = random.Random(1)
    monkeypatch.setattr(bpe, "pays", lambda size, kernel: size >= 3000)
    texts = ["".join(generator.choices([*"aé你 \n1!'", "the", " words", "'s"], k=100)) for _ in range(60)]
    changing, kernels = BytePairTokenizer(MERGES, "gpt2"), compiled()
    before = []
    for text in texts:
        before.append(changing._kernels is None)
        assert changing.encode(text) == kernels.encode(text)
    assert before[0]
    assert not before[-1]
    assert before == sorted(before, reverse=True)
    assert 10 < sum(before) < 50


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_wait_for_the_compiler_is_announced_once(on_disk, monkeypatch, caplog):
    monkeypatch.setattr(layout, "is_on_disk", lambda kernel: on_disk)
    tokenizer = BytePairTokenizer(MERGES, "gpt2")
    with caplog.at_level(logging.INFO, "groundup"):
        assert tokenizer.compile()
        assert tokenizer.compile()
        tokenizer.encode_array(TEXT)
        tokenizer.encode(TEXT)
    said = [record.message for record in caplog.records if "Compiling the tokenizer's kernels" in record.message]
    assert len(said) == (0 if on_disk else 1)
