"""Kernels of tokenization in Numba: `layout.py` draws the tables, `encoding.py` and `learning.py` say how they work.

Nothing here is imported before it pays (`groundup.tokenization.acceleration`); plain Python beside it says the same.
"""
