"""One forward pass at a time in a process.

A server has a thread for each of its models. But how a pass is computed is a state of the process: PyTorch's own,
whether compiled blocks run compiled (`set_stance`), and ours, what products are inside a compiled step
(`kernels/matvec.py`, `kernels/packed_product.py`). And one pass already uses every core, so two at a time gain nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_computing = threading.Lock()


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block no other thread computes a forward pass."""
    with _computing:
        yield


@contextmanager
def eagerly() -> Iterator[None]:
    """`alone`, and blocks that training compiled are not: for shapes that change every time."""
    with _computing, torch.compiler.set_stance("force_eager"):
        yield
