"""Heads that predict further tokens: what they see, what they add to the loss, and that generation is without them."""

import torch
from random_decoders import random_tokens
from torch.testing import assert_close

from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, GatedMLP

LAYERS = (Layer(Attention(2, 1), GatedMLP(24)),)


def decoder(heads: int, **changes: float) -> Decoder:
    model = Decoder(
        DecoderConfig(41, 16, 32, 2, layers=LAYERS, prediction_heads=heads, prediction_weight=0.5, **changes)  # type: ignore[arg-type]
    )
    initialize(model, 0)
    return model


def test_the_loss_is_that_of_each_token_predicted_by_itself() -> None:
    """Position by position and head by head, in the words of the paper."""
    model, row = decoder(2), random_tokens(1, 11)[0]
    tokens, targets = row[:-1], row[1:]
    found = model.train().token_losses(tokens[None], targets[None])[0]
    expected = model.eval().token_losses(tokens[None], targets[None])[0]
    hidden = model.states(tokens[None], torch.arange(10), None)[0]
    extra = torch.zeros(10)
    for ahead, head in enumerate(model.prediction_heads, 1):
        joined = []
        for at in range(10 - ahead):
            came = model.embedding[row[at + ahead]]
            joined.append(head.join @ torch.cat((head.hidden_norm(hidden[at]), head.token_norm(came))))
        hidden = head.block(torch.stack(joined)[None], torch.arange(10 - ahead), None)[0]
        for at in range(10 - ahead):
            logits = model.output_weight @ head.final_norm(hidden[at])
            extra[at] -= 0.25 * torch.log_softmax(logits, dim=0)[row[at + ahead + 1]]
    assert_close(found, expected + extra, atol=1e-5, rtol=0)


def test_without_training_there_is_nothing_of_them() -> None:
    with_heads, without = decoder(1).eval(), decoder(0).eval()
    without.load_state_dict(with_heads.state_dict(), strict=False)
    tokens_BT = random_tokens(2, 12)
    assert torch.equal(with_heads(tokens_BT), without(tokens_BT))
    assert torch.equal(with_heads.token_losses(tokens_BT, tokens_BT), without.token_losses(tokens_BT, tokens_BT))


def test_z_loss_is_added_in_training_only() -> None:
    model, tokens_BT = decoder(0, z_loss=0.01), random_tokens(2, 12)
    log_sums_BT = torch.logsumexp(model.unembed(model(tokens_BT)), dim=-1)
    plain = model.eval().token_losses(tokens_BT, tokens_BT)
    assert_close(model.train().token_losses(tokens_BT, tokens_BT), plain + 0.01 * log_sums_BT.square())


def test_packed_documents_have_the_losses_that_they_have_alone() -> None:
    """No head predicts a token of another document."""
    model, rows = decoder(2).train(), random_tokens(1, 16)[0]
    lengths = [5, 2, 1, 6]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    targets = torch.roll(rows, -1)
    packed = model.token_losses(rows[None, :14], targets[None, :14], positions)[0]
    start = 0
    for length in lengths:
        inside = slice(start, start + length)
        alone = model.token_losses(rows[None, inside], targets[None, inside])[0]
        assert_close(packed[inside], alone, atol=1e-5, rtol=0)
        start += length
