"""The process that reads WARC files with one library: `python -m warc_peers.worker job.json result.json`.

    {"library": "groundup" | "fastwarc" | "warcio", "files": [...], "passes": ...}

Every side gives of each page its id, address, date, status, content type, charset and body, so that lazy parsing is
done. The best of the passes counts; a fault ends the file for the library, and what it had given by then is its answer.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.child import Result, child_main

Fields = tuple[object, ...]


def groundup(path: str) -> Iterator[Fields]:
    """Ours; damage is counted by its reason."""
    from groundup.corpus.reading.warc import Damage, read_records

    for item in read_records(Path(path)):
        if isinstance(item, Damage):
            TOLD[item.reason] += 1
        else:
            yield item.id, item.url, item.date, item.status, item.content_type, item.charset, item.body


def fastwarc(path: str) -> Iterator[Fields]:
    """As its manual has it."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    for record in ArchiveIterator(path, record_types=WarcRecordType.response):
        headers, http = record.headers, record.http_headers
        facts = record.record_id, headers.get("WARC-Target-URI"), headers.get("WARC-Date"), http.status_code
        yield *facts, record.http_content_type, record.http_charset, record.reader.read()


def warcio(path: str) -> Iterator[Fields]:
    """As its manual has it."""
    from warcio.archiveiterator import ArchiveIterator

    with open(path, "rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type == "response":
                names = ("WARC-Record-ID", "WARC-Target-URI", "WARC-Date")
                facts = [record.rec_headers.get_header(name) for name in names]
                http = record.http_headers
                kind = http.get_header("Content-Type") or ""
                body = record.content_stream().read()
                yield *facts, http.get_statuscode(), kind.split(";")[0], kind.rpartition("charset=")[2], body


LIBRARIES = {"groundup": groundup, "fastwarc": fastwarc, "warcio": warcio}
TOLD: Counter[str] = Counter()


def run(job: Result) -> Result:
    """Documents per second of processor time, and what came."""
    read = LIBRARIES[job["library"]]
    seconds = []
    for _ in range(job["passes"]):
        TOLD.clear()
        pages, bodies = 0, []
        start = time.process_time()
        for path in job["files"]:
            try:
                for fields in read(path):
                    pages += 1
                    bodies.append(fields[-1])
            except Exception as error:  # noqa: BLE001 - how a library meets damage is what is measured
                TOLD[f"{type(error).__name__}: {error}"[:80]] += 1
        seconds.append(time.process_time() - start)
    digest = hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies)).hexdigest()
    return {"pages_per_second": pages / min(seconds), "pages": pages, "told": dict(TOLD), "digest": digest}


if __name__ == "__main__":
    child_main(run)
