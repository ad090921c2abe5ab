"""The two sides of benchmarks/heuristics.py."""
