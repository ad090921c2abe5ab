"""Real web pages in many languages as WARC files, from Debian's packages of documentation.

    installation-guide-amd64    19 languages x 84 pages
    debian-handbook             some 26 languages x 127 pages
    postgresql-doc-15, python3.11-doc    English reference manuals: long pages, tables, code

The packages come by `apt-get download` and `dpkg -x` into `benchmarks/.cache/`; nothing is installed and no version is
pinned. The files look like Common Crawl's: a `warcinfo`, then for every page its request, its response with the HTTP
headers a server would send, and its metadata, one gzip member each. Every byte is a function of the pages: ids are
UUIDs of the URL, dates come from a hash of it, pages are in the order of such a hash. So the languages are mixed, and
a file is a sample of all of them.

    python benchmarks/harness/debian_pages.py --out pages/ --files 4
"""

import argparse
import hashlib
import json
import subprocess
import sys
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `harness` is, also when this file is run itself

from harness.measure import console
from harness.real_text import CACHE, cache_folder, fetch_debian, files

LEAST_PAGES = 4000
RECIPE = 2  # goes up with every change here that changes the files
LEVEL = 6  # gzip's default, which Common Crawl uses
SERVERS = ("nginx/1.22.1", "Apache/2.4.57 (Debian)", "cloudflare", "Apache")
# package: (the folder its pages are in, the address at which the same pages are on the web)
PACKAGES = {
    "installation-guide-amd64": ("usr/share/doc/installation-guide-amd64", "https://www.debian.org/releases/bookworm"),
    "debian-handbook": ("usr/share/doc/debian-handbook/html", "https://debian-handbook.info/browse"),
    "postgresql-doc-15": ("usr/share/doc/postgresql-doc-15/html", "https://www.postgresql.org/docs/15"),
    "python3.11-doc": ("usr/share/doc/python3.11/html", "https://docs.python.org/3.11"),
}


class Page(NamedTuple):
    """A page's address, the code of its language where the folder tells it, and its HTML."""

    url: str
    language: str
    body: bytes

    @property
    def order(self) -> bytes:
        """A hash of the address: the order of pages, and where their made-up facts come from."""
        return hashlib.blake2b(self.url.encode(), digest_size=8).digest()


def warc_files(number: int = 4, packages: Sequence[str] = tuple(PACKAGES)) -> list[Path]:
    """The pages of the packages in so many WARC files, in the cache; made where they are missing."""
    cache_folder()
    folders = {name: unpacked(name) for name in packages}
    key = hashlib.sha256(
        "\n".join([str(RECIPE), *sorted(folder.name for folder in folders.values())]).encode()
    ).hexdigest()[:12]
    place = CACHE / f"pages-{number}-{key}"
    if not (place / "facts.json").exists():
        pages = [page for name, folder in folders.items() for page in pages_of(name, folder)]
        if len(packages) == len(PACKAGES) and len(pages) < LEAST_PAGES:
            raise SystemExit(f"The Debian packages hold only {len(pages)} pages; {LEAST_PAGES} are needed.")
        write_warcs(pages, place, number)
    return sorted(place.glob("*.warc.gz"))


def unpacked(name: str) -> Path:
    """The folder of an unpacked package, fetched where the cache has none."""
    place = CACHE / "debian" / name
    there = sorted(path for path in place.glob("*") if path.is_dir() and not path.name.startswith("."))
    try:
        return there[0] if there else fetch_debian(name, place)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise SystemExit(f"Cannot have the Debian package {name}: {said[-1]}. Try: apt-get update.") from error


def pages_of(name: str, folder: Path) -> Iterator[Page]:
    """Every HTML page of a package; a page of several languages has the language's folder in its address."""
    inside, address = PACKAGES[name]
    for path in files(folder / inside, (".html",)):
        place = path.relative_to(folder / inside)
        several = name in ("installation-guide-amd64", "debian-handbook")
        language = place.parts[0].replace("_", "-") if several and len(place.parts) > 1 else "en"
        yield Page(f"{address}/{place.as_posix()}", language, path.read_bytes())


def write_warcs(pages: Iterable[Page], folder: Path, number: int) -> list[Path]:
    """Deal the pages out to so many files, each the same size give or take a page; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(pages, key=lambda page: page.order)
    written = []
    for which in range(number):
        path = folder / f"debian-pages-{which:05d}.warc.gz"
        path.write_bytes(b"".join(gzip_member(record) for record in records(ordered[which::number], path.name)))
        written.append(path)
    languages = sorted({page.language for page in ordered})
    facts = {"pages": len(ordered), "bytes": sum(len(page.body) for page in ordered), "languages": languages}
    (folder / "facts.json").write_text(json.dumps(facts, indent=2))
    return written


def records(pages: Iterable[Page], name: str) -> Iterator[bytes]:
    """The records of one file, each with its WARC header."""
    yield warc_record("warcinfo", name, "application/warc-fields", b"software: groundup\r\nformat: WARC/1.0\r\n\r\n")
    for page in pages:
        path = "/" + page.url.split("/", 3)[3]
        host = page.url.split("/")[2]
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: groundup\r\nAccept: text/html\r\n\r\n".encode()
        yield warc_record("request", page.url, "application/http; msgtype=request", request)
        yield warc_record("response", page.url, "application/http; msgtype=response", response(page))
        yield warc_record("metadata", page.url, "application/warc-fields", b"fetchTimeMs: 120\r\n\r\n")


def response(page: Page) -> bytes:
    """A page behind the headers of a server; every third one leaves the charset to the page."""
    dice = page.order
    charset = "" if dice[0] % 3 == 0 else "; charset=utf-8"
    headers = (
        "HTTP/1.1 200 OK",
        f"Server: {SERVERS[dice[1] % len(SERVERS)]}",
        f"Date: {date_of(page.url)[1]}",
        f"Content-Type: text/html{charset}",
        f"Content-Length: {len(page.body)}",
        f"Content-Language: {page.language}",
        "X-Crawl-Content-Encoding: gzip",
        "Vary: Accept-Encoding",
        "Connection: close",
    )
    return "\r\n".join(headers).encode() + b"\r\n\r\n" + page.body


def warc_record(kind: str, url: str, content_type: str, block: bytes) -> bytes:
    """A WARC/1.0 record (ISO 28500) with the headers that Common Crawl writes."""
    digest = hashlib.sha1(block).hexdigest().upper()
    headers = (
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Date: {date_of(url)[0]}",
        f"WARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {url}')}>",
        f"Content-Length: {len(block)}",
        f"Content-Type: {content_type}",
        f"WARC-Filename: {url}" if kind == "warcinfo" else f"WARC-Target-URI: {url}",
        f"WARC-Block-Digest: sha1:{digest}",
        *(["WARC-Identified-Payload-Type: text/html"] if kind == "response" else []),  # datatrove reads no page without
    )
    return "\r\n".join(headers).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def date_of(url: str) -> tuple[str, str]:
    """A made-up time in May 2024, in WARC's form and in HTTP's."""
    dice = hashlib.blake2b(url.encode(), digest_size=4).digest()
    day, hour, minute, second = 1 + dice[0] % 7, dice[1] % 24, dice[2] % 60, dice[3] % 60
    weekday = ("Wed", "Thu", "Fri", "Sat", "Sun", "Mon", "Tue")[day - 1]  # 1 May 2024 was a Wednesday
    time = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"2024-05-{day:02d}T{time}Z", f"{weekday}, {day:02d} May 2024 {time} GMT"


def gzip_member(data: bytes) -> bytes:
    """One gzip member without a name or time."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="the folder to write; without it the benchmarks' cache")
    parser.add_argument("--files", type=int, default=4, help="how many WARC files")
    options = parser.parse_args()
    if options.out is None:
        written = warc_files(options.files)
    else:
        cache_folder()
        pages = (page for name in PACKAGES for page in pages_of(name, unpacked(name)))
        written = write_warcs(pages, options.out, options.files)
    facts = json.loads((written[0].parent / "facts.json").read_text())
    size = sum(path.stat().st_size for path in written)
    console.print(
        f"{facts['pages']:,} pages ({facts['bytes'] / 1e6:.0f} MB) in {len(facts['languages'])} languages: "
        f"{len(written)} WARC files of {size / 1e6:.0f} MB in {written[0].parent}"
    )


if __name__ == "__main__":
    main()
