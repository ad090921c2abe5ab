"""Numba kernels of tokenization. Each has a plain-Python reference beside it in `groundup.tokenization`."""
