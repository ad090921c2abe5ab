"""Work units of the input files, and the pages of a unit.

    .warc .wet, also .gz .zst   byte ranges of `unit_bytes`: a record belongs to the range that its first byte is in, so
                                a file of a gigabyte is many workers' work
    all other formats           a unit a file (`corpus/reading/formats.py`)

A file is identified by name, size and time of change, as hashing 90,000 files of a gigabyte takes a day.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from groundup.core.config import fingerprint
from groundup.corpus.crawl.pages import Page
from groundup.corpus.execution.jobs import Unit
from groundup.corpus.reading.formats import corpus_files, read_file
from groundup.corpus.reading.warc import Damage, WarcRecord, read_records

WARC = re.compile(r"\.(warc|wet)(\.gz|\.zst)?$")
UNIT_BYTES = 64 << 20  # about 1,500 pages of Common Crawl


def input_units(paths: Sequence[Path], unit_bytes: int = UNIT_BYTES) -> list[Unit]:
    """The units of files and folders, in their order."""
    ranges: list[tuple[Path, int, int]] = []
    for path in corpus_files(paths):
        size = path.stat().st_size
        step = unit_bytes if is_warc(path) else max(size, 1)
        ranges += [(path, start, min(start + step, size)) for start in range(0, max(size, 1), step)]
    return [
        Unit(f"{number:06d}", {"path": str(path), "start": start, "end": end}, _identity(path), end - start)
        for number, (path, start, end) in enumerate(ranges)
    ]


def read_pages(inputs: dict[str, Any], passed_over: Counter[str]) -> Iterator[Page | Damage]:
    """The pages of a unit, and the damage between them; records of other kinds are counted."""
    path = Path(inputs["path"])
    if is_warc(path):
        items = read_records(path, inputs["start"], inputs["end"], passed_over=passed_over)
    else:
        items = read_file(path)
    for item in items:
        if isinstance(item, WarcRecord):
            yield _page(path, item)
        elif isinstance(item, Damage):
            yield item
        else:
            yield Page(item.id, item.url, item.source, text=item.text, facts=item.meta)


def _page(path: Path, record: WarcRecord) -> Page:
    facts = {"date": record.date, "warc_file": path.name, "warc_offset": record.offset} if is_warc(path) else {}
    facts |= {name: value for name in ("truncated", "fault") if (value := getattr(record, name))}
    if record.type == "conversion":  # the text that Common Crawl took from a page (WET)
        return Page(record.id, record.url, path.name, text=record.body.decode("utf-8", "replace"), facts=facts)
    return Page(record.id, record.url, path.name, record.body, record.charset, facts=facts)


def is_warc(path: Path) -> bool:
    """Whether a file is a web archive, by its name."""
    return WARC.search(path.name) is not None


def _identity(path: Path) -> str:
    about = path.stat()
    return fingerprint(path.name, about.st_size, about.st_mtime_ns)


def find_page(paths: Sequence[Path], name: str, offset: int) -> bytes | None:
    """The body of the record at an offset of the web archive of that name among the inputs."""
    for path in corpus_files(paths):
        if path.name == name:
            for record in read_records(path, offset, offset + 1):
                if not isinstance(record, Damage):
                    return record.body
    return None
