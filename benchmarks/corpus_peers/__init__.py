"""What benchmarks/corpus.py compares with, and the processes that measure each side."""
