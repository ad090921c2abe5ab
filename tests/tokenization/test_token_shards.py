"""Token shards equal the ids of whole texts, wherever they are cut, killed or read from; their files are checked."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.cli.tokenizer_encode_files import Args, run
from groundup.core.errors import ConfigError, InputError, MissingError, OutputError
from groundup.core.files import read_json
from groundup.corpus.text_stream import text_units
from groundup.stages import token_shards
from groundup.stages.token_shards import TokenShardsConfig, group_units, run_token_shards
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.token_shards import (
    TokenBlock,
    finished_shard,
    open_shards,
    shard_dtype,
    token_blocks,
    write_index,
    write_shard,
)

WORDS = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation; it's 1863, they'll say! "
)
END = "<|endoftext|>"
HOSTILE = [*"aé你'1!/ \t\n🙂\u0301", "\r\n", "  ", " word", "'LL", END, "<|a b|>", "<|", "|>"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([WORDS * 9, "naïve café 你好 "], 400, "gpt2", (END, "<|a b|>"))


@pytest.fixture
def folder(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def ids_of(directory):
    shards, index = open_shards(directory, verify=True)
    return np.concatenate(shards).tolist(), index


@given(st.lists(st.sampled_from(HOSTILE), max_size=30), st.booleans())
def test_blocks_become_the_ids_of_the_text(tokenizer, parts, allowed):
    text = "".join(parts)
    names = (END, "<|a b|>") if allowed else ()
    ids = [i for block in token_blocks(tokenizer, [(text.encode(), True)], 7, names) for i in block.ids.tolist()]
    assert ids == ([7, *tokenizer.encode(text, allow_special=allowed)] if text else [])


def test_of_special_tokens_at_one_place_the_longest_counts():
    tokenizer = BytePairTokenizer([], special_tokens={"<|a|>": 256, "<|a|>b": 257, "<|": 258})
    text = "x<|a|>b<|a|>c<|b"
    for names in (("<|a|>", "<|a|>b", "<|"), ("<|a|>b", "<|"), ("<|a|>",)):
        (block,) = token_blocks(tokenizer, [(text.encode(), False)], None, names)
        assert block.ids.tolist() == tokenizer.encode(text, allow_special=names)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(256, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (200_019, "<u4")])
def test_a_shard_is_the_ids_and_nothing_else(tmp_path, tokenizer, vocab_size, dtype):
    ids = np.array([0, vocab_size - 1, 5], dtype=np.uint32)
    blocks = [TokenBlock(ids, 10, True), TokenBlock(ids[:2], 4, False)]
    shard = write_shard(tmp_path, 3, "a text", iter(blocks), vocab_size)
    assert (tmp_path / "shard_00003.bin").read_bytes() == np.array([*ids, *ids[:2]], dtype=dtype).tobytes()
    assert shard_dtype(vocab_size).str == dtype
    assert (shard.documents, shard.tokens, shard.text_bytes) == (1, 5, 14)
    assert finished_shard(tmp_path, 3, "a text", vocab_size) == shard
    assert finished_shard(tmp_path, 3, "another text", vocab_size) is None
    assert finished_shard(tmp_path, 2, "a text", vocab_size) is None
    (tmp_path / "shard_00003.bin").write_bytes(b"xx")
    assert finished_shard(tmp_path, 3, "a text", vocab_size) is None


def test_damaged_shards_are_refused(tmp_path, tokenizer):
    with pytest.raises(MissingError, match="holds no token shards"):
        open_shards(tmp_path)
    ids = np.arange(4, dtype=np.uint32)
    nothing = write_shard(tmp_path, 1, "", [], tokenizer.vocab_size)
    write_index(tmp_path, tokenizer, 9, [write_shard(tmp_path, 0, "", [TokenBlock(ids, 4, True)], 400), nothing])
    assert [len(shard) for shard in open_shards(tmp_path, verify=True)[0]] == [4, 0]
    path = tmp_path / "shard_00000.bin"
    path.write_bytes(path.read_bytes()[::-1])
    assert len(open_shards(tmp_path)[0]) == 2
    with pytest.raises(InputError, match=r"shard_00000\.bin was altered after it was written"):
        open_shards(tmp_path, verify=True)
    path.write_bytes(b"123")
    with pytest.raises(InputError, match=r"shard_00000\.bin has 3 bytes where index\.json says 8"):
        open_shards(tmp_path)
    path.unlink()
    with pytest.raises(MissingError, match=r"There is no file .*shard_00000\.bin"):
        open_shards(tmp_path)
    (tmp_path / "index.json").write_text('{"format": "groundup-token-shards", "version": 9}')
    with pytest.raises(InputError, match="does not describe token shards of version 1"):
        open_shards(tmp_path)


def test_a_fault_while_writing_leaves_nothing(tmp_path):
    def blocks():
        yield TokenBlock(np.arange(9), 9, True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_shard(tmp_path, 0, "", blocks(), 400)
    assert os.listdir(tmp_path) == []
    with pytest.raises(OutputError, match=r"Cannot write .*shard_00000\.bin: no such file or directory"):
        write_shard(tmp_path / "absent", 0, "", [], 400)


@pytest.fixture
def texts(tmp_path):
    """A folder with a long plain text, records, a packed file and two small texts; and their documents in order."""
    place = tmp_path / "texts"
    place.mkdir()
    plain = "".join(f"{WORDS}Line {n}, naïve 你好。\n" * (n % 3 + 1) for n in range(60))
    records = [f"Record {n}: {WORDS[: n % 90]}" for n in range(80)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in records)
    (place / "a.txt").write_text(plain)
    (place / "b.jsonl").write_text(lines)
    (place / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (place / "d.txt").write_text("A small text.")
    (place / "e.md").write_text(f"Story one.{END}\nStory two.")
    return place, [plain, *records, *records, "A small text.", f"Story one.{END}\nStory two."]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("separator", "special"), [(None, ()), ("", ()), ("<|a b|>", (END,))])
def test_files_become_the_ids_of_their_documents(texts, folder, tokenizer, tmp_path, threads, separator, special):
    place, documents = texts
    config = TokenShardsConfig(separator=separator, special_tokens=special, unit_bytes=2000)
    result = run_token_shards(config, folder, [place], tmp_path / "out", threads)
    mark = {None: [tokenizer.special_tokens[END]], "": [], "<|a b|>": [tokenizer.special_tokens["<|a b|>"]]}[separator]
    expected = [i for text in documents for i in (*mark, *tokenizer.encode(text, allow_special=set(special)))]
    ids, index = ids_of(tmp_path / "out")
    assert ids == expected
    assert len(index.shards) == result["shards"] > 5
    assert index.documents == sum(shard.documents for shard in index.shards) == len(documents)
    assert index.text_bytes == sum(len(text.encode()) for text in documents)
    assert (index.tokens, index.dtype, index.vocab_size) == (len(expected), "<u2", tokenizer.vocab_size)
    assert index.separator == (mark or [None])[0]
    assert index.tokenizer_fingerprint == tokenizer.fingerprint
    assert result["bytes_per_token"] == pytest.approx(index.text_bytes / len(expected))


def test_small_files_share_a_shard(texts, folder, tmp_path):
    place, _ = texts
    units = text_units([place], unit_bytes=10**6)
    assert [len(group) for group in group_units(units, 10**6)] == [5]
    sizes = [[unit.size_bytes for unit in group] for group in group_units(units, 700)]
    assert [size for group in sizes for size in group] == [unit.size_bytes for unit in units]
    assert all(len(group) == 1 or sum(group) <= 700 for group in sizes)
    assert run_token_shards(TokenShardsConfig(), folder, [place], tmp_path / "out")["shards"] == 1


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name.startswith(("shard_", "index"))}


KILLED = """
import os, signal, sys
from groundup.stages import token_shards as stage
left = int(sys.argv[1])
read_unit = stage.read_unit

def counted(*arguments, **named):
    global left
    for block in read_unit(*arguments, **named):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield block

stage.read_unit = counted
config = stage.TokenShardsConfig(unit_bytes=2000)
stage.run_token_shards(config, stage.Path(sys.argv[2]), [sys.argv[3]], stage.Path(sys.argv[4]), 2)
"""


def test_killed_and_run_again_ends_with_the_same_bytes(texts, folder, tmp_path, caplog):
    place, _ = texts
    config = TokenShardsConfig(unit_bytes=2000)
    run_token_shards(config, folder, [place], tmp_path / "whole")
    out = tmp_path / "killed"
    for blocks in (15, 60):
        command = [sys.executable, "-c", KILLED, str(blocks), str(folder), str(place), str(out)]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
        assert not (out / "index.json").exists()
    there = {path: path.stat().st_mtime_ns for path in out.glob("shard_*.json")}
    assert there
    with caplog.at_level("INFO", "groundup"):
        run_token_shards(config, folder, [place], out)
    assert f"{len(there)} of " in caplog.text
    assert {path: path.stat().st_mtime_ns for path in there} == there, "finished shards are kept as they are"
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not list(out.glob(".tmp-*"))


def test_a_finished_run_is_reused_until_something_changes(texts, folder, tmp_path):
    place, _ = texts
    out = tmp_path / "out"
    config = TokenShardsConfig(unit_bytes=2000)
    first = run_token_shards(config, folder, [place], out)
    assert run_token_shards(config, folder, [place], out, threads=2) == first
    (place / "d.txt").write_text("A small text, changed.")
    second = run_token_shards(config, folder, [place], out)
    assert second["text_bytes"] == first["text_bytes"] + len(", changed")
    (out / "index.json").unlink()
    run_token_shards(config, folder, [place], out)
    assert ids_of(out)[1].text_bytes == second["text_bytes"]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fault_in_a_thread_stops_the_others_and_is_the_one_told(texts, folder, tmp_path, threads):
    place, _ = texts
    (place / "b.jsonl").write_text('{"text": "good"}\n' * 200 + "bad\n" + '{"text": "good"}\n' * 2000)
    with pytest.raises(InputError, match=r"b\.jsonl line 201 is not JSON"):
        run_token_shards(TokenShardsConfig(unit_bytes=2000), folder, [place], tmp_path / "out", threads)
    assert not list((tmp_path / "out").glob(".tmp-*"))
    assert not (tmp_path / "out" / "index.json").exists()
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_a_thread_with_much_to_do_stops_after_the_fault_of_another(texts, folder, tmp_path, monkeypatch):
    place, _ = texts
    (place / "b.jsonl").write_text('{"text": "good"}\nbad\n')
    ends: list[str] = []

    def read_without_end(unit, cut, consumed):
        if unit.path.suffix == ".jsonl":
            yield from stage_read_unit(unit, cut)
        started = time.monotonic()
        while time.monotonic() - started < 20:
            try:
                consumed(1)
            except BaseException:
                ends.append("stopped")
                raise
            yield b"text "
        ends.append("went on")

    stage_read_unit = token_shards.read_unit
    monkeypatch.setattr(token_shards, "read_unit", read_without_end)
    inputs = [place / "a.txt", place / "b.jsonl"]
    config = TokenShardsConfig(unit_bytes=inputs[0].stat().st_size)  # so each file is a shard
    with pytest.raises(InputError, match=r"b\.jsonl line 2"):
        run_token_shards(config, folder, inputs, tmp_path / "out", 2)
    assert ends == ["stopped"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "<|endoftex|>"}, r"no special token '<\|endoftex\|>'; did you mean '<\|endoftext\|>'"),
        ({"special_tokens": ("<|x|>",)}, r"no special token '<\|x\|>'"),
        ({"unit_bytes": 0}, "unit_bytes is 0; a unit must have at least one byte"),
    ],
)
def test_impossible_options_are_named_before_anything_is_written(texts, folder, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        run_token_shards(TokenShardsConfig(**options), folder, [texts[0]], tmp_path / "out")
    with pytest.raises(ConfigError, match="threads is 0"):
        run_token_shards(TokenShardsConfig(), folder, [texts[0]], tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_without_special_tokens_has_no_separator(texts, tmp_path):
    BytePairTokenizer([]).save(tmp_path / "bytes")
    run_token_shards(TokenShardsConfig(), tmp_path / "bytes", [texts[0] / "d.txt"], tmp_path / "out")
    ids, index = ids_of(tmp_path / "out")
    assert bytes(ids) == b"A small text."
    assert index.separator is None


def test_the_verb_says_where_the_shards_are_and_what_opens_them(texts, folder, tmp_path, capsys):
    place, documents = texts
    out = tmp_path / "out"
    run(Args((str(place),), folder, out, allow_special=(END,), threads=2))
    line = capsys.readouterr().out
    assert line.startswith(f"{len(documents)} documents, ")
    assert f"1 shard in {out}" in line
    code = line.strip().rsplit(": ", 1)[1]
    assert code == f'groundup.tokenization.token_shards.open_shards("{out}")'
    assert read_json(out / "config.json")["special_tokens"] == [END]
