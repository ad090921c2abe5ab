"""Against the C++ program, where one of its Python packages is installed (fasttext-numpy2-wheel, fasttext-modern)."""

import numpy as np
import pytest
from test_fasttext_training import made_texts

from groundup.core.errors import MissingError
from groundup.corpus.fasttext.config import FastTextConfig
from groundup.corpus.fasttext.language_model import language_model_path
from groundup.corpus.fasttext.predictor import load_fasttext
from groundup.corpus.fasttext.training import train_fasttext
from groundup.corpus.language import FUNCTION_WORDS

fasttext = pytest.importorskip("fasttext", reason="fasttext is not installed: pip install fasttext-numpy2-wheel")
# With fewer threads the program leaves most of a small matrix as memory was, which ends in "Encountered NaN".
THREADS = 11


@pytest.fixture(scope="module", name="examples")
def make_examples(tmp_path_factory):
    path = tmp_path_factory.mktemp("peer") / "train.txt"
    texts, labels = made_texts(count=1500)
    path.write_text("".join(f"__label__{label} {text} über это\n" for text, label in zip(texts, labels, strict=True)))
    return path


def assert_same_predictions(peer, path, texts, k=3):
    found = load_fasttext(path).predict(texts, k=k)
    for text, ours in zip(texts, found, strict=True):
        theirs = [(label.removeprefix("__label__"), p) for p, label in peer.f.predict(text + "\n", k, 0.0, "strict")]
        assert [p for _, p in ours] == pytest.approx([p for _, p in theirs], abs=1e-5), text
        different = len({round(p, 6) for _, p in theirs}) == len(theirs)  # equal ones have no order, but for k = 1
        if different or k == 1:
            assert [label for label, _ in ours] == [label for label, _ in theirs], text


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
@pytest.mark.parametrize("options", [{"wordNgrams": 3}, {"minn": 2, "maxn": 4, "wordNgrams": 2, "minCount": 40}])
def test_predictions_of_its_dense_models(examples, tmp_path, loss, options):
    peer = fasttext.train_supervised(
        str(examples), loss=loss, dim=20, bucket=3000, lr=0.3, epoch=3, thread=THREADS, verbose=0, **options
    )
    peer.save_model(str(tmp_path / "peer.bin"))
    texts = [*made_texts(count=200, seed=2)[0], "", "unseen", "это naïve über"]
    assert_same_predictions(peer, tmp_path / "peer.bin", texts, k=1)
    assert_same_predictions(peer, tmp_path / "peer.bin", texts, k=4)


@pytest.mark.parametrize("options", [{}, {"qnorm": True, "dsub": 3}, {"cutoff": 700}, {"cutoff": 600, "qnorm": True}])
def test_predictions_of_its_quantized_models(examples, tmp_path, options):
    peer = fasttext.train_supervised(
        str(examples), dim=16, bucket=3000, minn=2, maxn=4, wordNgrams=2, lr=0.3, epoch=3, thread=THREADS, verbose=0
    )
    peer.quantize(input=str(examples), **options)
    peer.save_model(str(tmp_path / "peer.ftz"))
    assert_same_predictions(peer, tmp_path / "peer.ftz", [*made_texts(count=200, seed=2)[0], "", "это naïve"])


def test_it_quantizes_its_labels_too(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(f"__label__{i} word{i} any\n" for i in range(300) for _ in range(3)))
    peer = fasttext.train_supervised(str(path), dim=8, lr=0.5, epoch=5, thread=THREADS, verbose=0)
    peer.quantize(qout=True)
    peer.save_model(str(tmp_path / "peer.ftz"))
    assert_same_predictions(peer, tmp_path / "peer.ftz", [f"word{i}" for i in range(0, 300, 7)], k=1)


@pytest.mark.parametrize("loss", ["softmax", "hierarchical"])
@pytest.mark.parametrize("options", [{"word_ngrams": 2}, {"shortest_subword": 2, "longest_subword": 4}])
def test_it_reads_what_we_train(tmp_path, loss, options):
    config = FastTextConfig(width=12, epochs=3, learning_rate=0.5, buckets=2000, loss=loss, **options)
    train_fasttext(*made_texts(), config).save(tmp_path / "ours.bin")
    peer = fasttext.load_model(str(tmp_path / "ours.bin"))
    assert_same_predictions(peer, tmp_path / "ours.bin", made_texts(count=200, seed=2)[0])


def test_training_is_as_accurate(examples):
    options = {"lr": 0.5, "epoch": 5}
    peer = fasttext.train_supervised(
        str(examples), dim=50, wordNgrams=2, bucket=50_000, thread=THREADS, verbose=0, **options
    )
    lines = [line.rstrip("\n").split(" ", 1) for line in examples.read_text().splitlines()]
    config = FastTextConfig(width=50, buckets=50_000, learning_rate=0.5, epochs=5)
    ours = train_fasttext([text for _, text in lines], [label for label, _ in lines], config)
    texts, labels = made_texts(count=2000, seed=3)
    theirs = [peer.f.predict(text + "\n", 1, 0.0, "strict")[0][1].removeprefix("__label__") for text in texts]
    found = [one[0][0] for one in ours.predict(texts)]
    right = [np.mean([a == b for a, b in zip(said, labels, strict=True)]) for said in (found, theirs)]
    assert right[0] > right[1] - 0.01


def test_language_identification():
    try:
        path = language_model_path()
    except MissingError as error:
        pytest.skip(str(error))
    texts = [" ".join(words[i : i + 12]) for words in FUNCTION_WORDS.values() for i in range(0, 60, 5)]
    assert_same_predictions(fasttext.load_model(str(path)), path, [*texts, "", "水" * 500, "a" * 20_000])
