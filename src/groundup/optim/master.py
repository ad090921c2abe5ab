"""fp32 master weights for parameters that compute in bf16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1).

bf16 keeps 8 bits: an update smaller than 1/256 of a weight is lost when it is added in bf16. So the optimizer adds to
an fp32 copy and rounds that copy into the parameter.
"""

from typing import Any

import torch
from torch import Tensor


def master_of(parameter: Tensor, state: dict[str, Any]) -> Tensor:
    """The tensor that an optimizer updates: the parameter itself in fp32 (or fp64), else its copy `state["master"]`."""
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    if "master" not in state:
        state["master"] = parameter.detach().float().clone()
    return state["master"]


def publish(parameter: Tensor, master: Tensor) -> None:
    """Round the updated master into the parameter."""
    if parameter is not master:
        parameter.copy_(master)
