"""The next-token objective weighs targets, and one of weight 0 has no say."""

import torch
import torch.nn.functional as F
from tiny_training import MODEL, VOCAB

from groundup.batches.batch import Batch
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.training.objectives import distillation, next_token


def model_and_batch() -> tuple[Decoder, Batch]:
    model = Decoder(MODEL)
    initialize(model, 0)
    generator = torch.Generator().manual_seed(0)
    tokens_BT, targets_BT = (torch.randint(VOCAB, (3, 10), generator=generator) for _ in range(2))
    weights_BT = torch.randint(3, (3, 10), generator=generator) / 2
    return model, Batch(tokens_BT, targets_BT, weights_BT)


def test_it_is_the_weighted_mean_of_pytorchs_cross_entropy() -> None:
    model, batch = model_and_batch()
    loss, metrics = next_token(model, batch)
    logits = model.unembed(model(batch.tokens_BT)).flatten(0, 1)
    losses_BT = F.cross_entropy(logits, batch.targets_BT.flatten(), reduction="none").view(3, 10)
    torch.testing.assert_close(loss, (losses_BT * batch.weights_BT).sum() / batch.weights_BT.sum())
    assert metrics == {}


def test_a_target_of_weight_0_has_no_influence() -> None:
    model, batch = model_and_batch()
    other = torch.where(batch.weights_BT == 0, (batch.targets_BT + 1) % VOCAB, batch.targets_BT)
    assert (batch.weights_BT == 0).any()
    gradients = []
    for targets_BT in (batch.targets_BT, other):
        loss, _ = next_token(model, batch._replace(targets_BT=targets_BT))
        gradients.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    assert all(torch.equal(one, another) for one, another in zip(*gradients, strict=True))


def test_only_the_proportions_of_weights_matter() -> None:
    model, batch = model_and_batch()
    tripled = batch._replace(weights_BT=3 * batch.weights_BT)
    torch.testing.assert_close(next_token(model, tripled)[0], next_token(model, batch)[0])
    uneven = batch._replace(weights_BT=batch.weights_BT.clone())
    uneven.weights_BT[0] *= 3
    assert not torch.allclose(next_token(model, uneven)[0], next_token(model, batch)[0], atol=1e-6)


def test_distillation_is_pytorchs_divergence_from_the_teacher_at_the_temperature() -> None:
    model, batch = model_and_batch()
    teacher = Decoder(MODEL)
    initialize(teacher, 1)
    for temperature in (1.0, 2.5):
        loss, _ = distillation(teacher, temperature)(model, batch)
        ours, theirs = (each.unembed(each(batch.tokens_BT)) / temperature for each in (model, teacher))
        divergence_BTV = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="none", log_target=True)
        losses_BT = temperature**2 * divergence_BTV.sum(dim=-1)
        torch.testing.assert_close(loss, (losses_BT * batch.weights_BT).sum() / batch.weights_BT.sum())
    loss.backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert model.embedding.grad is not None
    assert model.embedding.grad.abs().sum() > 0


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    model, batch = model_and_batch()
    loss, _ = distillation(model)(model, batch)
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-6, rtol=0)
