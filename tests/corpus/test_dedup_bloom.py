import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.dedup.bloom import BloomFilter
from groundup.corpus.dedup.hashing import mix


def distinct(number, start=0):
    return mix(np.arange(start, start + number, dtype=np.uint64))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=200), st.integers(1, 300), st.floats(0.001, 0.9))
def test_what_was_put_in_is_always_found(values, items, rate):
    bloom = BloomFilter.for_items(items, rate)
    hashes = np.array(values, np.uint64)
    first = bloom.add(hashes)
    assert bloom.contains(hashes).all()
    again = [value in values[:i] for i, value in enumerate(values)]
    assert all(seen for seen, repeated in zip(first, again, strict=True) if repeated)


@pytest.mark.parametrize(("items", "rate"), [(1000, 0.1), (20_000, 0.01), (50_000, 0.001)])
def test_the_rate_of_false_positives_is_as_promised(items, rate):
    bloom = BloomFilter.for_items(items, rate)
    bloom.add(distinct(items))
    measured = bloom.contains(distinct(1_000_000, items)).mean()
    assert measured <= rate
    assert measured == pytest.approx(bloom.expected_false_positives(items), rel=0.15, abs=3e-5)


def test_the_number_of_hashes_is_the_best_one():
    bloom = BloomFilter.for_items(10_000, 0.01)
    rates = {k: BloomFilter(bloom.words, k).expected_false_positives(10_000) for k in range(1, 30)}
    assert bloom.hashes == min(rates, key=lambda k: rates[k])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_a_union_has_seen_what_either_has(one, other):
    filters = [BloomFilter.for_items(100, 0.01) for _ in range(3)]
    filters[0].add(np.array(one, np.uint64))
    filters[1].add(np.array(other, np.uint64))
    filters[2].add(np.array(one + other, np.uint64))
    filters[0].join(filters[1])
    assert (filters[0].words == filters[2].words).all()


def test_a_file_gives_the_filter_back(tmp_path):
    bloom = BloomFilter.for_items(500, 0.01)
    bloom.add(distinct(500))
    bloom.save(tmp_path / "seen.npy")
    back = BloomFilter.load(tmp_path / "seen.npy")
    assert (back.words == bloom.words).all()
    assert back.hashes == bloom.hashes
    (tmp_path / "broken").write_bytes(b"no filter")
    with pytest.raises(InputError, match="broken holds no Bloom filter"):
        BloomFilter.load(tmp_path / "broken")


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match="0 items"):
        BloomFilter.for_items(0, 0.1)
    with pytest.raises(ConfigError, match="rate of false positives is 1"):
        BloomFilter.for_items(10, 1)
    with pytest.raises(InputError, match="cannot be joined"):
        BloomFilter.for_items(10, 0.1).join(BloomFilter.for_items(1000, 0.1))
