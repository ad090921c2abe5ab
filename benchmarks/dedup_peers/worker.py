"""The process that runs one library on one task: `python -m dedup_peers.worker job.json result.json`.

    {"do": "speed", "library": ..., "text": file, "documents": n, "characters": n, "passes": n}
    {"do": "accuracy", "library": ..., "text": file, "documents": n, "characters": n}

The library is imported and has signed a few texts before the clock starts; the texts are in memory, as strings.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from harness.child import Result, child_main, claim_memory

from dedup_peers.libraries import HASHES, LIBRARIES, NGRAM, shingles


def speed(job: Result) -> Result:
    """Texts per second, the best of some passes."""
    sign = LIBRARIES[job["library"]]()
    texts = documents(job)
    sign(texts[:10])
    claim_memory()
    seconds = []
    for _ in range(job["passes"]):
        start = time.perf_counter()
        sign(texts)
        seconds.append(time.perf_counter() - start)
    return {"rate": len(texts) / min(seconds), "size": sum(map(len, texts)) / len(texts)}


def accuracy(job: Result) -> Result:
    """The root mean square error of the estimate on pairs whose similarity is spread evenly over (0, 1).

    With a share p of the words replaced at random, a set keeps q = (1 - p)^5 of its 5-grams, and J = q / (2 - q).
    """
    sign = LIBRARIES[job["library"]]()
    generator = random.Random(0)
    # Words of letters, so that every library's splitter sees the same ones.
    known = ["".join(generator.choices("abcdefghijklmnoprstuvw", k=generator.randint(2, 9))) for _ in range(50_000)]
    words = job["words"]
    ones, others = [], []
    for number in range(job["documents"]):
        similarity = (number + 0.5) / job["documents"]
        share = 1 - (2 * similarity / (1 + similarity)) ** (1 / NGRAM)
        text = generator.choices(known, k=words)
        ones.append(" ".join(text))
        others.append(" ".join(generator.choice(known) if generator.random() < share else word for word in text))
    estimate = (sign(ones) == sign(others)).mean(axis=1)
    true = np.array([jaccard(one, other) for one, other in zip(ones, others, strict=True)])
    bound = float(np.sqrt(np.mean(true * (1 - true)) / HASHES))
    return {"rmse": float(np.sqrt(np.mean((estimate - true) ** 2))), "independent": bound}


def jaccard(one: str, other: str) -> float:
    """The true similarity, of sets of strings."""
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b)


def documents(job: Result) -> Sequence[str]:
    """Stretches of a text, of equal length."""
    text = Path(job["text"]).read_text(errors="ignore")
    size = job["characters"]
    return [text[start : start + size] for start in range(0, min(len(text), size * job["documents"]), size)]


if __name__ == "__main__":
    child_main(lambda job: {"speed": speed, "accuracy": accuracy}[job["do"]](job))
