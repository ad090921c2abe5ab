"""Workers of benchmarks/classifiers.py."""
