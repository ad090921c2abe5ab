"""GGUF files: against the `gguf` package, llama.cpp itself where it is installed, and transformers."""

import os
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groundup.checkpoint.gguf import difference, for_use, read_gguf, write_gguf
from groundup.checkpoint.gguf_file import read_container, write_container
from groundup.checkpoint.gguf_tensors import F32
from groundup.checkpoint.huggingface import write_huggingface
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.decoder import Decoder
from groundup.models.mixer_config import Attention, DenseMLP, GatedMLP, LatentAttention, MixtureOfExperts
from groundup.models.position_config import LinearScaling, Llama3Scaling, NoPosition, Rotary, YarnScaling
from groundup.tokenization.bpe_training import train_bpe

T = 23
GATED = GatedMLP(48)
NEAR, FAR = Rotary(20_000.0), Rotary(1_000_000.0)
GEMMA3 = {"placement": "double", "embedding_scale": 32**0.5, "tie_embeddings": True, "context_length": 64}


def decoder(*layers: Layer, **more: Any) -> DecoderConfig:
    return DecoderConfig(**{"vocab_size": 61, "context_length": 64, "width": 32, "depth": 3, "layers": layers, **more})


def attention(heads: int = 4, groups: int = 2, width: int = 8, norm: str = "none", **more: Any) -> Attention:
    return Attention(heads, groups, width, qk_norm=norm, **more)


def gemma(rotary: Rotary, window: int | None = None, width: int = 8) -> Layer:
    position = attention(width=width, norm="head", position=rotary, window=window, scale=width**-0.5)
    return Layer(position, GatedMLP(48, "gelu_tanh"))


LATENT = LatentAttention(4, 8, 6, 4, 12, 24)
EXPERTS = MixtureOfExperts(
    num_experts=8,
    hidden_width=16,
    shared_width=32,
    gate="sigmoid",
    scale=2.5,
    balance_bias_rate=0.001,
    groups=4,
    groups_per_token=2,
)
DEEP_YARN = YarnScaling(4.0, 16, attention_factor=1.0)
CASES: dict[str, tuple[str, DecoderConfig]] = {
    "llama": ("llama", decoder(Layer(attention(), GATED))),
    "llama, tied, biases": (
        "llama",
        decoder(Layer(attention(bias=True), GatedMLP(48, bias=True)), tie_embeddings=True, norm=Norm(epsilon=1e-6)),
    ),
    "llama 3": (
        "llama",
        decoder(
            Layer(attention(width=16, position=Rotary(500_000.0, scaling=Llama3Scaling(8.0, 1.0, 4.0, 16))), GATED)
        ),
    ),
    "llama, linear": ("llama", decoder(Layer(attention(position=Rotary(scaling=LinearScaling(4.0))), GATED))),
    "llama, yarn": (
        "llama",
        decoder(Layer(attention(position=Rotary(scaling=YarnScaling(4.0, 16, attention_factor=1.3))), GATED)),
    ),
    "mixtral": ("llama", decoder(Layer(attention(), MixtureOfExperts(6, 2, 40)))),
    "qwen3": ("qwen3", decoder(Layer(attention(width=16, norm="head", position=FAR), GATED), tie_embeddings=True)),
    "qwen3, yarn": (
        "qwen3",
        decoder(Layer(attention(norm="head", position=Rotary(1e6, scaling=YarnScaling(4.0, 16))), GATED)),
    ),
    "gemma3": ("gemma3", decoder(gemma(NEAR, 5), gemma(FAR), **GEMMA3)),
    "gemma3, linear": (
        "gemma3",
        decoder(
            *[gemma(NEAR, 5, 16)] * 5,
            gemma(Rotary(1e6, scaling=LinearScaling(8.0)), None, 16),
            **GEMMA3,
            depth=7,
            logit_soft_cap=3.0,
        ),
    ),
    "olmo2": ("olmo2", decoder(Layer(attention(norm="width"), GATED), placement="reordered")),
    "gpt2": (
        "gpt2",
        decoder(
            Layer(attention(4, 4, position=NoPosition(), bias=True), DenseMLP(128, "gelu_tanh", bias=True)),
            norm=Norm("layer", bias=True),
            position_embedding="learned",
            tie_embeddings=True,
        ),
    ),
    "deepseek v3": (
        "deepseek2",
        decoder(Layer(LATENT, EXPERTS), first_layers=(Layer(LATENT, GATED),)),
    ),
    "deepseek v3, yarn": (
        "deepseek2",
        decoder(
            Layer(
                replace(LATENT, rotary=Rotary(scaling=DEEP_YARN), scale=(0.08 * np.log(4.0) + 1) ** 2 / 12**0.5),
                EXPERTS,
            ),
            first_layers=(),
        ),
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def random_weights(config: DecoderConfig) -> dict[str, Tensor]:
    """Weights that hide nothing: gains and biases are off their initial values too."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator) * (0.5 if "embedding" in name else 0.2)
        + (1.0 if name.endswith("gain") else 0.0)
        for name, tensor in Decoder(config).state_dict().items()
    }


def loaded(config: DecoderConfig, weights: dict[str, Tensor]) -> Decoder:
    model = Decoder(config)
    model.load_state_dict(weights)
    return model.eval()


def greedy(model: Decoder, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    cache = model.new_cache(1, len(prompt) + count)
    with torch.no_grad():
        for step in range(count):
            new = tokens if step == 0 else tokens[-1:]
            positions = torch.arange(len(tokens) - len(new), len(tokens))[None]
            tokens.append(int(model.unembed(model(torch.tensor([new]), positions, cache))[0, -1].argmax()))
    return tokens[len(prompt) :]


def tokens_of(config: DecoderConfig) -> list[int]:
    return torch.randint(0, config.vocab_size, (T,), generator=torch.Generator().manual_seed(5)).tolist()


def llama_cpp_answer(path: Path, tokens: list[int], count: int = 0) -> tuple[np.ndarray, list[int]]:
    """Logits (T, V) of llama.cpp and the greedy tokens after these; keys and values are kept in fp32."""
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(
        str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False
    )
    model.eval(tokens)
    logits = np.array(model.scores[: len(tokens)])
    for _ in range(count):
        model.eval([int(model.scores[model.n_tokens - 1].argmax())])
    chosen = model.input_ids[len(tokens) : model.n_tokens].tolist()
    model.close()
    return logits, chosen


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


@pytest.mark.parametrize("dtype", ["f16", "q8_0"])
def test_smaller_types_hold_what_ggml_makes_of_the_weights(dtype: str, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    config = CASES["mixtral"][1]
    weights = random_weights(config)
    _, found = read_gguf(write_gguf(config, weights, tmp_path / "model.gguf", dtype=dtype))
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    for name, tensor in weights.items():
        expected = tensor.numpy()
        if tensor.ndim > 1 and not name.endswith("router"):
            used = kind if tensor.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F16
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


METADATA = {
    "general.architecture": "none",
    "a.text": "Grüße",
    "a.truth": True,
    "a.count": 7,
    "a.rate": 1e-5,
    "a.long": np.uint64(2**40),
    "a.exact": np.float64(0.1),
    "a.texts": ["", "x", "ü" * 20],
    "a.integers": np.array([-1, 2, 3], np.int32),
    "a.flags": np.array([True, False]),
    "a.floats": np.array([0.5, 0.25], np.float32),
}


def test_a_file_is_what_the_gguf_package_reads(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    weights = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = write_container(tmp_path / "file.gguf", METADATA, {"one": (F32, weights[0]), "two": (F32, weights)})
    reader = gguf.GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert fields.keys() == METADATA.keys()
    for key, value in METADATA.items():
        found = fields[key].contents()
        expected = value.tolist() if isinstance(value, np.ndarray) else value
        assert found == (np.float32(value) if key == "a.rate" else expected), key
    kinds = {key: [kind.name for kind in field.types] for key, field in fields.items()}
    assert kinds["a.count"] == ["UINT32"]
    assert kinds["a.rate"] == ["FLOAT32"]
    assert kinds["a.long"] == ["UINT64"]
    assert kinds["a.exact"] == ["FLOAT64"]
    assert kinds["a.texts"] == ["ARRAY", "STRING"]
    assert kinds["a.integers"] == ["ARRAY", "INT32"]
    assert [tensor.name for tensor in reader.tensors] == ["one", "two"]
    np.testing.assert_array_equal(reader.tensors[1].data, weights)
    assert reader.tensors[1].shape.tolist() == [4, 3, 2]
    assert reader.tensors[1].data_offset % 32 == 0


def test_what_the_gguf_package_writes_is_read(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "none")
    writer.add_custom_alignment(64)
    for name, value in (("uint8", 200), ("int8", -3), ("uint16", 60_000), ("int16", -300), ("uint32", 4_000_000_000)):
        getattr(writer, f"add_{name}")(name, value)
    for name, value in (("int32", -5), ("uint64", 2**50), ("int64", -(2**50)), ("float32", 1e-6), ("float64", 0.1)):
        getattr(writer, f"add_{name}")(name, value)
    writer.add_bool("bool", True)
    writer.add_array("texts", ["a", "ü"])
    writer.add_array("integers", [1, -2])
    weights = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q5_1
    writer.add_tensor("q", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.add_tensor("f", weights[0, :5].astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata, tensors = read_container(tmp_path / "file.gguf")
    assert (metadata["uint8"], metadata["int8"], metadata["uint16"], metadata["int16"]) == (200, -3, 60_000, -300)
    assert (metadata["uint32"], metadata["int32"]) == (4_000_000_000, -5)
    assert (metadata["uint64"], metadata["int64"]) == (2**50, -(2**50))
    assert (metadata["float32"], metadata["float64"], metadata["bool"]) == (1e-6, 0.1, True)
    assert metadata["texts"] == ["a", "ü"]
    assert metadata["integers"].tolist() == [1, -2]
    assert (tensors["q"].kind.name, tensors["q"].shape) == ("Q5_1", (3, 64))
    quantised = gguf.quants.quantize(weights, kind)
    np.testing.assert_array_equal(tensors["q"].weights(), gguf.quants.dequantize(quantised, kind))
    np.testing.assert_array_equal(tensors["f"].weights(), weights[0, :5].astype(np.float16).astype(np.float32))


def small_file(folder: Path) -> bytes:
    config = decoder(Layer(attention(), GATED), depth=1, vocab_size=5)
    return write_gguf(config, random_weights(config), folder / "small.gguf").read_bytes()


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = small_file(tmp_path)
    for length in (*range(0, 1500, 7), len(data) - 4000, len(data) - 33):
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut off: it has|is no GGUF file"):
            read_gguf(tmp_path / "cut.gguf")


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: list) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(small_file(folder))
    for place, byte in changes:
        data[place] = byte
    (folder / "damaged.gguf").write_bytes(data)
    with suppress(InputError):
        read_container(folder / "damaged.gguf")


def altered(folder: Path, change: str) -> Path:
    """A file with one thing wrong."""
    data, path = small_file(folder), folder / "wrong.gguf"
    container = read_container(folder / "small.gguf")
    metadata, tensors = dict(container.metadata), {n: (F32, t.weights()) for n, t in container.tensors.items()}
    match change:
        case "magic":
            path.write_bytes(b"GGML" + data[4:])
            return path
        case "version 1" | "big-endian":
            path.write_bytes(
                data[:4] + struct.pack("<I" if change == "version 1" else ">I", 1 if "1" in change else 3) + data[8:]
            )
            return path
        case "type":
            name = b"token_embd.weight"
            place = data.index(name) + len(name) + 4 + 16
            path.write_bytes(data[:place] + struct.pack("<I", 10) + data[place + 4 :])
            return path
        case "architecture":
            metadata["general.architecture"] = "lama"
        case "key":
            del metadata["llama.block_count"]
        case "tensor":
            del tensors["blk.0.ffn_up.weight"]
        case "embedding":
            del tensors["token_embd.weight"]
        case "surplus":
            tensors["blk.0.ffn_extra.weight"] = tensors["blk.0.ffn_up.weight"]
        case "shape":
            tensors["blk.0.attn_q.weight"] = (F32, tensors["blk.0.attn_q.weight"][1][:-2])
        case "split":
            metadata["split.count"] = np.uint16(3)
        case "layers":
            metadata["llama.feed_forward_length"] = np.array([48, 32], np.int32)
        case "longrope":
            metadata["llama.rope.scaling.type"] = "longrope"
    return write_container(path, metadata, tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("magic", "is no GGUF file: it begins with b'GGML'"),
        ("version 1", "has the GGUF version 1; groundup reads versions 2 and 3"),
        ("big-endian", "is big-endian"),
        ("type", "'token_embd.weight' of .*wrong.gguf has the ggml type 10, .* F32, F16, BF16, Q4_0"),
        ("architecture", "wrong.gguf has the architecture 'lama'; .*llama"),
        ("key", "wrong.gguf has no llama.block_count in its metadata"),
        ("tensor", "no tensor 'blk.0.ffn_up.weight'"),
        ("embedding", "has no tensor 'token_embd.weight'"),
        ("surplus", "a tensor 'blk.0.ffn_extra.weight'"),
        ("shape", r"'blk.0.attn_q.weight' has the shape \[30, 32\]"),
        ("split", "one part of a model in several files"),
        ("layers", "its own llama.feed_forward_length"),
        ("longrope", "stretches rotary positions by 'longrope'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_gguf(altered(tmp_path, change))
    with pytest.raises(MissingError):
        read_gguf(tmp_path / "nowhere.gguf")


TEXTS = [
    "the cat sat on the mat, and the hat sat on the cat! " * 8,
    "don't  stop\n\nwe'll see Grüße, 中文 12 345 \t x",
] * 4
SPECIAL = ("<|endoftext|>", "<|user|>")


def with_tokenizer(folder: Path, pattern: str) -> tuple[Path, Any]:
    tokenizer = train_bpe(TEXTS, 300, pattern, SPECIAL)
    config = decoder(Layer(attention(), GATED), vocab_size=tokenizer.vocab_size + 3)
    return write_gguf(config, random_weights(config), folder / "model.gguf", tokenizer=tokenizer), tokenizer


def test_a_tokenizer_is_written_in_printable_bytes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path, tokenizer = with_tokenizer(tmp_path, "gpt2")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    texts = fields["tokenizer.ggml.tokens"]
    size = tokenizer.vocab_size
    assert len(texts) == size + 3
    assert texts[size - 2 :] == [*SPECIAL, f"[PAD{size}]", f"[PAD{size + 1}]", f"[PAD{size + 2}]"]
    assert texts[ord(" ")] == "Ġ"
    assert "Ġthe" in texts
    normal, control, unused = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.UNUSED
    assert fields["tokenizer.ggml.token_type"] == [normal] * (size - 2) + [control] * 2 + [unused] * 3
    assert fields["tokenizer.ggml.merges"][0] == "a t"
    assert len(fields["tokenizer.ggml.merges"]) == len(tokenizer.merges)
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert fields["tokenizer.ggml.eos_token_id"] == size - 2
    assert fields["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize("pattern", ["gpt2", "digits", "cl100k", "o200k"])
def test_llama_cpp_gives_the_same_tokens(pattern: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    path, tokenizer = with_tokenizer(tmp_path, pattern)
    model = llama_cpp.Llama(str(path), verbose=False, n_ctx=64)
    texts = [*TEXTS[:2], "  12 a\r\n  <|user|>x ", "Ünï'LL it's 🙂 ", "\n \n", "HTTPServer 3.14"]
    if pattern == "digits":  # but for spaces in front of a digit
        texts[2] = texts[2].replace("  12", " 12")
    for text in texts:
        for special in (False, True):
            found = model.tokenize(text.encode(), add_bos=False, special=special)
            assert found == tokenizer.encode(text, allow_special=special), text
    assert model.token_eos() == tokenizer.special_tokens["<|endoftext|>"]
    assert model.detokenize(tokenizer.encode("Grüße, 中")) == "Grüße, 中".encode()
    model.close()


def test_a_tokenizer_that_llama_cpp_would_use_otherwise_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = decoder(Layer(attention(), GATED), vocab_size=270)
    weights, path = random_weights(config), tmp_path / "model.gguf"
    with pytest.raises(ConfigError, match=r"no pre-tokenizer for the pattern '\\\\w\+'"):
        write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 270, r"\w+"))
    with pytest.raises(ConfigError, match="has 290 tokens, but the model only 270"):
        write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 290))
    assert not path.exists()
    write_gguf(config, weights, path, tokenizer=train_bpe(TEXTS, 270, "digits"))
    assert "spaces in front of a digit" in caplog.text
    assert "token 11" in caplog.text


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


@pytest.mark.slow
def test_a_published_gemma_3_gives_the_tokens_of_transformers(tmp_path: Path) -> None:
    """Set GROUNDUP_GEMMA3_GGUF to a file such as `gemma-3-270m-q4_k_m.gguf`; no model is part of this project."""
    path = os.environ.get("GROUNDUP_GEMMA3_GGUF")
    if not path:
        pytest.skip("GROUNDUP_GEMMA3_GGUF names no file")
    same_as_transformers(Path(path), tmp_path / "theirs", [2, 818, 5279, 529, 7001, 563], 50)
