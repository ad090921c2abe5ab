"""The process that times one library on one task: `python -m tokenization_peers.worker job.json result.json`.

    {"do": "encode", "library": ..., "call": ..., "vocabulary": ..., "text": ..., "passes": ..., "cores": ...}

Libraries are imported and vocabularies built before the clock starts, and the call has met a megabyte of random words
(so that lazily built tables and compiled code are there, on every side, but no word of the text is in a cache).
Free memory has been claimed from the host. The first pass over the text is the cold one, the best of the others the
warm one. Every answer carries a digest of what was computed: the benchmark compares it with tiktoken's, since a fast
wrong answer is worth nothing.
"""

import hashlib
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.child import Result, child_main, claim_memory, peak_bytes

ENOUGH_SECONDS = 20.0  # after two passes, no further one once so much has been spent
SHORT_CHARACTERS, SHORT_TEXTS = 40, 20_000


def encode(job: Result) -> Result:
    """A file to ids, reading included."""
    from tokenization_peers.encoders import ENCODERS
    from tokenization_peers.vocabularies import vocabulary

    encoder = ENCODERS[job["library"]](vocabulary(job["vocabulary"]), job.get("cores", 1))
    call, path = encoder.array_calls[job["call"]], Path(job["text"])
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.txt"
        start.write_text(random_words())
        call(start)
    seconds, result = timed(lambda: call(path), job["passes"])
    ids = encoder.as_ids(result)
    rate = path.stat().st_size / 1e6
    return {
        "cold": rate / seconds[0],
        "warm": rate / min(seconds[1:] or seconds),
        "digest": digest(ids),
        "ids": len(ids),
    }


def lists(job: Result) -> Result:
    """Texts that are in memory to lists of ints."""
    import numpy as np

    from tokenization_peers.encoders import ENCODERS, documents
    from tokenization_peers.vocabularies import vocabulary

    encoder = ENCODERS[job["library"]](vocabulary(job["vocabulary"]))
    texts = documents(Path(job["text"]), job["characters"])
    size = sum(len(text.encode()) for text in texts)
    call = offered(encoder.lists, job)
    call([random_words()])
    seconds, result = timed(lambda: call(texts), job["passes"])
    flat = np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in result])
    return {"cold": size / 1e6 / seconds[0], "warm": size / 1e6 / min(seconds[1:] or seconds), "digest": digest(flat)}


def short(job: Result) -> Result:
    """One string of 40 characters per call, to a list; the median of the passes over 20,000 of them."""
    import numpy as np

    from tokenization_peers.encoders import ENCODERS, read_text
    from tokenization_peers.vocabularies import vocabulary

    call = offered(ENCODERS[job["library"]](vocabulary(job["vocabulary"])).one, job)
    text = read_text(Path(job["text"]))
    starts = random.Random(0).sample(range(len(text) - SHORT_CHARACTERS), SHORT_TEXTS)
    texts = [text[start : start + SHORT_CHARACTERS] for start in starts]

    def every() -> list[list[int]]:
        return [call(one) for one in texts]

    seconds, result = timed(every, job["passes"])
    flat = np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in result])
    return {"nanoseconds": statistics.median(seconds) / len(texts) * 1e9, "digest": digest(flat)}


def decode(job: Result) -> Result:
    """Ids back to text; they are tiktoken's ids, made here, untimed."""
    import numpy as np

    from tokenization_peers.encoders import ENCODERS, read_text, tiktoken_encoding
    from tokenization_peers.vocabularies import vocabulary

    encoder = ENCODERS[job["library"]](vocabulary(job["vocabulary"]))
    text = read_text(Path(job["text"]))
    ids = tiktoken_encoding(vocabulary(job["vocabulary"])).encode_ordinary(text)
    if job["call"] == "array to bytes":
        array, bytes_of_array = np.asarray(ids, dtype=np.uint32), offered(encoder.bytes_of_array, job)
        seconds, result = timed(lambda: bytes_of_array(array), job["passes"])
    else:
        text_of_list = offered(encoder.text_of_list, job)
        seconds, result = timed(lambda: text_of_list(ids), job["passes"])
    same = result == text.encode() if isinstance(result, bytes) else result == text
    size = len(text.encode())
    return {"warm": size / 1e6 / min(seconds), "digest": "the text" if same else "another text"}


def train(job: Result) -> Result:
    """A file to a vocabulary, reading included; seconds of wall and processor, and the peak memory of the process."""
    from tokenization_peers.trainers import MODULES, TRAINERS

    library, path = job["library"], Path(job["text"])
    import_module(MODULES.get(library) or library)
    if library == "groundup":  # the compiled code is loaded; how long that takes is the start-up's claim
        from groundup.tokenization.pretoken_counts import PretokenCounts

        counts = PretokenCounts("gpt2")
        counts.compile()
        counts.add(random_words().encode())
        counts.learn(44)
    wall, processor = time.perf_counter(), time.process_time()
    tokens = TRAINERS[library](path, job["vocab_size"])
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    Path(job["tokens"]).write_text("\n".join(token.hex() for token in tokens))
    return {"wall": wall, "processor": processor, "peak": peak_bytes() / 1e6}


def exact(job: Result) -> Result:
    """The slow exact trainer; not a measurement."""
    from tokenization_peers.exact_trainer import exact_tokens

    tokens = exact_tokens(Path(job["text"]), job["vocab_size"])
    Path(job["tokens"]).write_text("\n".join(token.hex() for token in tokens))
    return {"tokens": len(tokens)}


def startup(job: Result) -> Result:
    """Import, vocabulary, tables and the first megabyte, in a process that has loaded nothing of it before.

    Numba imports scipy and the extensions of other packages where they are installed; here only peers brought them.
    """
    from tokenization_peers.vocabularies import vocabulary

    path = Path(job["text"])
    data = path.read_bytes()[: 1 << 20].decode(errors="ignore").encode()
    chosen = vocabulary(job["vocabulary"])
    sys.modules.update({"scipy": None, "awkward": None} if job["library"] == "groundup" else {})  # type: ignore[arg-type]
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    if job["library"] == "groundup":
        from groundup.tokenization.vocabulary_files import load_vocabulary

        tokenizer: Any = load_vocabulary(chosen.ranks)
        tokenizer.compile()
        tokenizer.encode_array(data)
    else:
        from tokenization_peers.encoders import tiktoken_encoding

        tiktoken_encoding(chosen).encode_ordinary(data.decode())
    return {"seconds": time.perf_counter() - start}


TASKS: dict[str, Callable[[Result], Result]] = {
    "encode": encode,
    "lists": lists,
    "short": short,
    "decode": decode,
    "train": train,
    "exact": exact,
    "startup": startup,
}


def timed(call: Callable[[], Any], passes: int) -> tuple[list[float], Any]:
    """Seconds of each pass, and what the last one returned (the result of the one before is dropped first)."""
    seconds: list[float] = []
    result = None
    claim_memory()
    while len(seconds) < passes and (len(seconds) < 2 or sum(seconds) < ENOUGH_SECONDS):
        result = None
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def offered(call: Callable[..., Any] | None, job: Result) -> Callable[..., Any]:
    """A call that the library has."""
    if call is None:
        raise NotImplementedError(f"{job['library']} has no call for {job['do']}")
    return call


def random_words() -> str:
    """A megabyte of two thousand random words, the same each time: too long for a path for small inputs to take it."""
    letters = random.Random(1)
    words = ["".join(letters.choices("bcdfghjklmnpqrstvwxz", k=6)) for _ in range(2_000)]
    return " ".join(letters.choices(words, k=150_000))


def digest(ids: Any) -> str:
    """A short hash of an array of ids."""
    return hashlib.blake2b(ids.tobytes(), digest_size=12).hexdigest()


if __name__ == "__main__":
    child_main(lambda job: TASKS[job["do"]](job))
