"""The uncompressed content of a file: as it is, gzip (`.gz`) or Zstandard (`.zst`) by its name."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from groundup.core.errors import InputError

PACKINGS = (".gz", ".zst")
BUFFER_BYTES = 1 << 18


def packing_of(path: Path) -> str:
    """`.gz`, `.zst`, or an empty text for a file that is not compressed."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKINGS else ""


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The uncompressed content of a file, and the file itself, whose position tells how much of it has been read."""
    packing = packing_of(path)
    with open(path, "rb") as raw:
        try:
            if packing == ".gz":
                yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw)), raw
            elif packing == ".zst":
                import pyarrow as pa  # it reads joined files and notices a truncated one; zstandard's reader does not

                yield cast("IO[bytes]", io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), BUFFER_BYTES)), raw
            else:
                yield raw, raw
        except (EOFError, OSError, zlib.error) as error:
            if not packing or isinstance(error, InputError):
                raise
            raise InputError(f"{path} is not a whole {packing} file ({error}); fetch it again.") from error
