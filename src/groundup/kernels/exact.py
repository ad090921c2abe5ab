"""Products that stay in fp32 under torch.autocast.

Where a product must not be rounded, the models say so by `.float()` in front of it, but autocast takes no notice of
that and rounds the operands to bf16. A function that is marked as `exact` computes as if there were no autocast:
attention with exact scores, states of recurrent mixers, routers.
"""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def exact(function: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """The function, which autocast does not change; its first argument is a tensor."""

    @functools.wraps(function)
    def without_autocast(x: Tensor, *args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_autocast_enabled(x.device.type):
            return function(x, *args, **kwargs)
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *args, **kwargs)

    return without_autocast
