"""Models in GGUF files: against the `gguf` package, llama.cpp itself where it is installed, and transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf_samples import (
    CASES,
    EXPERTS,
    FAR,
    GATED,
    GEMMA3,
    LATENT,
    NEAR,
    attention,
    decoder,
    every_case,
    gemma,
    greedy,
    llama_cpp_answer,
    loaded,
    random_weights,
    tokens_of,
)

from groundup.checkpoint.gguf import difference, for_use, read_gguf, write_gguf
from groundup.checkpoint.gguf_file import read_container, write_container
from groundup.checkpoint.gguf_tensors import F32
from groundup.checkpoint.huggingface import write_huggingface
from groundup.core.errors import ConfigError, InputError
from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixer_config import GatedMLP
from groundup.models.position_config import Llama3Scaling, Rotary, YarnScaling


@every_case
def test_a_written_model_is_read_as_it_was(case: str, tmp_path: Path) -> None:
    architecture, config = CASES[case]
    weights = random_weights(config)
    write_gguf(config, weights, tmp_path / "model.gguf")
    assert read_container(tmp_path / "model.gguf").metadata["general.architecture"] == architecture
    again, found = read_gguf(tmp_path / "model.gguf")
    assert difference(for_use(config), again) == ""
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert all(tensor.dtype == torch.float32 for tensor in found.values())


@every_case
def test_names_shapes_and_types_are_those_of_llama_cpp(case: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    architecture, config = CASES[case]
    write_gguf(config, random_weights(config), tmp_path / "model.gguf", dtype="q8_0")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    known = gguf.MODEL_TENSORS[next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)]
    names = {gguf.TENSOR_NAMES[tensor].format(bid=layer) for tensor in known for layer in range(config.depth)}
    for tensor in reader.tensors:
        name = tensor.name.removesuffix(".weight").removesuffix(".bias")
        assert name in names, tensor.name
        small = len(tensor.shape) == 1 or name.endswith(("ffn_gate_inp", "position_embd"))
        expected = "F32" if small else "F16" if tensor.shape[0] % 32 else "Q8_0"
        assert tensor.tensor_type.name == expected, tensor.name
    prefixes = ("general.", "tokenizer.", f"{architecture}.", "GGUF.")
    assert all(key.startswith(prefixes) for key in reader.fields)


@every_case
def test_llama_cpp_computes_the_same(case: str, tmp_path: Path) -> None:
    _, config = CASES[case]
    weights = random_weights(config)
    write_gguf(config, weights, tmp_path / "model.gguf")
    model, tokens = loaded(config, weights), tokens_of(config)
    expected, continued = llama_cpp_answer(tmp_path / "model.gguf", tokens, 20)
    with torch.no_grad():
        found = model.unembed(model(torch.tensor([tokens])))[0].numpy()
    # Its GELU is a table of fp16 numbers; everything else is fp32.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2 if case.startswith(("gpt2", "gemma3")) else 1e-4)
    assert np.ptp(found) > 2
    assert continued == greedy(model, tokens, 20)


def test_rows_that_are_turned_lie_where_llama_cpp_turns_them(tmp_path: Path) -> None:
    """The formula of llama.cpp's converter (`LlamaModel.permute`), for llama and for no other architecture."""
    for case in ("llama, tied, biases", "qwen3"):
        config = CASES[case][1]
        weights = random_weights(config)
        stored = read_container(write_gguf(config, weights, tmp_path / "model.gguf")).tensors
        for ours, theirs, heads in (("query", "attn_q", 4), ("key", "attn_k", 2), ("key_bias", "attn_k", 2)):
            if f"blocks.1.sequence.{ours}" not in weights:
                continue
            rows = weights[f"blocks.1.sequence.{ours}"].numpy()
            if case.startswith("llama"):
                split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
                rows = split.swapaxes(1, 2).reshape(rows.shape)
            name = f"blk.1.{theirs}.{'bias' if ours.endswith('bias') else 'weight'}"
            np.testing.assert_array_equal(stored[name].weights(), rows)
        assert ("output.weight" in stored) != config.tie_embeddings


def test_factors_of_llama_3_are_those_of_its_converter(tmp_path: Path) -> None:
    """As `generate_extra_tensors` of llama.cpp computes them for Llama 3.1, whose numbers are in no metadata."""
    scaling = Llama3Scaling(8.0, 1.0, 4.0, 8192)
    config = decoder(Layer(attention(width=128, position=Rotary(500_000.0, scaling=scaling)), GATED), depth=1)
    path = write_gguf(config, random_weights(config), tmp_path / "model.gguf")
    expected = []
    for index in range(64):
        wavelength = 2 * np.pi * 500_000.0 ** (2 * index / 128)
        share = (8192 / wavelength - 1.0) / (4.0 - 1.0)
        expected.append(1 / ((1 - np.clip(share, 0, 1)) / 8 + np.clip(share, 0, 1)))
    container = read_container(path)
    np.testing.assert_allclose(container.tensors["rope_freqs.weight"].weights(), expected, rtol=1e-5)
    bare = {key: value for key, value in container.metadata.items() if ".rope.llama3." not in key}
    tensors = {name: (F32, tensor.weights()) for name, tensor in container.tensors.items()}
    write_container(tmp_path / "bare.gguf", bare, tensors)
    assert read_gguf(tmp_path / "bare.gguf")[0] == for_use(config)
    tensors["rope_freqs.weight"] = (F32, tensors["rope_freqs.weight"][1] ** 1.1)
    write_container(tmp_path / "other.gguf", bare, tensors)
    with pytest.raises(InputError, match="not those of a published Llama 3"):
        read_gguf(tmp_path / "other.gguf")


LEFT_OUT = {  # by llama.cpp's converter, or by older ones, where they are the usual
    "llama": (
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.rope.freq_base",
        "llama.vocab_size",
    ),
    "gemma3, linear": ("gemma3.attention.sliding_window_pattern", "gemma3.rope.freq_base_swa", "gemma3.vocab_size"),
    "olmo2": ("olmo2.attention.key_length", "olmo2.rope.freq_base"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_files_may_leave_out_is_taken_for_the_usual(case: str, tmp_path: Path) -> None:
    config = CASES[case][1]
    if case == "llama":
        config = decoder(Layer(attention(4, 4), GATED))
    if case == "gemma3, linear":
        config = replace(config, layers=tuple(usual_base(layer) for layer in config.layers))
    container = read_container(write_gguf(config, random_weights(config), tmp_path / "model.gguf"))
    assert set(LEFT_OUT[case]) <= container.metadata.keys()
    metadata = {key: value for key, value in container.metadata.items() if key not in LEFT_OUT[case]}
    tensors = {name: (F32, tensor.weights()) for name, tensor in container.tensors.items()}
    write_container(tmp_path / "bare.gguf", metadata, tensors)
    assert read_gguf(tmp_path / "bare.gguf")[0] == for_use(config)


def usual_base(layer: Layer) -> Layer:
    """Of Gemma's layers with a window."""
    sequence = layer.sequence
    return replace(layer, sequence=replace(sequence, position=Rotary())) if sequence.window else layer


@pytest.mark.parametrize("dtype", ["f16", "bf16", "q8_0"])
def test_smaller_types_hold_what_ggml_makes_of_the_weights(dtype: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    config = CASES["mixtral"][1]
    weights = random_weights(config)
    _, found = read_gguf(write_gguf(config, weights, tmp_path / "model.gguf", dtype=dtype))
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    for name, tensor in weights.items():
        expected = tensor.numpy()
        if tensor.ndim > 1 and not name.endswith("router"):
            used = kind if dtype != "q8_0" or tensor.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F16
            expected = gguf.quants.dequantize(gguf.quants.quantize(expected, used), used)
        np.testing.assert_array_equal(found[name].numpy(), expected, err_msg=name)


def test_weights_of_training_alone_are_left_out(tmp_path: Path) -> None:
    config = CASES["mixtral"][1]
    weights = {name: tensor.bfloat16() for name, tensor in random_weights(config).items()}
    experts = replace(config.layers[0].channel, balance_loss=0.01, router_z_loss=0.001)
    trained = replace(config, layers=(replace(config.layers[0], channel=experts),), dropout=0.1)
    write_gguf(trained, {**weights, "prediction.weight": torch.zeros(3)}, tmp_path / "model.gguf")
    again, found = read_gguf(tmp_path / "model.gguf")
    assert again == for_use(config)
    assert all(torch.equal(found[name], weights[name].float()) for name in weights)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (decoder(Layer(attention(window=7), GATED)), "window 7 would become None"),
        (decoder(Layer(attention(), GatedMLP(48, "gelu_tanh"))), "activation 'gelu_tanh' would become 'silu'"),
        (decoder(Layer(attention(norm="head", bias=True), GATED)), "bias True would become False"),
        (decoder(gemma(FAR), **{**GEMMA3, "embedding_scale": 2.0}), "all those of one of"),
        (decoder(Layer(replace(gemma(FAR).sequence, scale=0.5), gemma(FAR).channel), **GEMMA3), "scale 0.5"),
        (decoder(Layer(attention(norm="width"), GATED), placement="reordered", tie_embeddings=True), "as llama.cpp"),
        (decoder(Layer(attention(position=Rotary(fraction=0.5)), GATED)), "fraction 0.5 would become 1.0"),
        (decoder(Layer(attention(sinks=True), GATED)), "all those of one of"),
        (
            decoder(Layer(attention(position=Rotary(scaling=YarnScaling(4.0, 16, beta_fast=16.0))), GATED)),
            "as llama.cpp computes it",
        ),
        (decoder(Layer(replace(LATENT, query_latent_width=0), EXPERTS)), "as llama.cpp computes it"),
    ],
)
def test_a_decoder_that_llama_cpp_would_compute_otherwise_is_refused(
    config: DecoderConfig, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        write_gguf(config, random_weights(config), tmp_path / "model.gguf")
    with pytest.raises(ConfigError, match="not written in 'q4_k'"):
        write_gguf(CASES["llama"][1], {}, tmp_path / "model.gguf", dtype="q4_k")
    assert not list(tmp_path.iterdir())


def quantised_by_llama_cpp(path: Path, kind: str) -> Path:
    """The file in a mixture of types that llama.cpp chooses, such as Q4_K_M."""
    llama_cpp = pytest.importorskip("llama_cpp")
    quantised = path.with_name(f"{kind}.gguf")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}"), 1
    assert llama_cpp.llama_model_quantize(str(path).encode(), str(quantised).encode(), parameters) == 0
    return quantised


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q5_K_M", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"])
def test_a_model_that_llama_cpp_quantised_is_read(kind: str, tmp_path: Path) -> None:
    layers = (Layer(attention(4, 2, 64), GatedMLP(512)),)
    config = DecoderConfig(vocab_size=300, context_length=64, width=256, depth=2, layers=layers)
    weights = {name: tensor * 0.3 if tensor.ndim > 1 else tensor for name, tensor in random_weights(config).items()}
    path = quantised_by_llama_cpp(write_gguf(config, weights, tmp_path / "model.gguf"), kind)
    again, found = read_gguf(path)
    assert again == for_use(config)
    for name, tensor in weights.items():
        error = (found[name] - tensor).square().mean().sqrt() / tensor.square().mean().sqrt()
        assert error < (0.01 if kind in ("Q8_0", "BF16") else 0.12), name
    tokens = tokens_of(config)
    with torch.no_grad():
        model = loaded(again, found)
        ours = model.unembed(model(torch.tensor([tokens])))[0].numpy()
    theirs, _ = llama_cpp_answer(path, tokens)
    # It rounds activations to 8 bits too.
    assert np.square(ours - theirs).mean() < 2e-3 * np.square(ours).mean()


def same_as_transformers(path: Path, folder: Path, prompt: list[int], count: int) -> None:
    """Greedy tokens of a Gemma 3 in a GGUF file, ours and those of transformers with the same weights."""
    transformers = pytest.importorskip("transformers")
    config, weights = read_gguf(path)
    write_huggingface(config, weights, folder)
    model = transformers.Gemma3ForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert model.dtype == torch.float32
    with torch.no_grad():
        ours = loaded(config, weights)
        tokens = torch.tensor([prompt])
        torch.testing.assert_close(ours.unembed(ours(tokens)), model(tokens).logits, atol=1e-3, rtol=1e-3)
        answer = model.generate(tokens, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    assert greedy(ours, prompt, count) == answer[0, len(prompt) :].tolist()


def test_a_quantised_gemma_3_gives_the_tokens_of_transformers(tmp_path: Path) -> None:
    near, far = gemma(NEAR, 5, 64), gemma(FAR, None, 64)
    near, far = (replace(layer, channel=GatedMLP(512, "gelu_tanh")) for layer in (near, far))
    config = DecoderConfig(
        **{**GEMMA3, "embedding_scale": 16.0, "vocab_size": 500, "width": 256, "depth": 4, "context_length": 128},
        layers=(near, near, near, far),
    )
    path = write_gguf(config, random_weights(config), tmp_path / "model.gguf")
    path = quantised_by_llama_cpp(path, "Q4_K_M")
    kinds = {tensor.kind.name for tensor in read_container(path).tensors.values()}
    assert {"Q4_K", "Q6_K", "F32"} <= kinds
    same_as_transformers(path, tmp_path / "theirs", tokens_of(config), 50)
