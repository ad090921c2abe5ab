"""The container of a GGUF file: against the `gguf` package, cut off, damaged, and with one thing wrong."""

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf_samples import GATED, attention, decoder, random_weights
from hypothesis import given
from hypothesis import strategies as st

from groundup.checkpoint.gguf import read_gguf, write_gguf
from groundup.checkpoint.gguf_file import read_container, write_container
from groundup.checkpoint.gguf_tensors import F32
from groundup.core.errors import InputError, MissingError
from groundup.models.config import Layer

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
