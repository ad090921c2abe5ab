"""The process that times one extractor: `python -m extraction_peers.worker job.json result.json`.

    {"library": a name of EXTRACTORS, "pages": folder, "passes": ..., "limit": ... (0: all)}

Libraries are imported, kernels loaded and a page extracted before the clock starts; every side gets bytes and decodes
them itself. The rate is that of the best pass, in processor time; the score is of the texts of the last.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from harness.child import Result, child_main

from extraction_peers.scoring import labelled_pages, score

Extractor = Callable[[bytes], str]


def groundup() -> Extractor:
    from groundup.corpus.extraction.extract import extract

    return lambda html: extract(html).text


def trafilatura(fast: bool) -> Extractor:
    from trafilatura import extract

    return lambda html: extract(html, fast=fast) or ""


def resiliparse() -> Extractor:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return lambda html: extract_plain_text(bytes_to_str(html, detect_encoding(html)), main_content=True)


def readability() -> Extractor:
    from lxml.html import fromstring
    from readability import Document
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    def extract(html: bytes) -> str:
        summary = Document(bytes_to_str(html, detect_encoding(html))).summary(html_partial=True)
        return "\n".join(fromstring(summary).itertext())

    return extract


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "groundup": groundup,
    "trafilatura fast": lambda: trafilatura(fast=True),
    "trafilatura": lambda: trafilatura(fast=False),
    "resiliparse": resiliparse,
    "readability-lxml": readability,
}


def run(job: Result) -> Result:
    """Pages per second, the score, and the mean size of a page."""
    pages = labelled_pages(Path(job["pages"]))[: job["limit"] or None]
    extract = EXTRACTORS[job["library"]]()
    extract(pages[0][1])
    seconds, texts = [], []
    for _ in range(job["passes"]):
        start = time.process_time()
        texts = [extract(html) for _, html, _ in pages]
        seconds.append(time.process_time() - start)
    found = score([(true, text) for (_, _, true), text in zip(pages, texts, strict=True)])
    return {
        "rate": len(pages) / min(seconds),
        **found._asdict(),
        "kilobytes": statistics.mean(len(html) for _, html, _ in pages) / 1e3,
        "pages": len(pages),
    }


if __name__ == "__main__":
    child_main(run)
