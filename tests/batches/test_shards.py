"""Token shards: what is written is read, in the smallest type, and damage is noticed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.batches.shards import open_shard, write_shard
from groundup.core.errors import InputError, MissingError

MARK = 1
DOCUMENTS = [(10, [5, 6, 7]), (0, []), (3, [8])]
FLAT = [MARK, 5, 6, 7, MARK, MARK, 8]


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 299), max_size=20), max_size=8), st.sampled_from([300, 65_536, 65_537, 10**6]))
def test_documents_come_back_behind_their_marks(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], vocab_size: int
) -> None:
    directory = tmp_path_factory.mktemp("shard") / "train"
    written = write_shard(directory, ((7, ids) for ids in documents), MARK, vocab_size)
    tokens, manifest = open_shard(directory)
    assert tokens.tolist() == [token for ids in documents for token in (MARK, *ids)]
    assert manifest == written
    assert (manifest.documents, manifest.text_bytes) == (len(documents), 7 * len(documents))
    assert (manifest.tokens, manifest.vocab_size) == (len(tokens), vocab_size)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_the_largest_id_fits_the_type(vocab_size: int, dtype: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "s", [(1, [vocab_size - 1])], 0, vocab_size)
    tokens, manifest = open_shard(tmp_path / "s")
    assert tokens.tolist() == [0, vocab_size - 1]
    assert manifest.dtype == tokens.dtype.str == dtype
    assert (tmp_path / "s" / "tokens.bin").read_bytes() == np.array([0, vocab_size - 1], dtype=dtype).tobytes()


def test_ids_are_read_through_a_map_and_cannot_be_changed(tmp_path: Path) -> None:
    manifest = write_shard(tmp_path / "s", DOCUMENTS, MARK, 300)
    tokens, _ = open_shard(tmp_path / "s")
    assert isinstance(tokens, np.memmap)
    assert tokens.tolist() == FLAT
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 3
    assert manifest.sha256 == hashlib.sha256((tmp_path / "s" / "tokens.bin").read_bytes()).hexdigest()


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "s", DOCUMENTS, MARK, 300)
    path = tmp_path / "s" / "tokens.bin"
    whole = path.read_bytes()
    for altered in (whole[:-1], whole[:-2], whole + b"\0", b""):
        path.write_bytes(altered)
        with pytest.raises(InputError, match=rf"has {len(altered)} bytes where its manifest says 14; delete"):
            open_shard(tmp_path / "s")


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write_shard(tmp_path / "s", DOCUMENTS, MARK, 300)
    path = tmp_path / "s" / "tokens.bin"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        path.write_bytes(altered)
        with pytest.raises(InputError, match="was altered after it was written; delete"):
            open_shard(tmp_path / "s")


@pytest.mark.parametrize("name", ["shard.json", "tokens.bin"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "s", DOCUMENTS, MARK, 300)
    (tmp_path / "s" / name).unlink()
    with pytest.raises(MissingError, match=rf"holds no token shard \({name} is missing\); write it again"):
        open_shard(tmp_path / "s")


def test_a_fault_in_the_middle_leaves_the_old_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "s", DOCUMENTS, MARK, 300)

    def documents():
        yield 3, [9]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_shard(tmp_path / "s", documents(), MARK, 300)
    with pytest.raises(OverflowError):
        write_shard(tmp_path / "s", [(3, [70_000])], MARK, 300)  # no id may wrap around
    assert open_shard(tmp_path / "s")[0].tolist() == FLAT
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_shard_of_nothing_is_empty(tmp_path: Path) -> None:
    write_shard(tmp_path / "s", [], MARK, 300)
    assert open_shard(tmp_path / "s")[0].tolist() == []
