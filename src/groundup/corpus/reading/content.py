"""What records are read from: a plain file as it is, or what the members of a compressed one decode to.

Both have a `buffer` with a `cursor`, and are asked to `have` so many bytes of it. A plain file is there as a whole
(mapped); decoded content grows as it is asked for and is dropped again once it was read, so memory is one record.
"""

import mmap
import re
from contextlib import suppress

from groundup.corpus.reading.members import START, BrokenMemberError, Packing

DROP_BYTES = 1 << 20  # what was read is dropped when it is this much
HEADER = re.compile(rb"WARC/\d\.\d[ \t]*\r?\n[!-9;-~]+:")
HEADER_BYTES = 256  # the end of a searched buffer that may be the beginning of a header


class MappedContent:
    """A plain file."""

    verified = False

    def __init__(self, data: memoryview) -> None:
        assert isinstance(data.obj, mmap.mmap)
        self.buffer, self.cursor = data.obj, 0

    @property
    def offset(self) -> int:
        """The byte of the file that a record at the cursor belongs to."""
        return self.cursor

    def have(self, size: int, *, joining: bool = True) -> bool:
        return size <= len(self.buffer)

    def move(self, position: int) -> None:
        self.cursor = position

    def next_header(self, position: int, most_bytes: int) -> tuple[int, int]:
        found = find_header(self.buffer, position)
        found = len(self.buffer) if found < 0 else found
        return found, found - position


class DecodedContent:
    """The content of the member at `offset`; a record that its end cuts off may go on in the next one.

    Whether it does is told by how that one starts: with a record of its own or not.
    """

    def __init__(self, data: memoryview, packing: Packing, offset: int) -> None:
        self.data, self.packing, self.offset = data, packing, offset
        self.buffer, self.cursor = b"", 0
        self.member_start, self.verified = offset, False
        self.member = packing.open(data, offset)

    @property
    def position(self) -> int:
        """The byte of the file behind the members that were decoded."""
        return self.member.position

    def have(self, size: int, *, joining: bool = True) -> bool:
        """Whether the buffer has, or can be given, so many bytes; `joining`: from the next members, if need be."""
        while len(self.buffer) < size:
            piece = self.member.read()
            if piece:
                self.buffer = self.buffer + piece if self.buffer else piece
                continue
            self.verified = self.packing.verifies
            if not (joining and self._join()):
                return False
        return True

    def _join(self) -> bool:
        start = self.position
        with suppress(BrokenMemberError):  # it is reported when it is its turn
            member = self.packing.open(self.data, start)
            piece = member.read()
            if start < len(self.data) and not piece.startswith(START):
                self.buffer, self.member, self.member_start = self.buffer + piece, member, start
                self.verified = False
                return True
        return False

    def move(self, position: int) -> None:
        """Go on at a place in the buffer, whose beginning is dropped if it is long."""
        self.cursor = position
        if position > DROP_BYTES:
            self.buffer, self.cursor = self.buffer[position:], 0

    def next_header(self, position: int, most_bytes: int) -> tuple[int, int]:
        """(the next header at or behind `position`, or the end; how many bytes are before it).

        The place is one in the buffer as it is then: more than `most_bytes` are dropped.
        """
        start = position
        while (found := find_header(self.buffer, position)) < 0:
            position = max(len(self.buffer) - HEADER_BYTES, position)
            if position - start > most_bytes and position > DROP_BYTES:
                self.buffer, start, position = self.buffer[position:], start - position, 0
            if not self.have(len(self.buffer) + 1, joining=False):
                return len(self.buffer), len(self.buffer) - start
        return found, found - start


def find_header(buffer: bytes | mmap.mmap, position: int) -> int:
    """The next place at or behind `position` where a line is a WARC header's first; -1 for none."""
    position = max(position - 1, 0)
    while (position := buffer.find(b"\n" + START, position)) >= 0:
        position += 1
        if HEADER.match(buffer, position):
            return position
    return -1
