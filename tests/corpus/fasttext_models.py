"""Small models for the tests of the fastText format: random ones of every kind, and real ones that fastText wrote."""

import base64
import json
import zlib
from pathlib import Path

import numpy as np

from groundup.corpus.fasttext.model_file import LOSSES, SUPERVISED, Dictionary, ModelFile, Settings
from groundup.corpus.fasttext.quantization import quantize

# Written by fasttext-numpy2-wheel 0.9.2 with what it predicts for the texts, all labels; made-up words only.
GOLDEN = json.loads((Path(__file__).parent / "fasttext_golden.json").read_text())
WORDS = ["</s>", "the", "house", "über", "это", "水", "a", "grün", "é", "naïve"]


def golden_file(name, folder):
    """A model that fastText wrote, as a file."""
    model = next(model for model in GOLDEN["models"] if model["name"] == name)
    path = folder / "golden.bin"
    path.write_bytes(zlib.decompress(base64.b64decode(model["model"])))
    return path


def random_model(
    loss="softmax",
    *,
    labels=5,
    subwords=(0, 0),
    word_ngrams=1,
    width=6,
    buckets=50,
    kept=None,
    quantized=False,
    norms=False,
):
    """A model of random numbers; `kept` buckets have a row, by default all."""
    random = np.random.default_rng(1)
    number = next(number for number, name in LOSSES.items() if name == loss)
    settings = Settings(width, 5, 5, 1, 5, word_ngrams, number, SUPERVISED, buckets, *subwords, 100, 1e-4)
    chosen = None
    if kept is not None:
        chosen = {int(bucket): row for row, bucket in enumerate(random.permutation(buckets)[:kept])}
    counts = np.concatenate([np.arange(len(WORDS), 0, -1), np.sort(random.integers(1, 99, labels))[::-1]])
    names = [f"__label__{i}".encode() for i in range(labels)]
    dictionary = Dictionary([word.encode() for word in WORDS], names, counts, int(counts.sum()), chosen)
    rows = len(WORDS) + (buckets if chosen is None else len(chosen))
    matrices = [random.normal(0, 2, (n, width)).astype(np.float32) for n in (rows, labels)]
    if quantized:
        matrices[0] = quantize(matrices[0], norms=norms)
    return ModelFile(settings, dictionary, *matrices)
