"""Files over HTTP that arrive whole: resumed where they were cut off, retried, verified, renamed when they are right.

    .part-NAME         what has arrived; kept across kills, and continued by a Range request (RFC 9110, 14)
    .part-NAME.json    the server's validator (ETag or date) of that part: If-Range starts over if the file has changed
    manifest.json      url, bytes, sha256 and date of every finished file; a second fetch verifies against it

Verified is the length always, and the checksum where one is published: given by the caller, or by the server as
Hugging Face's `X-Linked-ETag` (SHA-256). The manifest is written before the file is renamed, so that a name means a
verified file. Proxies are taken from the environment (HTTPS_PROXY and so on).
"""

import errno
import hashlib
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import httpx

from groundup import __version__
from groundup.core.errors import GroundupError, InputError, MissingError, OutputError
from groundup.core.files import make_directory, read_json, require_writable, write_json
from groundup.core.logging import get_logger
from groundup.core.progress import progress

USER_AGENT = f"groundup/{__version__} (corpus fetch)"
PART_PREFIX = ".part-"
MANIFEST = "manifest.json"
CONNECTIONS = 4
MOST_WAIT_SECONDS = 60.0
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
SHA256 = re.compile(r"[0-9a-f]{64}")
Answer = TypeVar("Answer")
logger = get_logger(__name__)


@dataclass(frozen=True)
class Download:
    """A file to fetch: its address, its name in the folder, and what was published about it."""

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A line of the manifest."""

    name: str
    url: str
    bytes: int
    sha256: str
    date: str


@dataclass(frozen=True)
class Patience:
    """How often a request is tried without a new byte, and how long is waited: start * 2^n seconds, and by chance."""

    attempts: int = 8
    start_seconds: float = 1.0
    timeout_seconds: float = 60.0


class _RetryError(Exception):
    """What may be gone at the next attempt; `wait_seconds` is what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def new_client(patience: Patience | None = None) -> httpx.Client:
    """A client that names itself, follows redirects and takes bytes as they are."""
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    seconds = (patience or Patience()).timeout_seconds
    return httpx.Client(headers=headers, follow_redirects=True, timeout=httpx.Timeout(seconds, connect=20.0))


def fetch_text(client: httpx.Client, url: str, patience: Patience | None = None) -> bytes:
    """A small file's bytes, such as a list of files; a 404 is a `MissingError`."""
    patience = patience or Patience()

    def attempt() -> bytes:
        response = client.get(url)
        _check_status(response)
        return response.content

    return _retried(attempt, url, patience, lambda: 0, threading.Event())


def fetch_files(
    downloads: Sequence[Download],
    folder: Path,
    *,
    client: httpx.Client | None = None,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
) -> list[Fetched]:
    """Fetch files into a folder, a few at once; those that the manifest has and that are unchanged stay as they are."""
    require_writable(folder)
    patience = patience or Patience()
    own = new_client(patience) if client is None else nullcontext(client)
    with own as client, ThreadPoolExecutor(connections) as threads:
        manifest = _Manifest(folder)
        finished = list(threads.map(manifest.verified, downloads))
        missing = [download for download, there in zip(downloads, finished, strict=True) if there is None]
        missing = list(threads.map(lambda download: _asked(client, download), missing))
        _require_space(folder, missing)
        sizes = [download.size for download in missing]
        megabytes = None if None in sizes else round(sum(size or 0 for size in sizes) / 1e6)
        done = sum(_size(_part(folder / download.name)) for download in missing) / 1e6
        with progress("fetch MB", megabytes, done=round(done)) as advance:
            state = _State(threading.Event(), threading.Lock(), manifest, advance)
            futures = [threads.submit(_fetch, client, download, folder, patience, state) for download in missing]
            try:
                over = wait(futures, return_when=FIRST_EXCEPTION).done
                for future in over:
                    future.result()
            except BaseException:
                state.stop.set()
                threads.shutdown(cancel_futures=True)
                raise
    return [manifest.entry(download.name) for download in downloads]


class _Manifest:
    """The finished files of a folder; written anew, whole, with every change."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST
        written = read_json(self.path) if self.path.exists() else {}
        entries = written.get("files", []) if isinstance(written, dict) else []
        try:
            self.entries = {entry["name"]: Fetched(**entry) for entry in entries}
        except (TypeError, KeyError) as error:
            raise InputError(f"{self.path} is no manifest of fetched files ({error}); move it away.") from error

    def entry(self, name: str) -> Fetched:
        return self.entries[name]

    def add(self, fetched: Fetched) -> None:
        self.entries[fetched.name] = fetched
        write_json(self.path, {"files": [asdict(self.entries[name]) for name in sorted(self.entries)]})

    def verified(self, download: Download) -> Fetched | None:
        """The entry of a file that is there, has its hash and came from the same address."""
        path, entry = self.path.parent / download.name, self.entries.get(download.name)
        if entry is None or not path.exists() or entry.url != download.url:
            return None
        if download.sha256 not in (None, entry.sha256):
            return None
        if _size(path) == entry.bytes and _hash(path, "sha256") == entry.sha256:
            return entry
        logger.warning("%s is not what was fetched; it is fetched again", path)
        return None


@dataclass(frozen=True)
class _State:
    """What the threads share."""

    stop: threading.Event
    lock: threading.Lock
    manifest: _Manifest
    advance: Callable[..., None]

    def told(self, size: int, name: str) -> None:
        """Move the progress bar by bytes of a file."""
        with self.lock:
            self.advance(size / 1e6, name)


def _asked(client: httpx.Client, download: Download) -> Download:
    """The download with the size and checksum that the server tells; without them where it does not."""
    try:
        response = client.head(download.url)
    except httpx.HTTPError:
        return download  # a true fault shows, and is retried, when the file is asked for
    if response.status_code != 200:
        return download
    size, sha256 = download.size, download.sha256
    for answer in (*response.history, response):
        linked = answer.headers.get("x-linked-etag", "").strip('"')
        sha256 = sha256 or (linked if SHA256.fullmatch(linked) else None)
    length = response.headers.get("content-length", "")
    size = size if size is not None or not length.isdigit() else int(length)
    return Download(download.url, download.name, size, sha256, download.md5)


def _require_space(folder: Path, missing: Sequence[Download]) -> None:
    """Refuse before the work what the disk cannot hold."""
    needed = sum(max((one.size or 0) - _size(_part(folder / one.name)), 0) for one in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"Cannot fetch {needed / 1e9:.1f} GB into {folder}: the disk has {free / 1e9:.1f} GB free. "
            "Choose another place with --out, fetch fewer shards, or free space there."
        )


def _fetch(client: httpx.Client, download: Download, folder: Path, patience: Patience, state: _State) -> None:
    """Fetch one file, verify it, and give it its name; what does not verify is fetched once more from the start."""
    path = folder / download.name
    make_directory(path.parent)
    part = _part(path)
    for last in (False, True):
        size = _retried(
            lambda: _receive(client, download, part, state), download.url, patience, lambda: _size(part), state.stop
        )
        if state.stop.is_set():
            return
        fault = _fault(part, download, size)
        if fault is None:
            break
        remove_part(path)
        if last:
            raise InputError(f"{download.url} was fetched twice and {fault}; what came was deleted. Try again later.")
        logger.warning("%s %s; it is fetched again", download.url, fault)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    fetched = Fetched(download.name, download.url, _size(part), _hash(part, "sha256"), date)
    with _about_writing(path), open(part, "rb+") as file:
        os.fsync(file.fileno())
    with state.lock:
        state.manifest.add(fetched)
    os.replace(part, path)
    remove_part(path)


def _receive(client: httpx.Client, download: Download, part: Path, state: _State) -> int | None:
    """Append to a part what is missing of it; returns the whole size, where the server told it."""
    there, validator = _size(part), _validator(part)
    if there and there == download.size:
        return there
    headers = {"Range": f"bytes={there}-"} if there else {}
    if there and validator:
        headers["If-Range"] = validator
    with client.stream("GET", download.url, headers=headers) as response:
        if response.status_code == 416:  # the part is whole, or longer than the file has become
            total = _total(response)
            if total != there:
                _restart(part, state)
                raise _RetryError("the part did not fit the file")
            return total
        _check_status(response)
        if response.status_code != 206 or not _continues(response, there):
            _restart(part, state)  # the server ignored the range, or the file has changed
            there = 0
        total = _total(response)
        _keep_validator(part, response)
        with _about_writing(part), open(part, "ab", buffering=0) as file:
            for chunk in response.iter_raw():  # as they come: what has arrived outlives a broken connection
                file.write(chunk)
                there += len(chunk)
                state.told(len(chunk), download.name)
                if state.stop.is_set():
                    return None
        if total is not None and there < total:
            raise _RetryError(f"the connection ended after {there:,} of {total:,} bytes")
        return total


def _retried(
    attempt: Callable[[], Answer], url: str, patience: Patience, arrived: Callable[[], int], stop: threading.Event
) -> Answer:
    """The answer of an attempt, tried again after faults that may pass; new bytes start the count anew."""
    tried, before = 0, arrived()
    while True:
        try:
            return attempt()
        except (_RetryError, httpx.TransportError) as error:
            reason, asked = str(error) or type(error).__name__, getattr(error, "wait_seconds", 0.0)
        now = arrived()
        tried = 1 if now > before else tried + 1
        before = now
        if tried >= patience.attempts or stop.is_set():
            raise InputError(
                f"Cannot fetch {url}: {reason} ({tried} attempts). Check the network (and HTTPS_PROXY, if you need a "
                "proxy), then give the same command again: it continues where it was."
            )
        seconds = patience.start_seconds * 2 ** (tried - 1) * random.uniform(0.75, 1.25)
        seconds = min(max(seconds, asked), MOST_WAIT_SECONDS)
        logger.warning("%s: %s; again in %.0f s (%d of %d attempts)", url, reason, seconds, tried, patience.attempts)
        stop.wait(seconds)


def _check_status(response: httpx.Response) -> None:
    """Raise what a status that is no success means."""
    status = response.status_code
    if status in RETRIED_STATUS:
        asked = response.headers.get("retry-after", "")
        raise _RetryError(f"the server answered {status}", float(asked) if asked.isdigit() else 0.0)
    if status in (404, 410):
        raise MissingError(f"There is no {response.request.url} (the server answered {status}); check the name.")
    if status not in (200, 206):
        raise InputError(f"Cannot fetch {response.request.url}: the server answered {status}; is access restricted?")


def _continues(response: httpx.Response, there: int) -> bool:
    return response.headers.get("content-range", "").startswith(f"bytes {there}-")


def _total(response: httpx.Response) -> int | None:
    """The size of the whole file by the headers of an answer."""
    told = response.headers.get("content-range", "").rpartition("/")[2]
    if not told and response.status_code == 200:
        told = response.headers.get("content-length", "")
    return int(told) if told.isdigit() else None


def _fault(part: Path, download: Download, size: int | None) -> str | None:
    """What is wrong with a file that has arrived."""
    there = _size(part)
    for expected in (size, download.size):
        if expected is not None and there != expected:
            return f"has {there:,} bytes instead of {expected:,}"
    for algorithm, expected in (("sha256", download.sha256), ("md5", download.md5)):
        if expected is not None and (found := _hash(part, algorithm)) != expected:
            return f"has the {algorithm} {found} instead of {expected}"
    return None


def _restart(part: Path, state: _State) -> None:
    state.told(-_size(part), part.name.removeprefix(PART_PREFIX))
    with _about_writing(part):
        part.write_bytes(b"")


def _part(path: Path) -> Path:
    return path.with_name(PART_PREFIX + path.name)


def remove_part(path: Path) -> None:
    """Delete what has arrived of a file."""
    part = _part(path)
    for leftover in (part, part.with_name(f"{part.name}.json")):
        leftover.unlink(missing_ok=True)


def _validator(part: Path) -> str | None:
    about = part.with_name(f"{part.name}.json")
    try:
        return read_json(about).get("validator")
    except (GroundupError, AttributeError):  # none, or one that a kill cut off: the checksum or length decides
        return None


def _keep_validator(part: Path, response: httpx.Response) -> None:
    etag = response.headers.get("etag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")
    write_json(part.with_name(f"{part.name}.json"), {"validator": validator})


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _hash(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def _about_writing(path: Path) -> Iterator[None]:
    """An OSError inside the block is a fault of the place; what has arrived stays for the next run."""
    try:
        yield
    except OSError as error:
        if isinstance(error, GroundupError):
            raise
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror).lower()
        raise OutputError(
            f"Cannot write {path}: {reason}. Free space there, or choose another place with --out; "
            "the same command continues where it was."
        ) from error
