"""Deduplication and decontamination, on one machine in memory and on many through files. Read in this order:

    hashing, normalisation, words   bytes to hashes, texts to words to n-grams; everything below compares these
    exact                           copies of documents and of addresses
    signatures, near, clusters      MinHash, candidates by bands, true Jaccard similarity, union-find, one stays
    segments                        lines, paragraphs and spans of sentences that occur again
    bloom                           "have I seen this?" in fixed memory, for streams
    suffix_array, substrings        any repeated stretch of bytes or tokens
    decontamination                 n-grams shared with evaluation texts

The same over many files (map, partitions of sorted keys, reduce, places of dropped documents) is `corpus/crawl`.
"""
