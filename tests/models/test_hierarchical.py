"""The hierarchical decoder against one that goes patch by patch; where patches end; caches, packed rows, causality."""

import math
import re
from collections import Counter
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.decoder import layers_cost
from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.hierarchical import Hierarchical, find_patches, patch_ends
from groundup.models.hierarchical_config import FixedPatches, HierarchicalConfig, Patches, SpacePatches
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, DenseMLP, GatedMLP, LinearAttention
from groundup.models.position_config import NoPosition

LOCAL = Layer(Attention(num_heads=2, num_kv_heads=1, window=4), GatedMLP(20))
TINY: dict[str, Any] = {
    "vocab_size": 258,
    "context_length": 40,
    "patches": SpacePatches(),
    "width": 24,
    "depth": 2,
    "layers": (Layer(Attention(num_heads=3, num_kv_heads=3), GatedMLP(32)),),
    "local_width": 16,
    "encoder_depth": 1,
    "decoder_depth": 2,
    "local_layers": (LOCAL,),
}
SHAPES: dict[str, dict[str, Any]] = {
    "spaces": {},
    "fixed": {"patches": FixedPatches(3)},
    "tied, with states": {
        "tie_embeddings": True,
        "layers": (Layer(LinearAttention(num_heads=3, position=NoPosition()), DenseMLP(32)),),
        "encoder_depth": 2,
        "local_layers": (Layer(LinearAttention(num_heads=2, position=NoPosition()), DenseMLP(20)), LOCAL),
        "norm": Norm("layer", bias=True),
    },
    "a patch a byte": {"patches": FixedPatches(1), "depth": 1},
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
TEXT = b"Then, 3 cats sat; \xe2\x80\x9cwow!\xe2\x80\x9d  \xe5\xa4\xa9\xe6\xb0\x94 a-b \xc3\xa9"


def tiny_config(**changes: Any) -> HierarchicalConfig:
    return HierarchicalConfig(**{**TINY, **changes})


def tiny_model(seed: int = 0, **changes: Any) -> Hierarchical:
    """Initialised, then with vectors off their initial values and larger outputs, so that nothing is hidden."""
    model = Hierarchical(tiny_config(**changes))
    initialize(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.rand(parameter.shape, generator=generator))
            elif "embedding" in name:
                parameter.normal_(0, 0.5, generator=generator)
    return model.eval()


def tiny_tokens(B: int, T: int, seed: int = 0) -> Tensor:
    """Words of a few letters between spaces, each row from another point, and some special tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BT = torch.randint(ord("a"), ord("e"), (B, T), generator=generator)
    other_BT = torch.rand(B, T, generator=generator)
    tokens_BT[other_BT < 0.35] = ord(" ")
    tokens_BT[other_BT < 0.1] = 0xC3
    tokens_BT[other_BT < 0.05] = 257
    return tokens_BT


def ends_of(tokens: list[int], patches: Patches) -> list[int]:
    """Where the patches of one document end, token by token."""

    def spacelike(token: int) -> bool:
        return token > 255 or not ((chr(token).isascii() and chr(token).isalnum()) or 0x80 <= token < 0xC0)

    ends = []
    for place, token in enumerate(tokens):
        if isinstance(patches, FixedPatches):
            end = place % patches.size == 0
        else:
            end = place == 0 or token > 255 or (spacelike(token) and not spacelike(tokens[place - 1]))
        if end:
            ends.append(place)
    return ends


def patch_by_patch(model: Hierarchical, tokens: list[int]) -> Tensor:
    """The hidden states (T, L) of one document; for every byte all that came before is computed again."""

    def through(blocks: nn.ModuleList, x_TD: Tensor) -> Tensor:
        x_1TD = x_TD[None]
        for block in blocks:
            x_1TD = block(x_1TD, torch.arange(len(x_TD)), None)
        return x_1TD[0]

    def encoded(count: int) -> Tensor:
        return through(model.encoder_blocks, model.embedding[torch.tensor(tokens[:count])])

    ends = ends_of(tokens, model.config.patches)
    told, hidden = [], []
    for number, end in enumerate(ends):
        seen_PL = torch.stack([encoded(before + 1)[-1] for before in ends[: number + 1]])
        state_D = model.global_norm(through(model.global_blocks, seen_PL @ model.patch_input.T))[-1]
        for place in range(end, ends[number + 1] if number + 1 < len(ends) else len(tokens)):
            told.append(model.patch_output @ state_D)
            x_TL = encoded(place + 1) + torch.stack(told)
            hidden.append(model.final_norm(through(model.decoder_blocks, x_TL))[-1])
    return torch.stack(hidden)


def assert_near(found: Tensor, expected: Tensor, all_of_them: Tensor) -> None:
    """Equal but for rounding, which is relative to the largest value: states are written step by step or in chunks."""
    torch.testing.assert_close(found, expected, atol=1e-5 * all_of_them.abs().max().item(), rtol=0)


@shapes
def test_outputs_and_gradients_are_those_of_one_patch_after_the_other(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape), tiny_tokens(2, 16, seed=3)
    direction_BTV = torch.randn(2, 16, 258, generator=torch.Generator().manual_seed(0))
    gradients = []
    for found in (model(tokens_BT), torch.stack([patch_by_patch(model, row) for row in tokens_BT.tolist()])):
        assert_near(found, model(tokens_BT), found)
        (model.unembed(found) * direction_BTV).mean().backward()
        gradients.append([cast(Tensor, parameter.grad).clone() for parameter in model.parameters()])
        model.zero_grad()
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-5 * max(1, one.abs().max().item()), rtol=0)


@pytest.mark.parametrize(
    ("text", "patches"),
    [
        (b"the\nenemy!\xe2\x80\x9d he", [b"t", b"he\n", b"enemy!", b"\xe2\x80\x9d ", b"he"]),
        (b"exp += 2;\n\nmbf[3] = exp;", [b"e", b"xp ", b"+= 2;", b"\n\nmbf[", b"3]", b" = exp;"]),
        (b"  a  b", [b" ", b" a ", b" b"]),
        ("天气".encode(), [b"\xe5", b"\xa4\xa9\xe6", b"\xb0\x94"]),
    ],
)
def test_patches_end_behind_words(text: bytes, patches: list[bytes]) -> None:
    """As in figure 2 of SpaceByte: spacelike bytes, other bytes, one spacelike byte; and the first byte by itself."""
    ends_1T = patch_ends(torch.tensor([list(text)]), torch.arange(len(text))[None], SpacePatches())
    cuts = [place + 1 for place, end in enumerate(ends_1T[0].tolist()) if end]
    assert [
        part for part in (text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)) if part
    ] == patches


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=60))
def test_patches_are_those_of_the_papers_description(text: bytes) -> None:
    """ "Zero or more spacelike bytes, followed by one or more non-spacelike bytes, and … a single spacelike byte"."""
    word, other = rb"[A-Za-z0-9\x80-\xbf]", rb"[^A-Za-z0-9\x80-\xbf]"
    expected = {0} | {match.end() - 1 for match in re.finditer(other + b"*" + word + b"+" + other, text)}
    ends_1T = patch_ends(torch.tensor([list(text)]), torch.arange(len(text))[None], SpacePatches())
    assert set(ends_1T[0].nonzero()[:, 0].tolist()) == expected
    assert ends_of(list(text), SpacePatches()) == sorted(expected)


def test_special_tokens_end_patches_unless_their_size_is_fixed() -> None:
    tokens_1T = torch.tensor([[256, 97, 257, 256, 32, 98, 32]])
    positions_1T = torch.arange(7)[None]
    assert patch_ends(tokens_1T, positions_1T, SpacePatches()).int().tolist() == [[1, 0, 1, 1, 0, 0, 1]]
    assert patch_ends(tokens_1T, positions_1T, FixedPatches(5)).int().tolist() == [[1, 0, 0, 0, 0, 1, 0]]


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_there_are_never_more_patches_than_a_cache_has_room_for(count: int, size: int, seed: int) -> None:
    tokens_BT = tiny_tokens(4, count, seed)
    for patches in (FixedPatches(size), SpacePatches()):
        found = find_patches(tokens_BT, torch.arange(count), patches)
        assert found.last_byte_BP.shape[1] <= patches.most(count)


@shapes
@torch.no_grad()
def test_a_later_byte_changes_nothing_before_it(shape: dict[str, Any]) -> None:
    """At every place a letter, a space and a special token are put in, so that patches grow, split and join."""
    model, tokens_T = tiny_model(**shape), tiny_tokens(1, 24, seed=1)[0]
    before_TL = model(tokens_T[None])[0]
    for other in (ord("z"), ord(" "), 256):
        changed_TT = tokens_T.expand(24, -1).clone()
        changed_TT.fill_diagonal_(other)
        for place, after_TL in enumerate(model(changed_TT)):
            assert_near(after_TL[:place], before_TL[:place], before_TL)
            if changed_TT[place, place] != tokens_T[place]:
                assert (after_TL[place] - before_TL[place]).abs().max() > 1e-3


@shapes
def test_no_gradient_flows_from_an_output_to_later_bytes(shape: dict[str, Any]) -> None:
    text = bytes(dict.fromkeys(b"The quick-brown,fox; jumped!over:lazy\n"))  # each byte once: its row is its place
    model, tokens_1T = tiny_model(**{**shape, "tie_embeddings": False}), torch.tensor([list(text)])
    for place in range(0, len(text), 5):
        model.zero_grad()
        model(tokens_1T)[0, place].square().sum().backward()
        seen_T = cast(Tensor, model.embedding.grad)[tokens_1T[0]].abs().sum(dim=1)
        assert seen_T[place + 1 :].sum() == 0
        assert (seen_T[place] > 0).all()
        assert seen_T[0] > 0  # through the global layers, however short the windows


@shapes
@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_nor_on_what_is_behind_it(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape), tiny_tokens(5, 30)
    together = model(tokens_BT)
    for row in range(5):
        assert_near(model(tokens_BT[row : row + 1])[0], together[row], together)
        cut = model(tokens_BT[row : row + 1, : 7 + row])[0]
        assert_near(cut, together[row, : 7 + row], together)


@shapes
@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3), split=st.integers(0, 12), seed=st.integers(0, 5))
def test_in_pieces_with_a_cache_is_the_full_forward(
    shape: dict[str, Any], lengths: list[int], split: int, seed: int
) -> None:
    """Rows of different lengths, padded on the right; the prompt in two pieces, then a byte at a time."""
    model, rows, longest = tiny_model(**shape), len(lengths), max(lengths)
    tokens_BT, split = tiny_tokens(rows, longest + 5, seed), min(split, longest)
    with torch.no_grad():
        full = [model(tokens_BT[row : row + 1])[0] for row in range(rows)]
        cache = model.new_cache(rows, longest + 5)
        for start, end in ((0, split), (split, longest)):
            if start == end:
                continue
            positions_BT = torch.arange(start, end).expand(rows, -1)
            positions_BT = torch.where(positions_BT < torch.tensor(lengths)[:, None], positions_BT, -1)
            found = model(torch.where(positions_BT < 0, 32, tokens_BT[:, start:end]), positions_BT, cache)
            assert found.isfinite().all()
            for row, length in enumerate(lengths):
                kept = max(0, min(end, length) - start)
                assert_near(found[row, :kept], full[row][start : start + kept], full[row])
        for step in range(5):
            if step == 3:  # rows leave
                cache.keep_rows(torch.tensor([rows - 1]))
                full, lengths, tokens_BT = full[-1:], lengths[-1:], tokens_BT[-1:]
            positions_B1 = torch.tensor(lengths)[:, None] + step
            found = model(tokens_BT.gather(1, positions_B1), positions_B1, cache)
            for row, length in enumerate(lengths):
                assert_near(found[row, 0], full[row][length + step], full[row])


@pytest.mark.parametrize("shape", [SHAPES["spaces"], SHAPES["fixed"]])
@torch.no_grad()
def test_a_cache_that_was_used_begins_anew_at_position_0(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape), tiny_tokens(2, 20)
    cache = model.new_cache(2, 20)
    model(tiny_tokens(2, 20, seed=9), torch.arange(20), cache)
    found = torch.cat([model(tokens_BT[:, a : a + 5], torch.arange(a, a + 5), cache) for a in range(0, 20, 5)], dim=1)
    assert_near(found, model(tokens_BT), found)


@shapes
@torch.no_grad()
def test_documents_packed_into_a_row_do_not_see_each_other(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape), tiny_tokens(3, 30)
    lengths = [[3, 1, 16, 10], [12, 18], [30]]
    positions_BT = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])
    packed = model(tokens_BT, positions_BT)
    for row, row_lengths in enumerate(lengths):
        start = 0
        for length in row_lengths:
            alone = model(tokens_BT[row : row + 1, start : start + length])[0]
            assert_near(packed[row, start : start + length], alone, packed)
            start += length


@shapes
@torch.no_grad()
def test_a_row_that_begins_inside_a_document_is_seen_from_there(shape: dict[str, Any]) -> None:
    """A first byte that would end no patch does, so that the bytes behind it have one to look at."""
    model, tokens_BT = tiny_model(**shape), tiny_tokens(2, 12)
    tokens_BT[:, 0] = ord("a")
    shifted = model(tokens_BT, torch.arange(6, 18))  # 6 is a multiple of the sizes of patches
    assert_near(shifted, model(tokens_BT), shifted)
    late = model(tokens_BT, torch.arange(7, 19))
    assert late.isfinite().all()
    assert_near(late[:, :2], model(tokens_BT)[:, :2], late)


@shapes
def test_every_parameter_takes_part(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape).train(), tiny_tokens(6, 30)
    (model.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean() + model.auxiliary_loss()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_losses_are_those_of_the_logits(tie_embeddings: bool) -> None:
    model, tokens_BT = tiny_model(tie_embeddings=tie_embeddings), tiny_tokens(3, 9)
    targets_BT, counted_BT = tiny_tokens(3, 9, seed=1), tiny_tokens(3, 9, seed=2) == ord(" ")
    logits_BTV = model.unembed(model(tokens_BT))
    assert logits_BTV.shape == (3, 9, 258)
    expected = torch.nn.functional.cross_entropy(logits_BTV.mT, targets_BT, reduction="none")
    torch.testing.assert_close(model.token_losses(tokens_BT, targets_BT), expected, atol=1e-5, rtol=0)
    some = model.losses_where(tokens_BT, targets_BT, counted_BT)
    torch.testing.assert_close(some, expected.where(counted_BT, torch.tensor(0.0)), atol=1e-5, rtol=0)


@shapes
@torch.no_grad()
def test_bf16_stays_bf16_and_near(shape: dict[str, Any]) -> None:
    model, tokens_BT = tiny_model(**shape), tiny_tokens(2, 20)
    exact = model(tokens_BT)
    low = model.to(torch.bfloat16)
    found, cache = low(tokens_BT), low.new_cache(2, 20)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().median() < 0.05 * exact.square().mean().sqrt()
    assert low(tokens_BT, torch.arange(20), cache).dtype == torch.bfloat16
    assert low.unembed(found).dtype == torch.float32


@pytest.mark.parametrize("patches", [FixedPatches(4), SpacePatches()])
def test_parameters_and_flops_are_those_of_the_formula(patches: Patches) -> None:
    """Layers cost what accounting says, the global ones once a patch instead of once a byte."""
    model, text = tiny_model(patches=patches), b"ab cd efg hijklm nopqrs t uvwxyz"
    tokens_BT, config = torch.tensor([list(text)] * 2), tiny_config(patches=patches, context_length=len(text))
    count = len(ends_of(list(text), patches))
    local = layers_cost(config.encoder) + layers_cost(config.local_decoder)
    whole = config.global_decoder
    layers = layers_cost(DecoderConfig(context_length=count, width=whole.width, depth=whole.depth, layers=whole.layers))
    D, L, V = config.width, config.local_width, config.vocab_size
    expected = local.parameters + layers.parameters + 2 * D * L + 2 * V * L + D + L
    assert sum(p.numel() for p in model.parameters()) == expected
    with FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT).mean().backward()
    a_byte, a_patch = 2 * (local.matrices + V * L) + local.flops, 2 * (layers.matrices + 2 * D * L) + layers.flops
    assert counter.get_total_flops() == 3 * 2 * (len(text) * a_byte + count * a_patch)


@pytest.mark.parametrize("patches", [FixedPatches(4), SpacePatches()])
def test_a_text_that_repeats_is_learnt(patches: Patches) -> None:
    text = b"the cat sat on the mat; a dog, too. " * 6
    unigram = -sum(n / len(text) * math.log(n / len(text)) for n in Counter(text).values())
    model = Hierarchical(tiny_config(patches=patches))
    initialize(model, 0)
    tokens_1T = torch.tensor([[256, *text]])
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.token_losses(tokens_1T[:, :-1], tokens_1T[:, 1:]).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > math.log(256) - 1
    assert losses[-1] < 0.5 * unigram


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vocab_size": 255}, "256"),
        ({"encoder_depth": 0}, "encoder_depth"),
        ({"width": 25}, "In the global decoder: width 25"),
        ({"local_width": 15}, "In the encoder: width 15"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_configs_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(**wrong)


def test_a_patch_has_a_size() -> None:
    with pytest.raises(ConfigError, match="size"):
        FixedPatches(0)


@shapes
def test_the_config_survives_json(shape: dict[str, Any]) -> None:
    config = tiny_config(**shape)
    assert decode(HierarchicalConfig, encode(config)) == config
