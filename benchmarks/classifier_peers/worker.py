"""The process that times one library on one task: `python -m classifier_peers.worker job.json result.json`.

    {"do": "train", "library": ..., "train": path, "test": path, "options": {...}}
    {"do": "predict", "library": ..., "model": path, "test": path, "passes": ...}

Files have fastText's form, a text per line behind its label. Training counts from opening the file to the finished
model in memory, dictionary included; prediction from a list of texts to one label each. Our compiled code has been
loaded before, on a few made-up texts. The answers carry what was predicted: accuracy and labels are compared by the
benchmark.
"""

import hashlib
import time
from pathlib import Path
from typing import Any

from harness.child import Result, child_main, claim_memory

OURS = "groundup"


def train(job: Result) -> Result:
    """A classifier from a file; words per second over all epochs, accuracy on other lines."""
    options, path = job["options"], Path(job["train"])
    words = sum(len(line.split()) + 1 for line in path.read_text().splitlines())
    labels, texts = read(Path(job["test"]))
    learn, predict = (our_training, our_predictions) if job["library"] == OURS else (peer_training, peer_predictions)
    if job["library"] == OURS:
        from groundup.corpus.fasttext.training import train_fasttext

        train_fasttext(["a b", "c d"], ["x", "y"], our_config({**options, "bucket": 100}))
    claim_memory()
    start = time.perf_counter()
    model = learn(path, options)
    seconds = time.perf_counter() - start
    found = predict(model, texts)
    right = sum(said == label for said, label in zip(found, labels, strict=True)) / len(labels)
    return {"rate": words * options["epoch"] / seconds / 1e6, "accuracy": right, "words": words}


def predict(job: Result) -> Result:
    """The likeliest label of texts that are in memory; documents per second of the best pass, and how many are right,
    whatever their region (pt-BR is pt)."""
    labels, texts = read(Path(job["test"]))
    if job["library"] == OURS:
        from groundup.corpus.fasttext.predictor import load_fasttext

        model: Any = load_fasttext(job["model"])
        call = our_predictions
    else:
        import fasttext

        model, call = fasttext.load_model(job["model"]), peer_predictions
    call(model, texts[:20])
    best, found = float("inf"), []
    for _ in range(job["passes"]):
        start = time.perf_counter()
        found = call(model, texts)
        best = min(best, time.perf_counter() - start)
    right = sum(said == label.partition("-")[0] for said, label in zip(found, labels, strict=True)) / len(labels)
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return {"rate": len(texts) / best, "accuracy": right, "digest": digest}


def our_config(options: Result) -> Any:
    """fastText's options by our names."""
    from groundup.corpus.fasttext.config import FastTextConfig

    return FastTextConfig(
        width=options["dim"],
        learning_rate=options["lr"],
        epochs=options["epoch"],
        word_ngrams=options["wordNgrams"],
        buckets=options["bucket"],
        shortest_subword=options.get("minn", 0),
        longest_subword=options.get("maxn", 0),
        loss={"softmax": "softmax", "hs": "hierarchical"}[options.get("loss", "softmax")],
    )


def our_training(path: Path, options: Result) -> Any:
    from groundup.corpus.fasttext.training import train_fasttext

    labels, texts = read(path)
    return train_fasttext(texts, labels, our_config(options))


def peer_training(path: Path, options: Result) -> Any:
    import fasttext

    return fasttext.train_supervised(str(path), thread=1, verbose=0, **options)


def our_predictions(model: Any, texts: list[str]) -> list[str]:
    return [found[0][0] for found in model.predict(texts)]


def peer_predictions(model: Any, texts: list[str]) -> list[str]:
    # `model.predict` of the package does not run with numpy 2; what it calls does.
    predict = model.f.predict
    return [predict(text + "\n", 1, 0.0, "strict")[0][1].removeprefix("__label__") for text in texts]


def read(path: Path) -> tuple[list[str], list[str]]:
    """(labels, texts) of a file of lines."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    return [label.removeprefix("__label__") for label, _ in lines], [text for _, text in lines]


if __name__ == "__main__":
    child_main(lambda job: {"train": train, "predict": predict}[job["do"]](job))
