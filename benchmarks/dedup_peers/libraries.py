"""Each library's way from texts to MinHash signatures of word 5-grams, 128 values: its fastest public call.

Peers get words by `text.lower().split()`, which is less than our normalisation does (accents, punctuation, scripts
without spaces). datasketch's permutations are made once, not per text; it is measured with its default hash (SHA-1)
and with the faster xxHash.
datatrove runs its own normalisation and word splitter, as its pipeline does; both of its parts are public methods.
"""

from collections.abc import Callable, Sequence

import numpy as np

HASHES, BANDS, ROWS, NGRAM = 128, 32, 4, 5

Signer = Callable[[Sequence[str]], np.ndarray]


def shingles(text: str) -> list[str]:
    """What the peers are given: the n-grams of a text as strings."""
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


def groundup() -> Signer:
    from groundup.corpus.dedup.config import DeduplicationConfig
    from groundup.corpus.dedup.signatures import signatures

    config = DeduplicationConfig(ngram=NGRAM, bands=BANDS, rows=ROWS)
    return lambda texts: signatures(texts, config)


def datasketch(hash_function: Callable[[bytes], int] | None = None) -> Signer:
    from datasketch import MinHash

    first = MinHash(num_perm=HASHES)
    options = {"num_perm": HASHES, "permutations": first.permutations, "scheme": first.scheme}
    options["hashfunc"] = hash_function  # None: its default, SHA-1

    def sign(texts: Sequence[str]) -> np.ndarray:
        found = np.empty((len(texts), HASHES), np.uint64)
        for row, text in zip(found, texts, strict=True):
            one = MinHash(**options)
            one.update_batch([shingle.encode() for shingle in shingles(text)])
            row[:] = one.hashvalues
        return found

    return sign


def datasketch_xxhash() -> Signer:
    import xxhash

    return datasketch(xxhash.xxh32_intdigest)


def rensa() -> Signer:
    from rensa import RMinHash

    def sign(texts: Sequence[str]) -> np.ndarray:
        matrix = RMinHash.digest_matrix_from_token_sets([shingles(text) for text in texts], HASHES, 42)
        return np.array(matrix.to_rows(), np.uint64)

    return sign


def datatrove() -> Signer:
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    config = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS)
    step = MinhashDedupSignature(output_folder="/nonexistent", config=config, language="en")

    def sign(texts: Sequence[str]) -> np.ndarray:
        buckets = [step.get_signature(step.get_shingles(text)) for text in texts]
        return np.array([[value for bucket in each for value in bucket] for each in buckets], np.uint64)

    return sign


LIBRARIES: dict[str, Callable[[], Signer]] = {
    "groundup": groundup,
    "datasketch": datasketch,
    "datasketch with xxHash": datasketch_xxhash,
    "rensa": rensa,
    "datatrove": datatrove,
}
