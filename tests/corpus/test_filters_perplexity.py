import random

import numpy as np
import pytest

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.filters.perplexity import (
    PerplexityConfig,
    PerplexityModel,
    compile_ngrams,
    load_perplexity,
    train_perplexity,
)
from groundup.corpus.kneser_ney import train

NOUNS = ("river", "village", "council", "winter", "letter", "journey", "market", "engine", "garden", "bridge")
VERBS = ("crossed", "saw", "left", "reached", "remembered", "described", "sold", "repaired")


def sentences(seed, count=30):
    generator = random.Random(seed)
    return " ".join(
        f"The {generator.choice(NOUNS)} {generator.choice(VERBS)} the {generator.choice(NOUNS)} again."
        for _ in range(count)
    )


@pytest.mark.parametrize("order", [1, 2, 5, 8])
def test_scores_are_those_of_kneser_ney(order):
    texts = ["the cat sat on the mat", "äöü the \x00 cat", "a", "the the the" * 500, "", "never seen: QZX\U0001f600"]
    training = [b"the cat sat on the mat and the cat ate", "ätherisch öl\x00".encode(), b"a", b"x\x00\x00y"]
    model = train(training, order)
    scores = PerplexityModel(compile_ngrams(model), (0, 0)).bits_per_byte(texts)
    expected = [model.bits_per_byte([text.encode()]) if text else np.inf for text in texts]
    assert scores == pytest.approx(expected, rel=1e-5)


def test_buckets_part_good_text_from_noise(tmp_path):
    model = train_perplexity([sentences(seed) for seed in range(60)], PerplexityConfig(order=5))
    generator = random.Random(1)
    noise = "".join(generator.choice("abcdefghij KLMNOP<>/=\n") for _ in range(500))
    german = "Der Fluss trat im Winter über die Ufer, und der Markt fiel aus. " * 5
    assert model.buckets([noise, german]) == ["tail", "tail"]
    fresh = [sentences(1000 + seed) for seed in range(300)]
    counts = [model.buckets(fresh).count(bucket) for bucket in ("head", "middle", "tail")]
    assert min(counts) > 20  # six reference texts set the bounds, so only roughly 30 : 30 : 40
    recut = model.with_bounds(fresh, (0.3, 0.6))
    assert [recut.buckets(fresh).count(bucket) for bucket in ("head", "middle", "tail")] == [90, 90, 120]
    recut.save(tmp_path / "model.npz")
    again = load_perplexity(tmp_path / "model.npz")
    assert again.bounds == recut.bounds
    assert np.array_equal(again.bits_per_byte(fresh), recut.bits_per_byte(fresh))


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 but not a whole archive")
    with pytest.raises(InputError, match="no perplexity model"):
        load_perplexity(tmp_path / "x.npz")
    np.savez(tmp_path / "other.npz", keys=np.zeros(3))
    with pytest.raises(InputError, match="no perplexity model"):
        load_perplexity(tmp_path / "other.npz")
    with pytest.raises(InputError, match="3 texts are too few"):
        train_perplexity(["a", "b", "c"])
    with pytest.raises(ConfigError, match="1 to 8"):
        PerplexityConfig(order=9)
    with pytest.raises(ConfigError, match="rise"):
        PerplexityConfig(quantiles=(0.6, 0.3))
