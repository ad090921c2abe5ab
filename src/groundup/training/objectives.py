"""What is minimised: functions from a model and a batch to a scalar loss and numbers worth logging."""

from collections.abc import Callable

from torch import Tensor

from groundup.batches.batch import Batch
from groundup.models.language_model import LanguageModel

Objective = Callable[[LanguageModel, Batch], tuple[Tensor, dict[str, float]]]


def next_token(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Mean negative log-likelihood in nats over the targets, weighted: Σ w·(-log p) / Σ w, and what mixers add."""
    loss = model.mean_loss(batch.tokens_BT, batch.targets_BT, batch.weights_BT, batch.positions_BT)
    return loss + model.auxiliary_loss(), {}


def answer_tokens(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The same mean for batches in which few targets have weight: the others' logits are not computed."""
    losses_BT = model.losses_where(batch.tokens_BT, batch.targets_BT, batch.weights_BT > 0, batch.positions_BT)
    return (losses_BT * batch.weights_BT).sum() / batch.weights_BT.sum() + model.auxiliary_loss(), {}
