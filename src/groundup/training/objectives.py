"""What is minimised: functions from a model and a batch to a scalar loss and numbers worth logging.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Callable

import torch
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


def distillation(teacher: LanguageModel, temperature: float = 1.0) -> Objective:
    """τ² KL(teacher ‖ student) of the distributions at temperature τ, the weighted mean over targets in nats (Hinton et
    al. 2015, arXiv:1503.02531, section 2). The teacher, whose vocabulary is the student's, is not trained.

    τ² keeps the gradients' size, which falls with 1/τ². All logits of both exist at once: keep batches small.
    """

    def towards_teacher(model: LanguageModel, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            known_BTV = teacher.unembed(teacher(batch.tokens_BT, batch.positions_BT))
        student_BTV = model.unembed(model(batch.tokens_BT, batch.positions_BT))
        losses_BT = temperature**2 * divergence(known_BTV / temperature, student_BTV / temperature)
        return (losses_BT * batch.weights_BT).sum() / batch.weights_BT.sum() + model.auxiliary_loss(), {}

    return towards_teacher


def divergence(teacher_V: Tensor, student_V: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_v p_v (log p_v - log q_v) of the softmax of two sets of logits (..., V), in nats."""
    log_p_V, log_q_V = (torch.log_softmax(logits_V.float(), dim=-1) for logits_V in (teacher_V, student_V))
    return (log_p_V.exp() * (log_p_V - log_q_V)).sum(dim=-1)
