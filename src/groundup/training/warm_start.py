"""Weights of one model as the start of another of the same shape, or of one whose MLPs have become experts.

Upcycling (Komatsuzaki et al. 2022, arXiv:2212.05055, section 3): each expert starts as a copy of the dense MLP, the
router at random. Where the gates of a token's experts sum to 1, the new model computes what the old one did.
"""

from collections.abc import Mapping

from torch import Tensor

from groundup.core.errors import InputError

EXPERTS = ("channel.gate", "channel.up", "channel.down")
NEW = ("channel.router", "channel.balance_bias")  # what only a mixture of experts has


def warm_weights(fresh: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The known weights under the names and in the shapes of the fresh ones; what has no place is an `InputError`."""
    unknown = sorted(known.keys() - fresh.keys())
    if unknown:
        raise InputError(f"The checkpoint has {unknown[0]}, for which this model has no place; give it the same shape.")
    return {name: _warm(name, weight, known) for name, weight in fresh.items()}


def _warm(name: str, fresh: Tensor, known: Mapping[str, Tensor]) -> Tensor:
    weight = known.get(name)
    upcycled = name.endswith(NEW) and _mlp_of(name, known)
    if weight is None and upcycled:
        return fresh
    if weight is None:
        raise InputError(f"The checkpoint has no {name}, which this model needs; give it the checkpoint's shape.")
    if weight.shape == fresh.shape:
        return weight
    if name.endswith(EXPERTS) and weight.ndim == 2 and weight.shape == fresh.shape[1:]:
        return weight.expand_as(fresh).clone()
    raise InputError(
        f"{name} is {' x '.join(map(str, weight.shape))} in the checkpoint and {' x '.join(map(str, fresh.shape))} in "
        "this model; give it the checkpoint's shape."
    )


def _mlp_of(name: str, known: Mapping[str, Tensor]) -> bool:
    """Whether the checkpoint has a dense MLP where this model has experts."""
    gate = known.get(f"{name.rpartition('.')[0]}.gate")
    return gate is not None and gate.ndim == 2
