"""fastText's model file, `.bin` (dense) and `.ftz` (quantized): what is in it, read and written to the byte.

    magic 793712314, version        int32 each; 11 and 12 are known
    settings                        12 int32 and a double, `Settings` in order
    dictionary                      entries, words, labels int32; tokens, pruned int64; each entry: bytes, NUL, count
                                    int64, kind int8 (0 a word, 1 a label); `pruned` pairs int32: bucket, row
    quantized                       one byte, then the input matrix: a row per word, then a row per bucket of n-grams
    quantized                       one byte, then the output matrix: a row per label (of a tree: per inner node)

A dense matrix is rows and columns int64, then float32. A quantized one is `has norms` one byte, rows and columns
int64, number of codes int32, the codes, the quantizer (columns, pieces, piece, last piece int32; centroids), and, with
norms, a code per row and their quantizer. All little-endian. `pruned` is -1 where every bucket has its row; a model
with a limited number of rows (`fasttext quantize -cutoff`) lists those buckets that have one.
Sources: args.cc, dictionary.cc, fasttext.cc, quantmatrix.cc of github.com/facebookresearch/fastText.
"""

import mmap
import struct
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import InputError
from groundup.core.files import require_file, write_bytes
from groundup.corpus.fasttext.quantization import CENTROIDS, QuantizedMatrix, pieces

MAGIC, VERSIONS = 793712314, (11, 12)
LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one-vs-all"}
HIERARCHICAL, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = LOSSES
KINDS = {1: "cbow", 2: "skipgram", 3: "supervised"}
SUPERVISED = 3
WORD, LABEL = 0, 1
NOT_PRUNED = -1
_SETTINGS = struct.Struct("<12id")
Matrix = NDArray[np.float32] | QuantizedMatrix


@dataclass(frozen=True)
class Settings:
    """What the model was trained with, in the order of the file; the predictor needs the lengths and the loss."""

    width: int
    window: int
    epochs: int
    min_count: int
    negatives: int
    word_ngrams: int
    loss: int
    kind: int
    buckets: int
    shortest_subword: int
    longest_subword: int
    rate_updates: int
    sampling: float


@dataclass(frozen=True)
class Dictionary:
    """Words, then labels, as bytes with their counts; `pruned` maps a bucket to its row, None where all have one."""

    words: list[bytes]
    labels: list[bytes]
    counts: NDArray[np.int64]
    tokens: int
    pruned: dict[int, int] | None = None


@dataclass(frozen=True)
class ModelFile:
    """All that a file holds; `version` is kept so that writing gives the same bytes."""

    settings: Settings
    dictionary: Dictionary
    input: Matrix
    output: Matrix
    version: int = VERSIONS[-1]

    @property
    def longest_subword(self) -> int:
        """Classifiers of version 11 had no subwords, whatever their settings say."""
        return 0 if self.version == 11 else self.settings.longest_subword


def read_model_file(path: Path) -> ModelFile:
    """Read a classifier; `InputError` says what is wrong with a file that is another, damaged or cut off."""
    require_file(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; a fastText model was expected. Fetch it again.")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(path, data).model()


def write_model_file(path: Path, model: ModelFile) -> None:
    """Write a classifier as fastText does, atomically; what was read comes out to the byte."""
    dictionary = model.dictionary
    words, labels = len(dictionary.words), len(dictionary.labels)
    pruned = dictionary.pruned
    parts: list[bytes | memoryview] = [
        struct.pack("<2i", MAGIC, model.version),
        _SETTINGS.pack(*astuple(model.settings)),
        struct.pack(
            "<3iqq", words + labels, words, labels, dictionary.tokens, NOT_PRUNED if pruned is None else len(pruned)
        ),
    ]
    for kind, entries, first in ((WORD, dictionary.words, 0), (LABEL, dictionary.labels, words)):
        for number, entry in enumerate(entries, first):
            parts.append(entry + struct.pack("<xqb", int(dictionary.counts[number]), kind))
    parts += [struct.pack("<2i", bucket, row) for bucket, row in (pruned or {}).items()]
    for matrix in (model.input, model.output):
        parts.append(struct.pack("?", isinstance(matrix, QuantizedMatrix)))
        parts += _quantized_parts(matrix) if isinstance(matrix, QuantizedMatrix) else _dense_parts(matrix)
    write_bytes(path, b"".join(parts))


def _dense_parts(matrix: NDArray[np.float32]) -> list[bytes | memoryview]:
    return [struct.pack("<2q", *matrix.shape), _bytes_of(matrix)]


def _quantized_parts(matrix: QuantizedMatrix) -> list[bytes | memoryview]:
    has_norms = matrix.norm_codes is not None and matrix.norm_centroids is not None
    parts: list[bytes | memoryview] = [
        struct.pack("<?2qi", has_norms, matrix.rows, matrix.columns, matrix.codes.size),
        matrix.codes.tobytes(),
    ]
    parts += _quantizer_parts(matrix.columns, matrix.piece, matrix.centroids)
    if matrix.norm_codes is not None and matrix.norm_centroids is not None:
        parts += [matrix.norm_codes.tobytes(), *_quantizer_parts(1, 1, matrix.norm_centroids)]
    return parts


def _quantizer_parts(columns: int, piece: int, centroids: NDArray[np.float32]) -> list[bytes | memoryview]:
    cuts = pieces(columns, piece)
    last = cuts[-1][1] - cuts[-1][0]
    return [struct.pack("<4i", columns, len(cuts), piece, last), _bytes_of(centroids)]


def _bytes_of(numbers: NDArray[np.float32]) -> memoryview:
    """The numbers as the file has them, without a copy where memory has them so."""
    return np.ascontiguousarray(numbers, "<f4").data.cast("B")


class _Reader:
    """A place in a file; every step checks that the file goes on and that what it says is possible."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.place = path, data, 0

    def model(self) -> ModelFile:
        magic, version = self.numbers("<2i", "head")
        if magic != MAGIC:
            raise InputError(
                f"{self.path} is no fastText model: it begins with {self.data[:4]!r} and not with the magic number."
            )
        if version not in VERSIONS:
            raise InputError(f"{self.path} is a fastText model of version {version}; versions 11 and 12 can be read.")
        settings = self.settings(version)
        dictionary = self.dictionary(settings)
        rows = len(dictionary.words) + (settings.buckets if dictionary.pruned is None else len(dictionary.pruned))
        input_matrix = self.matrix("input matrix", rows, settings.width)
        if dictionary.pruned is not None and not isinstance(input_matrix, QuantizedMatrix):
            raise self.damaged("has a pruned dictionary and a dense input matrix, which do not go together")
        output_matrix = self.matrix("output matrix", len(dictionary.labels), settings.width)
        if self.place != len(self.data):
            raise self.damaged(f"goes on for {len(self.data) - self.place:,} bytes after the model's end")
        return ModelFile(settings, dictionary, input_matrix, output_matrix, version)

    def settings(self, version: int) -> Settings:
        settings = Settings(*self.numbers(_SETTINGS.format, "settings"))
        if settings.kind not in KINDS or settings.loss not in LOSSES:
            raise self.damaged(f"names a model of kind {settings.kind} and a loss {settings.loss}, which are unknown")
        if settings.kind != SUPERVISED:
            raise InputError(
                f"{self.path} holds word vectors ({KINDS[settings.kind]}); a classifier (supervised) was expected."
            )
        subwords = settings.longest_subword > 0 and version > 11
        if (
            settings.width < 1
            or min(settings.buckets, settings.longest_subword, settings.shortest_subword, settings.word_ngrams) < 0
            or (settings.buckets == 0 and (subwords or settings.word_ngrams > 1))
        ):
            raise self.damaged(f"has impossible settings ({settings})")
        return settings

    def dictionary(self, settings: Settings) -> Dictionary:
        entries, words, labels, tokens, pruned = self.numbers("<3iqq", "dictionary")
        if min(words, labels) < 0 or entries != words + labels or labels == 0 or pruned < NOT_PRUNED:
            raise self.damaged(
                f"counts {entries:,} entries, {words:,} words, {labels:,} labels and {pruned:,} pruned buckets"
            )
        if entries * 10 > len(self.data) - self.place:  # NUL, count and kind of each, without its bytes
            raise self.cut_off(f"dictionary of {entries:,} entries")
        found: list[bytes] = []
        counts = np.empty(entries, np.int64)
        for number in range(entries):
            end = self.data.find(b"\0", self.place)
            if end < 0:
                raise self.cut_off("dictionary")
            found.append(self.data[self.place : end])
            self.place = end + 1
            counts[number], kind = self.numbers("<qb", "dictionary")
            if kind != (WORD if number < words else LABEL):
                raise self.damaged(
                    f"has entry {number:,} of its dictionary as kind {kind}; words come first, then labels"
                )
        pairs = self.array("<i4", 2 * max(pruned, 0), "list of pruned buckets").reshape(-1, 2)
        rows: dict[int, int] = {int(bucket): int(row) for bucket, row in pairs}
        if (
            len(rows) != len(pairs)
            or any(not 0 <= b < settings.buckets for b in rows)
            or any(not 0 <= row < pruned for row in rows.values())
        ):
            raise self.damaged("has a list of pruned buckets with impossible numbers")
        return Dictionary(found[:words], found[words:], counts, tokens, None if pruned == NOT_PRUNED else rows)

    def matrix(self, what: str, rows: int, columns: int) -> Matrix:
        (kind,) = self.numbers("<B", what)
        if kind > 1:
            raise self.damaged(f"marks its {what} with {kind}; 0 (dense) or 1 (quantized) was expected")
        matrix = self.quantized(what, rows, columns) if kind else self.dense(what, rows, columns)
        centroids = [matrix.centroids, matrix.norm_centroids] if isinstance(matrix, QuantizedMatrix) else [matrix]
        if not all(np.isfinite(numbers).all() for numbers in centroids if numbers is not None):
            raise self.damaged(f"has numbers in its {what} that are not finite")
        return matrix

    def dense(self, what: str, rows: int, columns: int) -> NDArray[np.float32]:
        self.shape(what, rows, columns)
        return self.array("<f4", rows * columns, what).astype(np.float32, copy=False).reshape(rows, columns)

    def quantized(self, what: str, rows: int, columns: int) -> QuantizedMatrix:
        (has_norms,) = self.numbers("<?", what)
        self.shape(what, rows, columns)
        (size,) = self.numbers("<i", what)
        if rows == 0 or size < 0 or size % rows:
            raise self.damaged(f"has {size:,} codes for the {rows:,} rows of its {what}")
        codes = self.array("u1", size, what).reshape(rows, size // rows)
        piece, centroids = self.quantizer(what, columns, size // rows)
        if not has_norms:
            return QuantizedMatrix(columns, piece, codes, centroids)
        norm_codes = self.array("u1", rows, what)
        return QuantizedMatrix(columns, piece, codes, centroids, norm_codes, self.quantizer(what, 1, 1)[1])

    def quantizer(self, what: str, columns: int, number: int) -> tuple[int, NDArray[np.float32]]:
        found = self.numbers("<4i", f"quantizer of the {what}")
        piece = found[2]
        cuts = pieces(columns, piece) if piece > 0 else [(0, 0)]
        if found != (columns, number, piece, cuts[-1][1] - cuts[-1][0]) or number != len(cuts):
            raise self.damaged(f"has a quantizer of its {what} that does not fit it ({found})")
        return piece, self.array("<f4", columns * CENTROIDS, f"quantizer of the {what}").astype(np.float32, copy=False)

    def shape(self, what: str, rows: int, columns: int) -> None:
        found = self.numbers("<2q", what)
        if found != (rows, columns):
            raise self.damaged(
                f"has an {what} of {found[0]:,} x {found[1]:,}; its dictionary needs {rows:,} x {columns:,}"
            )

    def numbers(self, layout: str, what: str) -> tuple:
        size = struct.calcsize(layout)
        if self.place + size > len(self.data):
            raise self.cut_off(what)
        self.place += size
        return struct.unpack_from(layout, self.data, self.place - size)

    def array(self, kind: str, count: int, what: str) -> np.ndarray:
        size = count * np.dtype(kind).itemsize
        if self.place + size > len(self.data):
            raise self.cut_off(what)
        self.place += size
        return np.frombuffer(self.data[self.place - size : self.place], kind)  # the slice is a copy: the file may go

    def cut_off(self, what: str) -> InputError:
        return InputError(
            f"{self.path} ends inside its {what}, after {len(self.data):,} bytes: it is cut off or damaged; "
            "fetch it again."
        )

    def damaged(self, how: str) -> InputError:
        return InputError(f"{self.path} {how}: it is damaged, or made by another program; fetch it again.")
