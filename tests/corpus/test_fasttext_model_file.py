import struct
from dataclasses import replace

import numpy as np
import pytest
from fasttext_models import GOLDEN, golden_file, random_model

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.fasttext.model_file import read_model_file, write_model_file
from groundup.corpus.fasttext.quantization import nearest, pieces, quantize

NAMES = [model["name"] for model in GOLDEN["models"]]
HEAD = 8 + 12 * 4 + 8  # magic and version, settings


@pytest.mark.parametrize("name", NAMES)
def test_what_fasttext_wrote_is_written_to_the_byte(name, tmp_path):
    path = golden_file(name, tmp_path)
    write_model_file(tmp_path / "again.bin", read_model_file(path))
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("norms", [False, True])
def test_a_quantized_model_round_trips(norms, tmp_path):
    model = random_model(width=7, buckets=400, kept=300, word_ngrams=2, quantized=True, norms=norms)
    write_model_file(tmp_path / "a.ftz", model)
    again = read_model_file(tmp_path / "a.ftz")
    np.testing.assert_array_equal(again.input.dense(), model.input.dense())
    assert (again.settings, again.dictionary.pruned) == (model.settings, model.dictionary.pruned)


@pytest.mark.parametrize("name", ["hierarchical softmax, subwords", "quantized with norms", "pruned and quantized"])
def test_a_cut_off_file_is_refused_wherever_it_ends(name, tmp_path):
    data = golden_file(name, tmp_path).read_bytes()
    short = tmp_path / "short.bin"
    for length in {*range(1, 400), *range(400, len(data), 97), len(data) - 1}:
        short.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"ends inside its|counts|damaged"):
            read_model_file(short)


def test_random_damage_is_refused_or_read_and_never_another_fault(tmp_path):
    data = golden_file("pruned and quantized", tmp_path).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for place in random.integers(0, 2000, 4):
            damaged[place] = random.integers(256)
        (tmp_path / "bad.ftz").write_bytes(damaged)
        try:
            read_model_file(tmp_path / "bad.ftz")
        except InputError as error:
            refused += str(tmp_path / "bad.ftz") in str(error)
    assert refused > 100


def test_other_files_are_named(tmp_path):
    path = tmp_path / "x.bin"
    with pytest.raises(MissingError, match="There is no file"):
        read_model_file(path)
    for content, words in (
        (b"", "is empty"),
        (b"PK\x03\x04" + b"x" * 99, "is no fastText model: it begins with b'PK"),
        (struct.pack("<2i", 793712314, 9) + b"x" * 99, "version 9"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_model_file(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": 2}, r"holds word vectors \(skipgram\)"),
        ({"loss": 7}, "a loss 7"),
        ({"width": 5}, "input matrix of 60 x 6; its dictionary needs 60 x 5"),
        ({"buckets": 49}, "needs 59 x 6"),
        ({"buckets": 0, "word_ngrams": 2}, "impossible settings"),
    ],
)
def test_what_does_not_fit_together_is_named(change, words, tmp_path):
    model = random_model()
    write_model_file(tmp_path / "x.bin", replace(model, settings=replace(model.settings, **change)))
    with pytest.raises(InputError, match=words):
        read_model_file(tmp_path / "x.bin")


def test_more_faults_of_the_content(tmp_path):
    path = tmp_path / "x.bin"
    model = random_model()
    write_model_file(path, model)
    data = path.read_bytes()
    path.write_bytes(data + b"more")
    with pytest.raises(InputError, match="goes on for 4 bytes"):
        read_model_file(path)
    write_model_file(path, replace(model, input=np.where(model.input == model.input[3, 3], np.nan, model.input)))
    with pytest.raises(InputError, match="input matrix that are not finite"):
        read_model_file(path)
    path.write_bytes(
        data[: HEAD + 28]
        + data[HEAD + 28 :].replace(b"</s>\0" + struct.pack("<qb", 10, 0), b"</s>\0" + struct.pack("<qb", 10, 1))
    )
    with pytest.raises(InputError, match="entry 0 of its dictionary as kind 1"):
        read_model_file(path)
    pruned = random_model(kept=20)
    write_model_file(path, pruned)
    with pytest.raises(InputError, match="pruned dictionary and a dense input"):
        read_model_file(path)


def test_version_11_has_no_subwords(tmp_path):
    model = replace(random_model(subwords=(2, 3)), version=11)
    write_model_file(tmp_path / "x.bin", model)
    again = read_model_file(tmp_path / "x.bin")
    assert (again.version, again.settings.longest_subword, again.longest_subword) == (11, 3, 0)


def test_quantizing_finds_the_nearest_centroids_and_few_points_exactly():
    random = np.random.default_rng(3)
    points, centroids = (random.normal(size=(n, 3)).astype(np.float32) for n in (500, 256))
    distances = ((points[:, None] - centroids[None]) ** 2).sum(axis=2)
    chosen = nearest(points, centroids)
    np.testing.assert_allclose(distances[np.arange(500), chosen], distances.min(axis=1), rtol=1e-5)
    few = random.normal(size=(8, 5)).astype(np.float32)[random.integers(0, 8, 300)]
    np.testing.assert_allclose(quantize(few, 2).dense(), few, atol=1e-5)
    assert pieces(5, 2) == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("norms", [False, True])
def test_quantizing_is_better_than_rounding_to_the_mean(norms):
    matrix = np.random.default_rng(4).normal(size=(1000, 4)).astype(np.float32)
    found = quantize(matrix, 2, norms=norms)
    assert np.square(found.dense() - matrix).mean() < 0.05 * np.square(matrix).mean()
    np.testing.assert_array_equal(quantize(matrix, 2, norms=norms).codes, found.codes)
    with pytest.raises(ConfigError, match="255 rows is too small"):
        quantize(matrix[:255])
