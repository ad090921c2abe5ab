"""Exact copies: texts of the same words (`normalisation.py`), documents of the same normalised address (`urls.py`).

Texts are compared by a key of 128 bits, which two different ones among 10^12 share with probability 10^-15. A text of
punctuation alone has no words and is compared as it stands.
"""

from collections.abc import Sequence

import numpy as np
import xxhash

from groundup.corpus.dedup.clusters import clusters_of
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.dedup.hashing import Hashes
from groundup.corpus.dedup.signatures import sketch
from groundup.corpus.urls import normalize_url

KEYS_ONLY = DeduplicationConfig(ngram=1, bands=1, rows=1)


def exact_clusters(texts: Sequence[str]) -> list[list[int]]:
    """Places of the texts that are equal, for every text that occurs more than once."""
    return clusters_of(np.unique(text_keys(texts), axis=0, return_inverse=True)[1])


def text_keys(texts: Sequence[str]) -> Hashes:
    """The key of each text (N, 2)."""
    return sketch(texts, KEYS_ONLY).keys


def url_clusters(urls: Sequence[str | None]) -> list[list[int]]:
    """Places of the documents with the same normalised address; one without an address has no copy."""
    clusters = clusters_of(np.unique(address_keys(urls), axis=0, return_inverse=True)[1])
    return [cluster for cluster in clusters if urls[cluster[0]]]


def address_keys(urls: Sequence[str | None]) -> Hashes:
    """The key of each normalised address (N, 2); without an address that of the empty text."""
    forms = (normalize_url(url) if url else "" for url in urls)
    digests = b"".join(xxhash.xxh3_128_digest(form.encode(errors="surrogatepass")) for form in forms)
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
