"""A crawl to a corpus: pages through the stages in work units, then deduplication over all of them, then the splits."""
