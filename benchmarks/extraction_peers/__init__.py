"""The libraries that benchmarks/extraction.py compares with, and the score of their texts."""
