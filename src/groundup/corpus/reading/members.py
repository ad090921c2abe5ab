"""Compressed members (gzip) and frames (zstd) of a file: decoded piece by piece, found again after damage.

A `.warc.gz` is a row of gzip members, nearly always one per record; a `.warc.zst` is the same with Zstandard frames.

    small      decode a member as a whole, as nearly all can be; `open` is for the others, piece by piece
    find       the next place behind a position where a member begins whose content starts with "WARC/"
    anchor     a place at or before a position where a reader that started at byte 0 would begin a member, too

`anchor` is what lets a file be read in byte ranges that join exactly. A page may itself hold a `.warc.gz`; a compressor
cannot shrink that and stores it verbatim, so that `find` alone could take up the inner members. But verbatim bytes
stand in blocks of at most 65,535 bytes (DEFLATE: RFC1951, 3.2.4; Zstandard 128 KiB: RFC8878, 3.1.1.2.4) with a header
between two, which breaks an inner row of members. So a row of sound members longer than one block is not inside another
member, and every reader meets it. The anchor is such a row's first member, looked for ever farther back, at worst at
byte 0.

Gzip is decoded by ISA-L (`isal`), twice as fast as zlib, which is used where the former is not installed.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import zstandard

try:
    from isal import isal_zlib as inflate
except ImportError:  # no wheel for the platform: the same bytes at half the speed
    import zlib as inflate
INFLATE_ERROR = cast("type[Exception]", inflate.error)

INPUT_BYTES = 16 << 10  # of a file, given to a decoder at once
LEAST_BYTES, NEAR_BYTES = 18, 1 << 10  # of a gzip member; where the next one is looked for first
SMALL_BYTES = 256 << 10  # packed, of a member that is decoded as a whole
OUTPUT_BYTES = 1 << 20  # the most that a decoder gives at once
MOST_EXPANDED_BYTES = 4 << 30  # of one member, which is then left: a bomb of 1,000 : 1 would decode for hours
LOOK_BACK_BYTES = 256 << 10
START = b"WARC/"
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f: a frame to skip
DICTIONARY_MAGIC = b"\x5d" + SKIPPABLE  # https://iipc.github.io/warc-specifications/specifications/warc-zstd/
MOST_DICTIONARY_BYTES = 16 << 20

Data = memoryview


class BrokenMemberError(Exception):
    """A member that cannot be decoded to its end; the message says why."""


class Member(Protocol):
    """One member being decoded: `position` is the next byte of the file to decode, at the end that of the next one."""

    position: int

    def read(self) -> bytes:
        """Up to `OUTPUT_BYTES` more of the content, nothing at its end; raises `BrokenMemberError`."""
        ...


class GzipMember:
    """A member of a gzip file, RFC1952."""

    def __init__(self, data: Data, position: int) -> None:
        self.data, self.position, self.expanded = data, position, 0
        self.decoder = inflate.decompressobj(31)

    def read(self) -> bytes:
        decoder = self.decoder
        while not decoder.eof:
            piece = self.data[self.position : self.position + INPUT_BYTES]
            try:
                content = decoder.decompress(piece, OUTPUT_BYTES)
            except INFLATE_ERROR as error:
                raise BrokenMemberError(f"damaged gzip member ({_cause(error)})") from None
            left = len(decoder.unused_data if decoder.eof else decoder.unconsumed_tail)
            self.position += len(piece) - left
            self.expanded += len(content)
            if content:
                _limit(self.expanded)
                return content
            if left == len(piece) and not decoder.eof:  # nothing went in and nothing came out
                raise BrokenMemberError("damaged gzip member" if piece else "the file ends inside a gzip member")
        return b""


def small_gzip_member(data: Data, position: int) -> tuple[bytes, int] | None:
    """(content, end) of a sound member of up to `SMALL_BYTES` packed, without an object for it; None for any other."""
    decoder, start = inflate.decompressobj(31), position
    # Requests and metadata take 300 bytes: what a decoder was given too much is copied, and takes longer than they do.
    whole = data.obj
    assert isinstance(whole, bytes | mmap.mmap)
    near = whole.find(GZIP_MAGIC, position + LEAST_BYTES, position + NEAR_BYTES)
    piece = data[start : near if near > 0 else start + INPUT_BYTES]
    try:
        content = decoder.decompress(piece, OUTPUT_BYTES)
        while not decoder.eof:
            start += len(piece)
            piece = data[start : start + INPUT_BYTES]
            if decoder.unconsumed_tail or not piece or start - position >= SMALL_BYTES:
                return None
            content += decoder.decompress(piece, OUTPUT_BYTES)
    except INFLATE_ERROR:
        return None
    return content, start + len(piece) - len(decoder.unused_data)


class ZstdFrame:
    """A frame of RFC8878; its end is known from the lengths of its blocks before anything is decoded."""

    def __init__(self, data: Data, position: int, decoder: zstandard.ZstdDecompressor) -> None:
        self.position, self.expanded = frame_end(data, position), 0
        skipped = data[position + 1 : position + 4] == SKIPPABLE
        self.reader = decoder.stream_reader(b"" if skipped else data[position : self.position])

    def read(self) -> bytes:
        try:
            content = self.reader.read(OUTPUT_BYTES)
        except zstandard.ZstdError as error:
            raise BrokenMemberError(f"damaged zstd frame ({_cause(error)})") from None
        self.expanded += len(content)
        _limit(self.expanded)
        return content


@dataclass(frozen=True)
class Packing:
    """A form of compression: how a member starts, how far bytes stand verbatim in one, if its end is verified."""

    name: str
    magic: bytes
    verbatim_bytes: int
    verifies: bool
    open: Callable[[Data, int], Member]
    small: Callable[[Data, int], tuple[bytes, int] | None] = lambda data, position: None

    def find(self, data: Data, position: int, end: int | None = None) -> int:
        """Where the next member begins that starts a WARC record; the end of the data where there is none."""
        end = len(data) if end is None else end
        while (position := _find(data, self.magic, position, end)) < end:
            if self.starts_record(data, position):
                return position
            position += 1
        return end

    def starts_record(self, data: Data, position: int) -> bool:
        """Whether a sound beginning of a member is here, with content that starts like a WARC record."""
        try:
            member = self.open(data, position)
            return member.read().startswith(START)
        except BrokenMemberError:
            return False

    def anchor(self, data: Data, position: int) -> int:
        """A place at or before `position` where a reader from the start of the file begins a member as well."""
        reach = LOOK_BACK_BYTES
        while reach < position:
            start = position - reach
            while (start := self.find(data, start, position)) < position:
                broken = self._break_behind(data, start)
                if broken is None:
                    return start
                start = broken + 1
            reach *= 8
        return 0

    def _break_behind(self, data: Data, start: int) -> int | None:
        """The first unsound member in the row from `start`; None where the row is longer than any verbatim block."""
        position = start
        while position - start <= self.verbatim_bytes and position < len(data):
            try:
                member = self.open(data, position)
                while member.read():
                    pass
            except BrokenMemberError:
                return position
            position = member.position
        return None


def zstd_packing(data: Data) -> Packing:
    """Zstandard, with the dictionary that a `.warc.zst` may carry in a skippable frame at its start."""
    decoder = zstandard.ZstdDecompressor()
    if data[:4] == DICTIONARY_MAGIC:
        dictionary = bytes(data[8 : 8 + int.from_bytes(data[4:8], "little")])
        if dictionary.startswith(ZSTD_MAGIC):
            dictionary = decoder.stream_reader(dictionary).read(MOST_DICTIONARY_BYTES)
        decoder = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    return Packing("zstd", ZSTD_MAGIC, 128 << 10, False, lambda data, position: ZstdFrame(data, position, decoder))


def frame_end(data: Data, position: int) -> int:
    """The end of the Zstandard frame at `position`, or of the frame to skip, from the lengths in its headers."""
    if data[position + 1 : position + 4] == SKIPPABLE and data[position] >> 4 == 5:
        return min(position + 8 + int.from_bytes(data[position + 4 : position + 8], "little"), len(data))
    if data[position : position + 4] != ZSTD_MAGIC:
        raise BrokenMemberError("no zstd frame")
    descriptor = data[position + 4] if position + 4 < len(data) else 0
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    size_bytes = (single, 2, 4, 8)[descriptor >> 6]
    position += 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + size_bytes
    last = 0
    while not last:
        if position + 3 > len(data):
            raise BrokenMemberError("the file ends inside a zstd frame")
        header = int.from_bytes(data[position : position + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 3:
            raise BrokenMemberError("damaged zstd frame (a block of no known type)")
        position += 3 + (1 if kind == 1 else size)  # type 1: one byte repeated `size` times
    position += 4 * checksum
    if position > len(data):
        raise BrokenMemberError("the file ends inside a zstd frame")
    return position


def _find(data: Data, magic: bytes, position: int, end: int) -> int:
    """The next place of `magic`, or `end`."""
    whole = data.obj
    assert isinstance(whole, bytes | mmap.mmap)
    found = whole.find(magic, position, end + len(magic) - 1)
    return end if found < 0 else found


def _limit(expanded: int) -> None:
    if expanded > MOST_EXPANDED_BYTES:
        raise BrokenMemberError(f"a member of more than {MOST_EXPANDED_BYTES:,} bytes")


def _cause(error: Exception) -> str:
    return str(error).lower()


GZIP = Packing("gzip", GZIP_MAGIC, 65_535, True, GzipMember, small_gzip_member)
