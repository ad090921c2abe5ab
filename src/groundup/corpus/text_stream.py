"""Text that is larger than memory, read as a stream of blocks that can be worked on in any order and taken up again.

    inputs   files, folders, globs: text (.txt, .md, other names), .jsonl, each also as .gz or .zst, and .parquet
    units    what is resumed as a whole: a byte range of a plain file, a whole compressed file, some Parquet row groups
    blocks   what a unit is read as: each record's text, or pieces of a few megabytes of a plain text

A unit depends on the file alone, so a list of units is the same in every run. Byte ranges are nominal (multiples of
`unit_bytes`): a record belongs to the range that its first byte is in; a plain text is divided at the place that a
function of the tokenizer finds near the nominal one, `cut`:

    cut(data) -> position    the last place (1 .. len) where the text may be cut without changing a token, 0 for nowhere

Whether a place may be a cut must depend on its neighbourhood only, never on where `data` starts, and it must not be
inside a character. To find the place at a multiple of `unit_bytes`, `cut` is asked about the 64 KiB behind it, then
about the next, until it finds one. The question is the same for the range that ends there and the one that starts
there, so ranges join exactly, and their order is that of the file.

Bytes that are no UTF-8 become U+FFFD, a byte order mark at the start is dropped, line ends stay as they are. Memory is
a few blocks, or a few times the longest record or stretch of text without a place to cut.
"""

import glob
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from groundup.core.config import fingerprint, nearest
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import require_file
from groundup.core.logging import get_logger
from groundup.corpus.documents import repair_surrogates
from groundup.corpus.reading.opening import BUFFER_BYTES, PACKINGS, opened, packing_of
from groundup.corpus.sources import decode_bytes

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

TEXT, JSONL, PARQUET = "text", "jsonl", "parquet"
SEARCHED = (*(kind + packing for kind in (".txt", ".md", ".jsonl") for packing in ("", *PACKINGS)), ".parquet")
UNIT_BYTES = 64 << 20
BLOCK_BYTES = 4 << 20
CELL_BYTES = 64 << 10  # how much text is searched at once for the place of a boundary
HEAD_BYTES = 64 << 10  # of a plain text, read to tell whether it is one
REPORT_BYTES = 1 << 20  # progress is told in steps of so many bytes
ROWS_AT_ONCE = 256
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Cut = Callable[[bytes], int]
Consumed = Callable[[int], None]
logger = get_logger(__name__)


@dataclass(frozen=True)
class TextUnit:
    """A part of a file: `start` and `end` are bytes, of a Parquet file row groups; `size_bytes` is its size on disk."""

    path: Path
    kind: str
    column: str
    start: int
    end: int
    size_bytes: int
    file_bytes: int

    @property
    def key(self) -> str:
        """A name for the unit, the same in every run."""
        return f"{self.path}[{self.start}:{self.end}]"


def text_units(inputs: Sequence[str | Path], column: str = "text", unit_bytes: int = UNIT_BYTES) -> list[TextUnit]:
    """The units of files, folders and globs, in their order; `column` is where a record has its text.

    The start of every file is read. One that is missing, empty, damaged or without the column is an `InputError`; an
    empty or binary one that was not named itself is left out with a warning, as is a file that was given before.
    """
    if unit_bytes < 1:
        raise ConfigError(f"A unit of {unit_bytes} bytes was asked for; it must have at least one.")
    units: list[TextUnit] = []
    known: set[Path] = set()
    for path, named in find_files(inputs):
        if (real := path.resolve()) in known:
            logger.warning("left out: %s was given twice", path)
            continue
        known.add(real)
        try:
            found = list(_units_of(path, column, unit_bytes))
            _require_text(found[0])
        except _UnfitError as error:
            if named:
                raise
            logger.warning("left out: %s", error)
        else:
            units += found
    if not units:
        raise InputError(f"There is no text in {', '.join(map(str, inputs))}: every file there was left out.")
    return units


def units_fingerprint(units: Sequence[TextUnit]) -> str:
    """A hash of the files' names, sizes and times of change, and of the units; reading terabytes would take hours."""
    times = {path: path.stat().st_mtime_ns for path in {unit.path for unit in units}}
    facts = [(unit.path.name, times[unit.path], unit.file_bytes, unit.column, unit.start, unit.end) for unit in units]
    return fingerprint(facts)


class _UnfitError(InputError):
    """An empty or binary file: a fault where it was named, nothing special in a folder."""


def find_files(inputs: Sequence[str | Path], searched: tuple[str, ...] = SEARCHED) -> Iterator[tuple[Path, bool]]:
    """(file, was it named itself); what a folder or a glob stands for comes sorted."""
    if not inputs:
        raise InputError("No input was given; name files, folders or globs such as 'data/**/*.jsonl.zst'.")
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            inside = (one for one in path.rglob("*") if one.name.lower().endswith(searched) and one.name[0] != ".")
            fault = f"The folder {given} has no text in it; files ending in {', '.join(searched)} are read."
        elif not path.exists() and glob.has_magic(str(given)):
            inside = map(Path, glob.iglob(str(given), recursive=True))
            fault = f"No file matches {given}; check the pattern (** stands for any number of folders)."
        else:
            yield require_file(path), True
            continue
        found = sorted(one for one in inside if one.is_file())
        if not found:
            raise MissingError(fault)
        for one in found:
            yield require_file(one), False


def _units_of(path: Path, column: str, unit_bytes: int) -> Iterator[TextUnit]:
    size, kind = path.stat().st_size, kind_of(path)
    if kind == PARQUET:
        yield from _parquet_units(path, column, unit_bytes)
        return
    length = unit_bytes if not packing_of(path) else max(size, 1)
    for start in range(0, max(size, 1), length):
        end = min(start + length, size)
        yield TextUnit(path, kind, column, start, end, end - start, size)


def _require_text(unit: TextUnit) -> None:
    """Read the start of a file: one that is empty, binary, damaged or without the column is an `InputError`."""
    if unit.kind == JSONL and next(read_unit(replace(unit, end=unit.file_bytes), cut=len), None) is None:
        raise _UnfitError(f"{unit.path} is empty; give a file with records.")
    if unit.kind != TEXT:  # a Parquet file was opened to find its row groups
        return
    with opened(unit.path) as (file, _):
        head = file.read(HEAD_BYTES)
    if head.strip() or len(head) < HEAD_BYTES:
        try:
            decode_bytes(head, str(unit.path))
        except InputError as error:
            raise _UnfitError(str(error)) from error


def kind_of(path: Path) -> str:
    """How a file is read, by its name; what no name tells is plain text."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return PARQUET
    return JSONL if name.removesuffix(packing_of(path)).endswith(".jsonl") else TEXT


def read_unit(
    unit: TextUnit, cut: Cut, block_bytes: int = BLOCK_BYTES, consumed: Consumed = lambda size: None
) -> Iterator[bytes]:
    """The blocks of a unit as UTF-8: every record's text, or pieces of about `block_bytes` that join to the text.

    `consumed` is told, now and then, how many more of the unit's `size_bytes` have been read.
    """
    position = _Position(unit.size_bytes, consumed)
    if unit.kind == PARQUET:
        yield from _parquet_texts(unit, position)
    elif unit.kind == JSONL:
        yield from _jsonl_texts(unit, position)
    else:
        yield from _plain_blocks(unit, cut, block_bytes, position)
    position.finish()


class _Position:
    """How far a unit has been read; reports in steps, and in the end exactly the unit's size."""

    def __init__(self, total: int, consumed: Consumed) -> None:
        self.total, self.consumed, self.reported = total, consumed, 0

    def at(self, position: int) -> None:
        if position - self.reported >= REPORT_BYTES:
            self._report(min(position, self.total))

    def finish(self) -> None:
        self._report(self.total)

    def _report(self, position: int) -> None:
        self.consumed(position - self.reported)
        self.reported = position


def _plain_blocks(unit: TextUnit, cut: Cut, block_bytes: int, position: _Position) -> Iterator[bytes]:
    with opened(unit.path) as (file, raw):
        if packing_of(unit.path):
            start, left = 0, None
        else:
            start = _boundary(raw, unit, unit.start, cut)
            left = _boundary(raw, unit, unit.end, cut) - start
            raw.seek(start)
        first = start == 0
        for block in cut_blocks(file, left, cut, block_bytes):
            text = _valid_utf8(block)
            text = text.removeprefix(BYTE_ORDER_MARK) if first else text
            first = False
            if text:
                yield text
            position.at(raw.tell() - start)


def _boundary(file: IO[bytes], unit: TextUnit, nominal: int, cut: Cut) -> int:
    """The true place of a boundary whose nominal place is a multiple of the unit's length, or the end of the file."""
    length = unit.end - unit.start if unit.end < unit.file_bytes else unit.file_bytes  # the last range may be shorter
    place = nominal
    while 0 < place < unit.file_bytes:
        end = min(place + CELL_BYTES, (place // length + 1) * length, unit.file_bytes)
        file.seek(place)
        if found := cut(file.read(end - place)):
            return place + found
        place = end
    return place


def cut_blocks(file: IO[bytes], left: int | None, cut: Cut, block_bytes: int) -> Iterator[bytes]:
    """The next `left` bytes of a file (None: all) in blocks that end where `cut` allows it; the last ends anyhow."""
    kept = b""
    while True:
        wanted = max(block_bytes, len(kept))  # where no cut was found, twice as much is looked at
        wanted = wanted if left is None else min(wanted, left)
        data = file.read(wanted)
        left = None if left is None else left - len(data)
        if left == 0 or len(data) < wanted:
            yield kept + data
            return
        kept += data
        if at := cut(kept):
            yield kept[:at]
            kept = kept[at:]


def _jsonl_texts(unit: TextUnit, position: _Position) -> Iterator[bytes]:
    with opened(unit.path) as (file, raw):
        if unit.start:
            file.seek(unit.start - 1)
            file.readline()  # the line that the range before this one has
        start = read = raw.tell() if not packing_of(unit.path) else 0
        for number, line in enumerate(file, 1):
            if read >= unit.end and not packing_of(unit.path):
                return
            read += len(line)
            line = line.removeprefix(BYTE_ORDER_MARK) if number == 1 and start == 0 else line
            if line.strip():
                try:
                    yield _record_text(line, unit.column)
                except ValueError as error:
                    before = _lines_before(unit.path, start)
                    raise InputError(f"{unit.path} line {before + number} {error}") from error
            position.at((raw.tell() if packing_of(unit.path) else read) - start)


def _record_text(line: bytes, column: str) -> bytes:
    """The text of one record; a `ValueError` says what is wrong with it."""
    try:
        record = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error}); each line must be one object.") from None
    if not isinstance(record, dict):
        raise ValueError(f'is no JSON object; each line must look like {{"{column}": "..."}}.')
    if column not in record:
        raise ValueError(f"has no {column!r}; {nearest(column, record)}")
    if not isinstance(text := record[column], str):
        raise ValueError(f"has a {column!r} that is no string; name the column that holds the text.")
    try:
        return text.encode()
    except UnicodeEncodeError:
        return repair_surrogates(text).encode()


def _lines_before(path: Path, position: int) -> int:
    """How many lines end before a byte of a file; counted only for a message about a fault."""
    count = 0
    with open(path, "rb") as file:
        while position > 0 and (data := file.read(min(position, BLOCK_BYTES))):
            count += data.count(b"\n")
            position -= len(data)
    return count


def _parquet_units(path: Path, column: str, unit_bytes: int) -> Iterator[TextUnit]:
    """Ranges of row groups whose columns of text have about `unit_bytes` on disk."""
    with opened_parquet(path, column) as file:
        if file.metadata.num_rows == 0:
            raise _UnfitError(f"{path} is empty; give a file with rows.")
        start = size = 0
        number = file.schema_arrow.names.index(column)
        for group in range(file.num_row_groups):
            size += file.metadata.row_group(group).column(number).total_compressed_size
            if size >= unit_bytes or group == file.num_row_groups - 1:
                yield TextUnit(path, PARQUET, column, start, group + 1, size, path.stat().st_size)
                start, size = group + 1, 0


def _parquet_texts(unit: TextUnit, position: _Position) -> Iterator[bytes]:
    import pyarrow as pa

    with opened_parquet(unit.path, unit.column) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(unit.end)]
        before, rows = sum(sizes[: unit.start]), sum(sizes[unit.start :])
        row = 0
        groups = list(range(unit.start, unit.end))
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=[unit.column], use_threads=False):
            texts = batch.column(0)
            for text in texts.cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
                row += 1
                if text is None:
                    raise InputError(f"{unit.path} row {before + row} has no {unit.column!r}; remove such rows.")
                yield _valid_utf8(text)
            position.at(unit.size_bytes * row // rows)


@contextmanager
def opened_parquet(path: Path, column: str) -> Iterator["ParquetFile"]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise InputError(f"{path} has no column {column!r}; {nearest(column, names)}")
            kind = file.schema_arrow.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
                raise InputError(f"The column {column!r} of {path} holds {kind}, not text; name a column of text.")
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file ({error}); fetch it again.") from error


def _valid_utf8(data: bytes) -> bytes:
    """The same bytes where they are UTF-8, as nearly always; else with U+FFFD for what is not."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data
