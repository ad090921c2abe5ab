"""Bits per byte, baselines, verifiable tasks, and the statistics around them."""
