"""Time, money, energy, carbon and rooflines: published runs, and the arithmetic written out."""

import math

import pytest

from groundup.accounting.costs import Prices, decode, moved_weights, prefill, run_cost, utilisation
from groundup.accounting.decoder import embedding_parameters, parameters
from groundup.accounting.flops import forward_flops, rule_of_thumb_flops
from groundup.accounting.hardware import HARDWARE, Hardware, hardware
from groundup.accounting.memory import cache_bytes, size_of
from groundup.core.errors import ConfigError, MissingError
from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixer_config import Attention, LatentAttention, MixtureOfExperts
from groundup.models.presets import llama, preset

H100 = hardware("h100")
LLAMA_FLOPS, LLAMA_GPUS = 6 * 405e9 * 15.6e12, 16_000


def test_llama_3_405b_on_a_napkin() -> None:
    """3.8e25 FLOPs at 400 TFLOP/s each: 26 million hours (30.84 million were reported), $52 million at $2, and 4,400 t
    of CO2e at 700 W and 0.24 kg per kWh."""
    assert round(LLAMA_FLOPS, -24) == 3.8e25
    assert rule_of_thumb_flops(preset("llama3-405b"), int(15.6e12)) == pytest.approx(LLAMA_FLOPS, rel=3e-3)
    prices = Prices(dollars_per_hour=2, kilograms_per_kilowatt_hour=0.24)
    cost = run_cost(LLAMA_FLOPS, H100, LLAMA_GPUS, mfu=400e12 / 989.4e12, prices=prices)
    assert cost.days == pytest.approx(70, rel=0.025)
    assert cost.gpu_hours == pytest.approx(26e6, rel=0.02)
    assert cost.dollars == pytest.approx(52e6, rel=0.02)
    assert cost.kilograms == pytest.approx(4.4e6, rel=0.01)
    assert utilisation(LLAMA_FLOPS, H100, 30.84e6) == pytest.approx(0.346, abs=0.001)


def test_gpt_3_on_a100s() -> None:
    """175 B parameters and 300 B tokens on 1,024 A100s at 140 TFLOP/s: 34 days, with each layer recomputed, which is a
    third more work (Narayanan et al. 2021, arXiv:2104.04473, eq. 4)."""
    flops = 6 * 175e9 * 300e9
    assert run_cost(flops * 4 / 3, hardware("a100"), 1024, mfu=140 / 312).days == pytest.approx(34, abs=0.8)


def test_every_number_of_a_run_written_out() -> None:
    machine = Hardware("x", {"int8": 50.0}, 1.0, 1.0, watts=200)
    cost = run_cost(3.6e6, machine, gpus=4, mfu=0.25, dtype="int8", prices=Prices(3.0, 0.5, 1.5))
    assert cost.seconds == 3.6e6 / (4 * 50 * 0.25)
    assert cost.gpu_hours == 80.0
    assert cost.days * 86_400 == pytest.approx(cost.seconds)
    assert (cost.dollars, cost.kilowatt_hours, cost.kilograms) == (240.0, 24.0, 12.0)
    assert utilisation(3.6e6, machine, cost.gpu_hours, "int8") == pytest.approx(0.25)


def test_without_the_power_there_is_no_energy() -> None:
    cost = run_cost(1e20, hardware("tpu-v5p"))
    assert cost.kilowatt_hours is None
    assert cost.kilograms is None
    assert cost.dollars > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gpus": 0}, "number of GPUs is 0"),
        ({"mfu": 0.0}, "MFU is 0"),
        ({"mfu": 40.0}, "such as 0.4 for 40 %"),
        ({"mfu": math.nan}, "MFU is nan"),
        ({"dtype": "float4"}, "H100 SXM in float4; choose one of float32"),
    ],
)
def test_what_no_run_can_be_is_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run_cost(1e20, H100, **change)  # type: ignore[arg-type]


def test_impossible_prices_and_machines_are_refused() -> None:
    for prices in ({"dollars_per_hour": -1.0}, {"kilograms_per_kilowatt_hour": math.nan}, {"overhead": 0.5}):
        with pytest.raises(ConfigError, match=r"must be"):
            Prices(**prices)
    with pytest.raises(ConfigError, match="bandwidth of x is 0"):
        Hardware("x", {"int8": 1.0}, 1.0, 0.0)
    with pytest.raises(MissingError, match="did you mean 'h100'"):
        hardware("h10")


def test_the_table_is_plausible() -> None:
    for name, machine in HARDWARE.items():
        size, rate = machine.memory_bytes, machine.peak("bfloat16")
        assert 10e9 < size < 300e9, name
        assert 1e14 < rate < 3e15, name
        assert 100 < machine.ridge("bfloat16") < 400, name
        assert all(size_of(dtype) for dtype in machine.peak_flops), name
        assert machine.peak_flops.get("float32", 0) <= rate, name
    assert H100.ridge("bfloat16") == pytest.approx(295, abs=1)


# --- rooflines -------------------------------------------------------------------------------------------------------


def test_decoding_llama_3_8b_waits_for_the_memory_and_prefill_for_the_arithmetic() -> None:
    """16 GB of weights at 3.35 TB/s are 4.8 ms a token, whatever the arithmetic."""
    shape = preset("llama3-8b")
    one = decode(shape, 1, 1)
    assert one.bound(H100) == "memory"
    assert one.intensity == pytest.approx(1, rel=0.01)
    assert one.seconds(H100) == pytest.approx(2 * (8.03e9 - 128_256 * 4096) / 3.35e12, rel=1e-3)
    many = prefill(shape, 1, 2048)
    assert many.bound(H100) == "arithmetic"
    assert many.seconds(H100) == many.flops / 989.4e12
    assert many.seconds(H100, gpus=8) == pytest.approx(many.seconds(H100) / 8)


def test_the_bytes_of_a_pass_written_out() -> None:
    shape = llama(1000, 64, 32, 2, 4, 2, 48)
    table, rest = 1000 * 32, parameters(shape) - 1000 * 32
    cache = cache_bytes(shape, 3, 20, "float16")
    work = prefill(shape, 3, 20, "float16")
    assert work.bytes == 2 * (rest + 3 * 20 * 32) + cache
    token = forward_flops(shape, 20)
    assert work.flops == 3 * 20 * (token.total - token.unembedding) + 3 * token.unembedding
    assert decode(shape, 3, 20, "float16").bytes == 2 * (rest + 3 * 32) + cache
    assert moved_weights(shape, 5000) == rest + table


def test_heads_for_further_tokens_are_no_part_of_inference() -> None:
    shape, more = (
        DecoderConfig(97, 64, 32, 2, layers=(Layer(Attention(4, 4)),), prediction_heads=heads) for heads in (0, 2)
    )
    assert prefill(more, 2, 20) == prefill(shape, 2, 20)
    assert decode(more, 2, 20) == decode(shape, 2, 20)


def test_a_tied_table_is_read_whole() -> None:
    shape = llama(1000, 64, 32, 2, 4, 2, 48, tie_embeddings=True)
    assert embedding_parameters(shape) == 0
    assert moved_weights(shape, 1) == parameters(shape)


def test_more_rows_share_the_weights_until_the_arithmetic_bounds() -> None:
    shape = preset("llama3-8b")
    intensities = [decode(shape, rows, 128).intensity for rows in (1, 8, 64, 512)]
    assert intensities == sorted(intensities)
    assert decode(shape, 512, 128).bound(H100) == "arithmetic"


def test_a_batch_reads_the_experts_that_it_chooses() -> None:
    """Of E experts, k a token, n tokens leave each aside with probability (1 - k/E)ⁿ."""
    mixture = MixtureOfExperts(8, 2, hidden_width=24, shared_width=40)
    shape = DecoderConfig(97, 64, 32, 2, layers=(Layer(Attention(4, 4), mixture),))
    every = moved_weights(shape, 10_000)
    assert every == parameters(shape)
    experts, tables = 2 * 8 * 3 * 32 * 24, 97 * 32
    assert parameters(shape) - moved_weights(shape, 1) == pytest.approx(experts * 6 / 8 + tables - 32, abs=1)
    assert parameters(shape) - moved_weights(shape, 4) == pytest.approx(experts * 0.75**4 + tables - 4 * 32, abs=1)
    all_chosen = DecoderConfig(97, 64, 32, 2, layers=(Layer(Attention(4, 4), MixtureOfExperts(2, 2)),))
    assert moved_weights(all_chosen, 500) == parameters(all_chosen)


def test_latents_raise_the_intensity_of_decoding() -> None:
    """All heads read the same latent, so that a long context costs fewer bytes a FLOP than keys of each head."""
    latent = DecoderConfig(97, 64, 256, 2, layers=(Layer(LatentAttention(16, 32, 32, 16, 64)),))
    heads = DecoderConfig(97, 64, 256, 2, layers=(Layer(Attention(16, 16, head_width=32)),))
    far = 1_000_000
    assert decode(heads, 1, far).intensity == pytest.approx(1, rel=0.01)  # 4 FLOPs for 2 + 2 bytes
    assert decode(latent, 1, far).intensity == pytest.approx(2 * 16 * (2 * 64 + 16) / (2 * (64 + 16)), rel=0.02)
