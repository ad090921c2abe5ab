"""Training on files: what is learnt is that of the same texts in memory, however the files are packed, divided among
threads, interrupted and taken up again."""

import gzip
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.text_stream import read_unit, text_units
from groundup.stages import tokenizer, tokenizer_training
from groundup.stages.tokenizer import run_tokenizer
from groundup.stages.tokenizer_training import STATE_NAME, count_units, train_on_files
from groundup.tokenization import pretoken_counts
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.config import TokenizerConfig

END = "<|end|>"
TEXTS = [
    "It was the best of times, it was the worst of times; it's 1859 and they'll say so!\n\n  " * 4,
    f"naïve café 你好世界 🙂 {END}12345 + 67 {END}\r\n\ttabs  and   spaces \n" * 6,
    "the season of Light, the season of Darkness, the spring of hope, the winter of despair\n" * 5,
    "aaaa aaaaa abab ababab " * 9,
]
SIZE = 340


def write(folder: Path, name: str, texts: list[str]) -> Path:
    path = folder / name
    lines = "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()
    if ".parquet" in name:
        pq.write_table(pa.table({"text": texts}), path, row_group_size=2)
        return path
    data = lines if ".jsonl" in name else "".join(texts).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zst"):
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def trained(texts: list[str], size: int = SIZE, pattern: str = "gpt2") -> object:
    return train_bpe(texts, size, pattern, (END,)).fingerprint


@pytest.fixture(params=["python", "compiled"])
def engine(request, monkeypatch):
    monkeypatch.setattr(pretoken_counts, "pays", lambda size, kernel: request.param == "compiled")
    return request.param


@pytest.fixture
def small_units(monkeypatch):
    """Files are divided into units of a few hundred bytes."""
    for module in (tokenizer_training, tokenizer):
        monkeypatch.setattr(module, "text_units", partial(text_units, unit_bytes=300))


@pytest.fixture
def saving(monkeypatch):
    """The counts are saved after every wave of `UNITS_PER_WAVE` units."""
    monkeypatch.setattr(tokenizer_training, "SECONDS_BETWEEN_SAVES", -1)


class TestInputs:
    @pytest.mark.parametrize(
        "name", ["a.txt", "a.txt.gz", "a.md.zst", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"]
    )
    def test_every_kind_of_file(self, name, tmp_path, engine):
        path = write(tmp_path, name, TEXTS)
        texts = ["".join(TEXTS)] if ".txt" in name or ".md" in name else TEXTS
        assert train_on_files([path], SIZE, "gpt2", (END,)).fingerprint == trained(texts)

    def test_folders_and_globs_and_several_of_them(self, tmp_path):
        (tmp_path / "deep" / "er").mkdir(parents=True)
        write(tmp_path / "deep", "a.jsonl", TEXTS[:1])
        write(tmp_path / "deep" / "er", "b.txt", TEXTS[1:2])
        one = write(tmp_path, "c.parquet", TEXTS[2:])
        for inputs in ([tmp_path], [f"{tmp_path}/**/*.jsonl", tmp_path / "deep" / "er", one]):
            assert train_on_files(inputs, SIZE, "gpt2", (END,)).fingerprint == trained(TEXTS)

    @pytest.mark.parametrize("pattern", ["digits", "cl100k", "o200k", r"\w+|\s|[^\w\s]+"])
    def test_units_of_a_text_are_cut_where_no_token_is(self, pattern, tmp_path, small_units, engine):
        path = write(tmp_path, "a.txt", TEXTS * 3)
        assert len(tokenizer_training.text_units([path])) > 10
        expected = trained(["".join(TEXTS * 3)], pattern=pattern)
        assert train_on_files([path], SIZE, pattern, (END,)).fingerprint == expected

    def test_another_column(self, tmp_path):
        (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": text, "text": 1}) + "\n" for text in TEXTS))
        assert train_on_files([tmp_path / "a.jsonl"], SIZE, "gpt2", (END,), column="body").fingerprint == trained(TEXTS)

    def test_impossible_ones_stop_before_anything_is_read(self, tmp_path, monkeypatch):
        monkeypatch.delattr(tokenizer_training, "read_unit")
        path = write(tmp_path, "a.txt", TEXTS)
        with pytest.raises(ConfigError, match="at least 257"):
            train_on_files([path], 256, special_tokens=(END,))
        with pytest.raises(MissingError, match=r"There is no file .*b\.txt"):
            train_on_files([path, tmp_path / "b.txt"], SIZE)
        with pytest.raises(InputError, match="has no 'txt'"):
            train_on_files([write(tmp_path, "c.jsonl", TEXTS)], SIZE, column="txt")
        with pytest.raises(ConfigError, match="no pre-token pattern"):
            train_on_files([path], SIZE, "gpt3")


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads, tmp_path, small_units, engine):
    inputs = [write(tmp_path, f"{number}.txt", TEXTS[number:]) for number in range(4)]
    texts = ["".join(TEXTS[number:]) for number in range(4)]
    assert train_on_files(inputs, SIZE, "gpt2", (END,), threads=threads).fingerprint == trained(texts)


class FaultAt:
    """In the place of `read_unit`: notes what is read, and fails at one unit as a disk might."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number
        self.calls = count(1)
        self.read: list[str] = []

    def __call__(self, unit, cut, **options):
        self.read.append(unit.key)
        if next(self.calls) == self.number:
            raise OSError("the disk is gone")
        return read_unit(unit, cut, **options)


class TestResuming:
    @pytest.fixture
    def path(self, tmp_path):
        return write(tmp_path, "a.txt", TEXTS * 3)

    def fail(self, path, out, monkeypatch, number=11, **options):
        """Train until unit `number` (at 1 thread a save follows units 4, 8, 12 ...); returns the units read."""
        fault = FaultAt(number)
        monkeypatch.setattr(tokenizer_training, "read_unit", fault)
        with pytest.raises(OSError, match="the disk is gone"):
            self.train(path, out, **options)
        return fault.read

    def train(self, path, out, pattern="gpt2", specials=(END,), threads=1, size=SIZE):
        return train_on_files([path], size, pattern, specials, threads=threads, state_folder=out)

    def rest(self, path, out, monkeypatch, **options):
        """Train to the end; returns the vocabulary's fingerprint and the units read."""
        reader = FaultAt()
        monkeypatch.setattr(tokenizer_training, "read_unit", reader)
        result = self.train(path, out, **options).fingerprint
        assert not list(out.iterdir()), "the state is deleted in the end"
        return result, reader.read

    @pytest.mark.parametrize("threads", [1, 2])
    def test_counting_goes_on_where_it_was_saved(
        self, threads, path, tmp_path, monkeypatch, small_units, saving, engine, caplog
    ):
        caplog.set_level("INFO", "groundup")
        out = tmp_path / "out"
        units = [unit.key for unit in tokenizer_training.text_units([path])]
        self.fail(path, out, monkeypatch, 11, threads=threads)
        assert (out / STATE_NAME).exists()
        result, read = self.rest(path, out, monkeypatch, threads=threads)
        assert result == trained(["".join(TEXTS * 3)])
        assert sorted(read) == sorted(units[8:]), "eight units were saved, the others are read (again)"
        assert "goes on behind the 8 units" in caplog.text

    def test_more_than_one_fault(self, path, tmp_path, monkeypatch, small_units, saving):
        out = tmp_path / "out"
        self.fail(path, out, monkeypatch, 5)  # four are saved
        self.fail(path, out, monkeypatch, 6)  # four more
        result, read = self.rest(path, out, monkeypatch)
        assert result == trained(["".join(TEXTS * 3)])
        assert len(read) == len(tokenizer_training.text_units([path])) - 8

    def test_the_other_engine_goes_on(self, path, tmp_path, monkeypatch, small_units, saving):
        for first, second in ((True, False), (False, True)):
            monkeypatch.setattr(pretoken_counts, "pays", lambda size, kernel, pays=first: pays)
            self.fail(path, tmp_path / "out", monkeypatch)
            monkeypatch.setattr(pretoken_counts, "pays", lambda size, kernel, pays=second: pays)
            result, _ = self.rest(path, tmp_path / "out", monkeypatch)
            assert result == trained(["".join(TEXTS * 3)])

    def test_another_vocabulary_size_needs_no_other_counts(self, path, tmp_path, monkeypatch, small_units, saving):
        out = tmp_path / "out"
        self.fail(path, out, monkeypatch)
        result, read = self.rest(path, out, monkeypatch, size=300)
        assert result == trained(["".join(TEXTS * 3)], 300)
        assert len(read) == len(tokenizer_training.text_units([path])) - 8

    @pytest.mark.parametrize("change", ["pattern", "specials", "time", "content", "units"])
    def test_other_options_or_files_start_afresh(self, change, path, tmp_path, monkeypatch, small_units, saving):
        out = tmp_path / "out"
        self.fail(path, out, monkeypatch)
        texts, options = TEXTS * 3, {}
        if change == "pattern":
            options["pattern"] = "cl100k"
        elif change == "specials":
            options["specials"] = ("<|other|>",)
        elif change == "time":
            os.utime(path, ns=(1, 1))
        elif change == "content":
            texts = [*texts, "more"]
            write(tmp_path, "a.txt", texts)
        else:
            monkeypatch.setattr(tokenizer_training, "text_units", partial(text_units, unit_bytes=500))
        result, read = self.rest(path, out, monkeypatch, **options)
        assert len(read) == len(tokenizer_training.text_units([path]))
        expected = train_bpe(["".join(texts)], SIZE, options.get("pattern", "gpt2"), options.get("specials", (END,)))
        assert result == expected.fingerprint

    def test_without_a_folder_nothing_is_saved(self, path, tmp_path, monkeypatch, small_units, saving):
        before = sorted(tmp_path.iterdir())
        monkeypatch.setattr(tokenizer_training, "read_unit", FaultAt(11))
        with pytest.raises(OSError, match="the disk is gone"):
            self.train(path, None)
        assert sorted(tmp_path.iterdir()) == before

    def test_saving_is_for_what_takes_long(self, path, tmp_path, monkeypatch, small_units):
        self.fail(path, tmp_path / "out", monkeypatch)
        assert not (tmp_path / "out" / STATE_NAME).exists()

    def test_the_counts_are_kept_until_the_merges_are_learnt(self, path, tmp_path, monkeypatch, small_units, saving):
        def interrupted(self, number):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(pretoken_counts.PretokenCounts, "learn", interrupted)
            with pytest.raises(KeyboardInterrupt):
                self.train(path, tmp_path / "out")
        result, read = self.rest(path, tmp_path / "out", monkeypatch)
        assert result == trained(["".join(TEXTS * 3)])
        assert len(read) <= tokenizer_training.UNITS_PER_WAVE


KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
from groundup.corpus.text_stream import read_unit, text_units
from groundup.stages import tokenizer, tokenizer_training
from groundup.tokenization.config import TokenizerConfig
from groundup.tokenization.pretoken_counts import PretokenCounts

path, out, size, place = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
tokenizer_training.SECONDS_BETWEEN_SAVES = -1
tokenizer.text_units = partial(text_units, unit_bytes=300)
calls = 0

def fatal(function, number):
    def wrapped(*arguments, **options):
        global calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapped

if place == "reading":
    tokenizer_training.read_unit = fatal(read_unit, 11)
elif place == "saving":
    os.replace = fatal(os.replace, 5)  # two files of the run, then the third save
else:
    PretokenCounts.learn = fatal(PretokenCounts.learn, 1)
tokenizer.run_tokenizer(TokenizerConfig(size, "gpt2"), path, out, threads=1)
"""


@pytest.mark.parametrize("place", ["reading", "saving", "learning"])
def test_a_killed_run_ends_with_the_same_files(place, tmp_path, monkeypatch, small_units):
    path = write(tmp_path, "a.txt", TEXTS * 3)
    out, config = tmp_path / "out", TokenizerConfig(SIZE, "gpt2")
    command = [sys.executable, "-c", KILLED, str(path), str(out), str(SIZE), place]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (out / "tokenizer.json").exists()
    units = len(tokenizer_training.text_units([path]))
    reader = FaultAt()
    monkeypatch.setattr(tokenizer_training, "read_unit", reader)
    run_tokenizer(config, path, out, threads=1)
    counted = 12 if place == "learning" else 8
    assert len(reader.read) == units - counted, "what was counted before the kill is not counted again"
    monkeypatch.undo()
    run_tokenizer(config, path, tmp_path / "whole")
    assert (out / "tokenizer.json").read_bytes() == (tmp_path / "whole" / "tokenizer.json").read_bytes()
    assert sorted(file.name for file in out.iterdir()) == sorted(file.name for file in (tmp_path / "whole").iterdir())


def test_what_is_shown_adds_up_to_the_files(tmp_path, monkeypatch, small_units):
    """Every byte once, also where counting goes on from a saved state."""
    path = write(tmp_path, "a.txt", TEXTS * 3)
    shown = []

    @contextmanager
    def recorded(description, total, *, done=0):
        yield shown.append

    monkeypatch.setattr(tokenizer_training, "progress", recorded)
    counts = count_units(tokenizer_training.text_units([path]), "gpt2", (END,), 2)
    assert sum(shown) * tokenizer_training.MEGABYTE == pytest.approx(path.stat().st_size)
    assert counts.mapping()[b" times"] == 24
