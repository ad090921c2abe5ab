"""The container GGUF, version 3, little-endian: typed metadata and tensors in one file.

    "GGUF", version, number of tensors, number of metadata entries
    each entry     key, type, value           strings and arrays behind their length
    each tensor    name, shape with the fastest axis first, type, offset
    padding, then the tensors' bytes, each at a multiple of `general.alignment`

As described in ggml's `docs/gguf.md`. Here shapes have their fastest axis last, as in NumPy. Tensors are read as views
of the memory-mapped file, so that opening one costs its metadata only.
"""

import struct
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from groundup.checkpoint.gguf_tensors import TYPE_OF_NUMBER, TYPES, Bytes, Floats, TensorType, decode, encode
from groundup.core.errors import InputError
from groundup.core.files import require_file, write_bytes

MAGIC = b"GGUF"
VERSION = 3
READABLE_VERSIONS = (2, 3)  # version 3 added big-endian files, nothing else
ALIGNMENT = 32  # where `general.alignment` says nothing else
STRING, ARRAY = 8, 9
# The numbers of the other types of values.
NUMBERS = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
NUMBER_OF_DTYPE = {dtype: number for number, dtype in NUMBERS.items()}

Value = Any  # bool, int, float, str, a NumPy array of numbers, a list of strings


class StoredTensor(NamedTuple):
    """A tensor as it lies in a file."""

    kind: TensorType
    shape: tuple[int, ...]
    data: Bytes

    def weights(self) -> Floats:
        """Its weights, fp32."""
        return decode(self.kind, self.data, self.shape)


class Container(NamedTuple):
    """What a file holds, by key and by name."""

    metadata: dict[str, Value]
    tensors: dict[str, StoredTensor]


def read_container(path: Path) -> Container:
    """Open a file; an `InputError` says where it is cut off, or what in it cannot be read."""
    file = _Cursor(require_file(path))
    magic = file.take(4).tobytes()
    if magic != MAGIC:
        raise InputError(f"{path} is no GGUF file: it begins with {magic!r}, not {MAGIC!r}.")
    version = file.number("<I")
    if version not in READABLE_VERSIONS:
        what = "is big-endian" if version == VERSION << 24 else f"has the GGUF version {version}"
        raise InputError(f"{path} {what}; groundup reads versions 2 and 3, little-endian. Convert the model again.")
    tensor_count, entry_count = file.number("<Q"), file.number("<Q")
    metadata = {}
    for _ in range(entry_count):
        key = file.string()
        metadata[key] = file.value(file.number("<I"))
    described = [_describe(file) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise InputError(f"{path} has the alignment {alignment!r}; it must be a positive integer.")
    start = _aligned(file.place, alignment)
    tensors = {}
    for name, shape, kind, offset in described:
        file.place = start + offset
        try:
            size = kind.bytes_of(shape)
        except ValueError as error:
            raise InputError(f"{path} is damaged: its tensor {name!r} is {kind.name}, but {error}.") from None
        tensors[name] = StoredTensor(kind, shape, file.take(size))
    return Container(metadata, tensors)


def _describe(file: "_Cursor") -> tuple[str, tuple[int, ...], TensorType, int]:
    """Name, shape, type and offset of a tensor."""
    name, axes = file.string(), file.number("<I")
    shape = tuple(file.number("<Q") for _ in range(axes))[::-1]
    number, offset = file.number("<I"), file.number("<Q")
    if number not in TYPE_OF_NUMBER:
        known = ", ".join(kind.name for kind in TYPES)
        raise InputError(
            f"The tensor {name!r} of {file.path} has the ggml type {number}, which cannot be read; quantise the model "
            f"as one of {known}."
        )
    return name, shape, TYPE_OF_NUMBER[number], offset


class _Cursor:
    """A place in a memory-mapped file, moved forward by what is read."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0
        size = path.stat().st_size
        self.data: Bytes = np.asarray(np.memmap(path, np.uint8, "r")) if size else np.empty(0, np.uint8)

    def take(self, size: int) -> Bytes:
        end = self.place + size
        if end > len(self.data):
            raise InputError(
                f"{self.path} is cut off: it has {len(self.data):,} bytes, but what it describes reaches to byte "
                f"{end:,}. Copy or download it again."
            )
        self.place, start = end, self.place
        return self.data[start:end]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)).data)[0]

    def string(self) -> str:
        data = self.take(self.number("<Q")).tobytes()
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is damaged: the string {data[:40]!r} in it is no UTF-8.") from None

    def value(self, kind: int) -> Value:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            if inner == STRING:
                return [self.string() for _ in range(count)]
            dtype = self._dtype(inner)
            return self.take(count * dtype.itemsize).view(dtype).copy()
        dtype = self._dtype(kind)
        number = self.take(dtype.itemsize).view(dtype)[0]
        # The shortest decimal of an fp32 is the number that was meant: 1e-05, not 9.999999747378752e-06.
        return float(str(number)) if dtype == np.float32 else number.item()

    def _dtype(self, kind: int) -> np.dtype:
        if kind not in NUMBERS:
            raise InputError(
                f"{self.path} is damaged, or of a kind unknown here: its metadata has a value of type {kind}."
            )
        return NUMBERS[kind]


def write_container(
    path: Path, metadata: Mapping[str, Value], tensors: Mapping[str, tuple[TensorType, Floats]]
) -> Path:
    """Write a file, atomically. A Python integer becomes uint32 and a float fp32; a NumPy number or array keeps its
    type, a list is one of strings."""
    entries = [_string(key) + _value(value) for key, value in metadata.items()]
    descriptions, offset = [], 0
    for name, (kind, weights) in tensors.items():
        shape = struct.pack(f"<I{weights.ndim}Q", weights.ndim, *weights.shape[::-1])
        descriptions.append(_string(name) + shape + struct.pack("<IQ", kind.number, offset))
        offset = _aligned(offset + kind.bytes_of(weights.shape), ALIGNMENT)
    file = BytesIO()
    file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    file.write(b"".join(entries + descriptions))
    for kind, weights in tensors.values():
        file.write(bytes(_aligned(file.tell(), ALIGNMENT) - file.tell()))
        file.write(encode(kind, weights).data)
    file.write(bytes(_aligned(file.tell(), ALIGNMENT) - file.tell()))
    write_bytes(path, file.getvalue())
    return path


def _value(value: Value) -> bytes:
    """A value behind its type."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_string, value))
    numbers = np.asarray(value)
    if type(value) in (int, float):  # not NumPy's float64, which is a float too
        numbers = np.array(value, np.uint32 if type(value) is int else np.float32)
    number = NUMBER_OF_DTYPE[numbers.dtype]
    kind = struct.pack("<IIQ", ARRAY, number, len(numbers)) if numbers.ndim else struct.pack("<I", number)
    return kind + numbers.tobytes()


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(place: int, alignment: int) -> int:
    """The next place that is a multiple."""
    return -(-place // alignment) * alignment
