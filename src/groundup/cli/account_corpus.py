"""`groundup account corpus`: what building a corpus from a whole web crawl costs, from a build that was measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from groundup.accounting.corpus import Rates

DEFAULT_CORES = (64, 1024, 10_000)


@dataclass(frozen=True)
class Args:
    """Extrapolate a build to a full Common Crawl snapshot (90,000 archives): time on N cores, money, network, storage.

    The rates are those of a corpus that was built from web archives here: pages and bytes of HTML for each second of a
    core, what stayed on disk, what was kept. Or give them.

    examples:
      groundup account corpus corpora/crawl
      groundup account corpus corpora/crawl --cores 2000 --core-hour 0.012
      groundup account corpus --pages-per-second 150 --page-megabytes-per-second 5 --cores 64 1024
    """

    corpus: Annotated[Path | None, tyro.conf.Positional] = None
    """The folder of a corpus that was built from web archives."""
    cores: tuple[int, ...] = DEFAULT_CORES
    """How many; several are put side by side."""
    archives: int = 90_000
    """Of the crawl."""
    pages_per_second: float | None = None
    """Of one core, instead of the corpus's."""
    page_megabytes_per_second: float | None = None
    """Of HTML and one core, instead of the corpus's."""
    core_hour: float = 0.04
    """Dollars for an hour of one core."""
    terabyte_month: float = 23.0
    """Dollars for a month of a terabyte."""
    download_terabyte: float = 0.0
    """Dollars for a terabyte from the archive; 0 within its region."""
    gigabits: float = 100.0
    """A second, of the network to the archive."""
    busy: float = 0.9
    """Share of the time that the cores work."""


def run(args: Args) -> None:
    from dataclasses import replace

    from rich.console import Console
    from rich.table import Table

    from groundup.accounting.corpus import CloudPrices, Snapshot, corpus_cost
    from groundup.cli.account import count, duration, scaled

    rates = _rates(args)
    whole = Snapshot()
    share = args.archives / whole.archives
    snapshot = replace(whole, archives=args.archives, pages=whole.pages * share, page_bytes=whole.page_bytes * share)
    prices = CloudPrices(args.core_hour, args.terabyte_month, args.download_terabyte)
    costs = [corpus_cost(rates, snapshot, cores, prices, args.gigabits, args.busy) for cores in args.cores]
    table = Table(title=f"{snapshot.archives:,} archives, {count(snapshot.pages)} pages", title_justify="left")
    table.add_column("")
    for cores in args.cores:
        table.add_column(f"{cores:,} cores", justify="right")
    rows = {
        "time": [duration(cost.seconds) for cost in costs],
        "bound by": [cost.bound for cost in costs],
        "core-hours": [count(cost.core_hours) for cost in costs],
        f"at ${args.core_hour:g} a core-hour": [f"${count(cost.dollars)}" for cost in costs],
        "archives read": [scaled(cost.download_bytes, "B") for cost in costs],
        f"that takes, at {args.gigabits:g} Gbit/s": [duration(cost.download_seconds) for cost in costs],
        "tables kept on disk": [scaled(cost.stored_bytes, "B") for cost in costs],
        f"at ${args.terabyte_month:g} a TB-month": [f"${count(cost.storage_dollars_per_month)}" for cost in costs],
        "documents to train on": [count(cost.kept_documents) for cost in costs],
        "text to train on": [scaled(cost.kept_bytes, "B") for cost in costs],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    table.caption = (
        f"one core: {rates.pages_per_second:,.1f} pages/s, {scaled(rates.page_bytes_per_second, 'B')} of HTML/s; "
        f"{rates.kept_share:.1%} of documents kept, {rates.stored_share:.2f} bytes stored for a byte of archive"
    )
    Console().print(table)
    print("next: groundup account corpus with other --cores, --core-hour or --archives")


def _rates(args: Args) -> "Rates":
    """Those of the measured corpus, with what the options say instead."""
    from dataclasses import replace

    from groundup.accounting.corpus import Rates
    from groundup.core.errors import ConfigError

    if args.corpus is not None:
        rates = _measured(args.corpus)
    elif args.pages_per_second is None or args.page_megabytes_per_second is None:
        raise ConfigError(
            "There is nothing to extrapolate from; name the folder of a corpus built from web archives, or give "
            "--pages-per-second and --page-megabytes-per-second."
        )
    else:
        rates = Rates(1.0, 1.0, stored_share=0.2, kept_share=0.1, kept_bytes_per_document=4000)
    given: dict[str, Any] = {}
    if args.pages_per_second is not None:
        given["pages_per_second"] = args.pages_per_second
    if args.page_megabytes_per_second is not None:
        given["page_bytes_per_second"] = 1e6 * args.page_megabytes_per_second
    return replace(rates, **given)


def _measured(folder: Path) -> "Rates":
    """The rates of a corpus, from its result and its files."""
    from groundup.accounting.corpus import Rates
    from groundup.core.errors import InputError
    from groundup.corpus.inspection.documents import corpus_result

    result = corpus_result(folder)
    if not result.get("input_bytes") or result.get("resumed"):
        raise InputError(
            f"{folder} was not built from web archives in one go (a resumed build says nothing about its time); build "
            "one with groundup corpus build --input *.warc.gz."
        )
    read, train = result["funnel"][0], result["splits"]["train"]
    core_seconds = result["seconds"] * result["workers"]
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Rates(
        pages_per_second=read["documents"] / core_seconds,
        page_bytes_per_second=read["bytes"] / core_seconds,
        stored_share=stored / result["input_bytes"],
        kept_share=train["documents"] / read["documents"],
        kept_bytes_per_document=train["bytes"] / max(train["documents"], 1),
    )
