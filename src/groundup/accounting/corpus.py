"""What building a corpus from a whole web crawl costs: time, money and storage, from the rates of a small build.

    core-seconds   max(pages / (pages a core-second), bytes / (bytes a core-second))
    time           core-seconds / (cores · share of the time that they work)
    storage        what the small build kept on disk for a byte of archive, times the archives

A crawl's pages are larger than those of most samples, and both the number of pages and their bytes cost: the larger
estimate counts. Sorting is counted as linear: its logarithm grows by less than a half from a sample to a crawl, and it
takes a few percent of the time.

A snapshot of Common Crawl has 90,000 archives of about a gigabyte; that of December 2024 (CC-MAIN-2024-51) has 2.64
billion pages of 394 TiB when unpacked (https://commoncrawl.org/blog/december-2024-crawl-archive-now-available).
"""

import math
from dataclasses import dataclass

from groundup.core.errors import ConfigError

HOURS, TERABYTE, GIGABYTE = 3600.0, 1e12, 1e9
HOURS_PER_MONTH = 730.0


@dataclass(frozen=True)
class Rates:
    """What a build achieved; a rate is of one core, a share is of the bytes of the archives or of the documents."""

    pages_per_second: float
    page_bytes_per_second: float
    stored_share: float
    """bytes on disk after the build, for a byte of archive"""
    kept_share: float
    """documents to train on, of those read"""
    kept_bytes_per_document: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; the build that is measured must read and keep documents.")


@dataclass(frozen=True)
class Snapshot:
    """A crawl."""

    archives: int = 90_000
    archive_bytes: float = 1.0e9
    pages: float = 2.64e9
    page_bytes: float = 394 * 1024**4
    """of all pages, unpacked"""


@dataclass(frozen=True)
class CloudPrices:
    """In dollars; what large clouds ask for a core and a month, spot processors cost about a third."""

    core_hour: float = 0.04
    terabyte_month: float = 23.0
    download_terabyte: float = 0.0
    """within the region of the archives nothing is asked"""


@dataclass(frozen=True)
class CorpusCost:
    """Of the whole crawl."""

    core_hours: float
    seconds: float
    bound: str
    dollars: float
    download_bytes: float
    download_seconds: float
    stored_bytes: float
    storage_dollars_per_month: float
    kept_documents: float
    kept_bytes: float


def corpus_cost(
    rates: Rates, snapshot: Snapshot, cores: int, prices: CloudPrices, gigabits: float = 100.0, busy: float = 0.9
) -> CorpusCost:
    """On so many cores that work for the share `busy` of the time, behind a network of so many gigabits a second."""
    if cores < 1:
        raise ConfigError(f"cores is {cores}; it must be at least 1.")
    if not 0 < busy <= 1 or not gigabits > 0:
        raise ConfigError(
            f"busy is {busy} and gigabits is {gigabits}; busy must be above 0 and at most 1, both positive."
        )
    by_pages = snapshot.pages / rates.pages_per_second
    by_bytes = snapshot.page_bytes / rates.page_bytes_per_second
    download = snapshot.archives * snapshot.archive_bytes
    computing = max(by_pages, by_bytes) / (cores * busy)
    downloading = download * 8 / (gigabits * GIGABYTE)
    stored = rates.stored_share * download
    core_hours = max(computing, downloading) * cores / HOURS
    kept = rates.kept_share * snapshot.pages
    bounds = {
        "network": downloading,
        "bytes of pages": by_bytes / (cores * busy),
        "number of pages": by_pages / (cores * busy),
    }
    return CorpusCost(
        core_hours=core_hours,
        seconds=max(computing, downloading),
        bound=max(bounds, key=lambda name: bounds[name]),
        dollars=core_hours * prices.core_hour + download / TERABYTE * prices.download_terabyte,
        download_bytes=download,
        download_seconds=downloading,
        stored_bytes=stored,
        storage_dollars_per_month=stored / TERABYTE * prices.terabyte_month,
        kept_documents=kept,
        kept_bytes=kept * rates.kept_bytes_per_document,
    )
