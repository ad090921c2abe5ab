"""Readers of WARC files, one process a measurement."""
