"""Shards read as one sequence: the ids of numpy's concatenation, and nothing that cannot be trained on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.batches import token_stream
from groundup.batches.token_stream import TokenStream, open_tokens, tokens_fingerprint
from groundup.core.errors import GroundupError, InputError, MissingError
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.token_shards import TokenBlock, write_index, write_shard

END = 256
TOKENIZER = BytePairTokenizer([], special_tokens={"<|endoftext|>": END})


def write(directory: Path, shards: Iterable[list[int]], vocab_size: int = 300) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    blocks = [[TokenBlock(np.array(ids, dtype=np.uint32), 5, True)] if ids else [] for ids in shards]
    written = [write_shard(directory, number, "text", block, vocab_size) for number, block in enumerate(blocks)]
    write_index(directory, TOKENIZER, END, written)


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6), st.data())
def test_a_slice_is_that_of_the_whole(shards: list[list[int]], data: st.DataObject) -> None:
    stream = TokenStream([np.array(shard, dtype=np.uint16) for shard in shards], separator=3)
    whole = [token for shard in shards for token in shard]
    assert len(stream) == len(whole)
    start, stop = (data.draw(st.integers(0, len(whole) + 2)) for _ in range(2))
    assert stream[start:stop].tolist() == whole[start:stop]
    starts = [place for place, token in enumerate(whole) if token == 3 or place == 0]
    assert stream.document_starts().tolist() == (starts or [0])


def test_nothing_is_copied_inside_a_shard_and_types_are_kept() -> None:
    first, second = np.arange(10, dtype=np.uint16), np.arange(10, 20, dtype=np.uint16)
    stream = TokenStream([first, second])
    assert np.shares_memory(stream[2:9], first)
    assert np.shares_memory(stream[10:20], second)
    assert stream[8:12].tolist() == [8, 9, 10, 11]
    assert stream[8:12].dtype == np.uint16


def test_shards_are_mapped_and_read_as_one(tmp_path: Path) -> None:
    write(tmp_path, [[END, 1, 2], [], [3, END, 4], [5]])
    stream = open_tokens(tmp_path, TOKENIZER)
    assert stream[0:7].tolist() == [END, 1, 2, 3, END, 4, 5]
    assert stream.document_starts().tolist() == [0, 4], "a document may run on in the next shard"
    assert stream.separator == END
    assert not stream[0:2].flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        stream[0:2][0] = 1


@settings(max_examples=30)
@given(block=st.integers(1, 9))
def test_blocks_of_any_size_find_the_same(tmp_path_factory: pytest.TempPathFactory, block: int) -> None:
    directory = tmp_path_factory.mktemp("tokens")
    write(directory, [[END, 1, 2, 3, END, 299, 298], [7]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_stream, "BLOCK", block)
        patch.setattr(token_stream, "PROGRESS_TOKENS", block)
        with pytest.raises(InputError, match=r"shard_00000\.bin holds id 299 \(token 5\), and the tokenizer's last"):
            open_tokens(directory, TOKENIZER)
        write(directory, [[END, 1, 2, 3, END, 5, 256], [7]])
        assert open_tokens(directory, TOKENIZER).document_starts().tolist() == [0, 4, 6]


def test_an_id_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [[END, 1], [2, 257]])
    message = r"shard_00001\.bin holds id 257 \(token 1\), and the tokenizer's last id is 256; encode the text again"
    with pytest.raises(InputError, match=message):
        open_tokens(tmp_path, TOKENIZER)


def test_shards_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [[END, 1]])
    other = BytePairTokenizer([(104, 105)], special_tokens={"<|endoftext|>": 257})
    with pytest.raises(InputError, match=rf"another tokenizer \(fingerprint {TOKENIZER.fingerprint}, given is .*again"):
        open_tokens(tmp_path, other)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, [[END, 5, 6], [7, END, 8]])
    for path in sorted(tmp_path.glob("*.bin")):
        whole = path.read_bytes()
        for bit in range(8 * len(whole)):
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            path.write_bytes(altered)
            with pytest.raises(InputError, match=rf"{path.name} was altered after it was written; delete .* write the"):
                open_tokens(tmp_path, TOKENIZER)
        path.write_bytes(whole)
    assert len(open_tokens(tmp_path, TOKENIZER)) == 6


def test_files_that_are_missing_or_cut_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no token shards"):
        open_tokens(tmp_path, TOKENIZER)
    write(tmp_path, [[END, 1, 2]])
    path = tmp_path / "shard_00000.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"shard_00000\.bin has 5 bytes where index\.json says 6"):
        open_tokens(tmp_path, TOKENIZER)
    path.unlink()
    with pytest.raises(GroundupError, match=r"There is no file .*shard_00000\.bin"):
        open_tokens(tmp_path, TOKENIZER)


def test_the_fingerprint_is_that_of_the_ids(tmp_path: Path) -> None:
    for name, ids in (("a", [END, 1]), ("b", [END, 1]), ("c", [END, 2])):
        write(tmp_path / name, [ids])
    one, same, other = (tokens_fingerprint(tmp_path / name) for name in "abc")
    assert one == same
    assert one != other
