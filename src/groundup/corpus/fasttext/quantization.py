"""A matrix whose rows are products of codes: what makes a fastText model of 100 MB a file of 1 MB.

A row of N numbers is cut into pieces of `piece` numbers (the last may be shorter). For every place m of a piece there
are 256 centroids, found by k-means, and the row keeps the number of the nearest one:

    row_i ≈ norm_i · (centroid_0[code_i0], centroid_1[code_i1], ...),

with norm_i = 1, or (`norm_codes`) one of 256 norms of its own, in which case the pieces are of rows of length 1.
Product quantization: Jégou et al. 2011; in fastText: Joulin et al. 2016, arXiv:1612.03651, section 3.
Training keeps to fastText's procedure: 25 rounds over at most 65,536 rows; a centroid that no row is nearest to takes
half of a populous one.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.core.errors import ConfigError

CENTROIDS = 256
ROUNDS = 25
MOST_ROWS = 65_536  # 256 for each centroid
SPLIT_STEP = 1e-7  # how far the two halves of a populous centroid are moved apart


@dataclass(frozen=True)
class QuantizedMatrix:
    """Codes_RM (uint8) of R rows in M pieces, and the centroids as the file has them: flat, place after place."""

    columns: int
    piece: int
    codes: NDArray[np.uint8]
    centroids: NDArray[np.float32]
    norm_codes: NDArray[np.uint8] | None = None
    norm_centroids: NDArray[np.float32] | None = None

    @property
    def rows(self) -> int:
        return len(self.codes)

    def dense(self) -> NDArray[np.float32]:
        """The matrix_RN that the codes stand for."""
        matrix = np.empty((self.rows, self.columns), np.float32)
        for place, (start, end) in enumerate(pieces(self.columns, self.piece)):
            table = self.centroids[start * CENTROIDS : end * CENTROIDS].reshape(CENTROIDS, end - start)
            matrix[:, start:end] = table[self.codes[:, place]]
        if self.norm_codes is not None and self.norm_centroids is not None:
            matrix *= self.norm_centroids[self.norm_codes][:, None]
        return matrix


def pieces(columns: int, piece: int) -> list[tuple[int, int]]:
    """(start, end) of the pieces of a row."""
    return [(start, min(start + piece, columns)) for start in range(0, columns, piece)]


def quantize(matrix: NDArray[np.float32], piece: int = 2, *, norms: bool = False, seed: int = 0) -> QuantizedMatrix:
    """The codes of a matrix_RN of at least 256 rows; `norms` keeps the rows' lengths apart."""
    rows, columns = matrix.shape
    if rows < CENTROIDS:
        raise ConfigError(f"A matrix of {rows} rows is too small to quantize; it takes at least {CENTROIDS}.")
    if piece < 1:
        raise ConfigError(f"The pieces of a quantized row are {piece} numbers long; they must be at least 1.")
    random = np.random.default_rng(seed)
    norm_codes = norm_centroids = None
    if norms:
        lengths = np.linalg.norm(matrix, axis=1).astype(np.float32)
        norm_centroids, norm_codes = _quantize_piece(lengths[:, None], random)
        matrix = matrix / np.where(lengths > 0, lengths, 1).astype(np.float32)[:, None]
    found = [_quantize_piece(np.ascontiguousarray(matrix[:, a:b]), random) for a, b in pieces(columns, piece)]
    return QuantizedMatrix(
        columns,
        piece,
        np.stack([codes for _, codes in found], axis=1),
        np.concatenate([centroids for centroids, _ in found]),
        norm_codes,
        norm_centroids,
    )


def _quantize_piece(
    points: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """k-means of points_RP: (centroids, flat; the nearest one of every point)."""
    sample = points[random.permutation(len(points))[:MOST_ROWS]]
    centroids = sample[:CENTROIDS].copy()
    for _ in range(ROUNDS):
        codes = nearest(sample, centroids)
        counts = np.bincount(codes, minlength=CENTROIDS)
        for column in range(points.shape[1]):
            sums = np.bincount(codes, sample[:, column], CENTROIDS)
            centroids[:, column] = np.where(counts > 0, sums / np.maximum(counts, 1), 0)
        _fill_empty(centroids, counts)
    return centroids.ravel(), nearest(points, centroids)


def _fill_empty(centroids: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
    """Give every centroid without points half of those of the most populous one, which may be split several times."""
    signs = np.where(np.arange(centroids.shape[1]) % 2, SPLIT_STEP, -SPLIT_STEP).astype(np.float32)
    for empty in np.flatnonzero(counts == 0):
        populous = int(counts.argmax())
        centroids[empty] = centroids[populous] + signs
        centroids[populous] -= signs
        counts[empty] = counts[populous] // 2
        counts[populous] -= counts[empty]


@njit(cache=True, nogil=True)
def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The number of the centroid at the least squared distance from every point, the first of equals."""
    codes = np.empty(len(points), np.uint8)
    for i in range(len(points)):
        best, least = 0, np.float32(np.inf)
        for k in range(len(centroids)):
            distance = np.float32(0)
            for j in range(points.shape[1]):
                difference = points[i, j] - centroids[k, j]
                distance += difference * difference
            if distance < least:
                best, least = k, distance
        codes[i] = best
    return codes
