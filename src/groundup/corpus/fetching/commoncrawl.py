"""Common Crawl: the shards of a crawl, by its id and a range of their numbers.

    collinfo.json                             the crawls there are, the newest first
    crawl-data/<crawl>/warc.paths.gz          the paths of its pages (some 90,000 files of a gigabyte), likewise
    crawl-data/<crawl>/wet.paths.gz           wet.paths.gz for the texts that Common Crawl took from them

Layout: https://data.commoncrawl.org (checked against a server of the same layout, in the tests).
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Literal

import httpx

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, GroundupError, InputError, MissingError
from groundup.corpus.fetching.download import (
    CONNECTIONS,
    Download,
    Fetched,
    Patience,
    fetch_files,
    fetch_text,
    new_client,
)

BASE_URL = "https://data.commoncrawl.org"
CRAWLS_URL = "https://index.commoncrawl.org/collinfo.json"
NEWEST = "newest"
CRAWLS_SHOWN = 5

Kind = Literal["warc", "wet"]


def fetch_crawl(
    crawl: str,
    shards: str,
    folder: Path,
    *,
    kind: Kind = "warc",
    base_url: str = BASE_URL,
    crawls_url: str = CRAWLS_URL,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
) -> list[Fetched]:
    """Fetch shards of a crawl, such as "0:4" of "CC-MAIN-2024-22", into a folder."""
    chosen = parse_shards(shards)
    with new_client(patience) as client:
        if crawl == NEWEST:
            crawl = crawl_ids(client, crawls_url, patience)[0]
        paths = shard_paths(client, crawl, kind, base_url, crawls_url, patience)
        wanted = paths[chosen]
        if not wanted:
            raise ConfigError(
                f"--shards {shards} holds none of the {len(paths):,} shards of {crawl}; they count from 0."
            )
        downloads = [Download(f"{base_url.rstrip('/')}/{path}", path.rsplit("/", 1)[-1]) for path in wanted]
        return fetch_files(downloads, folder, client=client, connections=connections, patience=patience)


def parse_shards(shards: str) -> slice:
    """A Python slice, "0:4" or "::1000", or one number."""
    numbers = shards.split(":")
    if len(numbers) > 3 or not all(number == "" or number.isdecimal() for number in numbers) or shards == "":
        raise ConfigError(f"--shards {shards!r} is no range of shards; give one such as 0:4, 7 or 0:90000:1000.")
    if len(numbers) == 1:
        return slice(int(shards), int(shards) + 1)
    values = [int(number) if number else None for number in numbers]
    if len(values) == 3 and values[2] == 0:
        raise ConfigError(f"--shards {shards!r} has a step of 0; give at least 1.")
    return slice(*values)


def shard_paths(
    client: httpx.Client, crawl: str, kind: Kind, base_url: str, crawls_url: str, patience: Patience | None
) -> list[str]:
    """The paths of all shards of a crawl; an unknown crawl is an error that names those most like it."""
    url = f"{base_url.rstrip('/')}/crawl-data/{crawl}/{kind}.paths.gz"
    try:
        packed = fetch_text(client, url, patience)
    except MissingError as error:
        raise MissingError(f"There is no crawl {crawl!r} at {base_url}{_known(client, crawl, crawls_url)}.") from error
    try:
        paths = gzip.decompress(packed).decode().split()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{url} is no list of shards ({error}); is --base-url right?") from error
    if any(path.startswith("/") or ".." in path.split("/") for path in paths):
        raise InputError(f"{url} lists paths that lead elsewhere; is --base-url right?")
    return paths


def crawl_ids(client: httpx.Client, crawls_url: str, patience: Patience | None) -> list[str]:
    """The ids of all crawls, the newest first."""
    told = fetch_text(client, crawls_url, patience)
    try:
        return [crawl["id"] for crawl in json.loads(told)]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{crawls_url} is no list of crawls ({error}).") from error


def _known(client: httpx.Client, crawl: str, crawls_url: str) -> str:
    """Which crawls there are, for a message."""
    try:
        known = crawl_ids(client, crawls_url, Patience(attempts=2))
    except GroundupError:
        return f"; the crawls are listed at {crawls_url}"
    return f"; {nearest(crawl, known)} The newest are {', '.join(known[:CRAWLS_SHOWN])}"
