"""Fetching: files over HTTP that are resumed and verified, Common Crawl by crawl and shard, named corpora."""
