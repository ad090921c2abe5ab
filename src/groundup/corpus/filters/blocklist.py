"""Addresses that are not worth reading: lists of domains and addresses, and words in the address.

    blocklist = load_blocklist([Path("blacklists"), Path("mine.txt")])
    url_faults(["https://a.example/x"], blocklist)      [("domain_adult",)]

A path may be a folder in the layout of the University of Toulouse's lists (UT1, https://dsi.ut-capitole.fr/blacklists/,
a folder per category with files `domains` and `urls`), such a category's folder, or a file with one host or address per
line (`.gz` too; from `#` on a line is a comment), whose category is the file's name. As in squidGuard, for which UT1 is
made, a domain stands for all hosts below it and an address for all addresses below it. UT1's `expressions` are
regular expressions for another engine and are not read.

Words in the address follow RefinedWeb (arXiv:2306.01116, appendix G.1), three degrees of severity:

    strict   anywhere, also across dots and hyphens    http://foobann.edsub-wo.rdbar.com
    hard     as a whole word                           http://www.foo.bannedword-bar.com
    soft     two different ones as whole words         http://www.foo.soft1-bar-soft2.com

RefinedWeb's lists are not published; the defaults here are its printed examples and a few that mean nothing else. Other
subjects (medicine, law, art) are why the soft ones need company.
"""

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from groundup.core.errors import InputError, MissingError
from groundup.corpus.filters.hosts import HostTable
from groundup.corpus.urls import host_of, normalize_url

UT1_FILES = ("domains", "urls")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class UrlWords:
    """Words in lower case, letters and digits only."""

    strict: frozenset[str] = frozenset(
        (
            "xvideos",
            "groupsex",
            "pornhub",
            "xhamster",
            "xnxx",
            "redtube",
            "youporn",
            "pornstar",
            "freeporn",
            "pornotube",
        )
    )
    hard: frozenset[str] = frozenset(("porn", "porno", "xxx", "orgy", "hentai", "gangbang", "blowjob", "cumshot"))
    soft: frozenset[str] = frozenset(("sex", "sexy", "webcam", "escort", "erotic", "nude", "naked", "adult", "cams"))

    def __post_init__(self) -> None:
        for word in (*self.strict, *self.hard, *self.soft):
            if not _WORD.fullmatch(word):
                raise InputError(f"The address word {word!r} must be of lower-case letters and digits alone.")


@dataclass(frozen=True)
class Blocklist:
    """Hosts, and address keys (`normalize_url`), each with its category."""

    hosts: HostTable = field(default_factory=HostTable)
    urls: dict[str, str] = field(default_factory=dict)


def load_blocklist(paths: Sequence[Path], categories: Sequence[str] | None = None) -> Blocklist:
    """Read lists; of folders in UT1's layout only the categories named, or all."""
    urls: dict[str, str] = {}

    def host(category: str, line: str) -> str | None:
        """The host that a line names; an address is noted instead."""
        key = normalize_url(line.partition("#")[0].strip())
        if "/" in key or "?" in key:
            urls.setdefault(key, category)
            return None
        return key

    lists = ((category, _read(file)) for path in paths for file, category in _files(path, categories))
    return Blocklist(HostTable(lists, host), urls)


def url_faults(
    urls: Sequence[str | None], blocklist: Blocklist, words: UrlWords | None = None
) -> list[tuple[str, ...]]:
    """For each address the reasons to drop its page: `domain_<category>`, `url_<category>`, `url_<degree>_word`."""
    words = words or UrlWords()
    strict = re.compile("|".join(map(re.escape, sorted(words.strict))) or r"(?!)")
    return [_faults(url, blocklist, words, strict) if url else () for url in urls]


def _faults(url: str, blocklist: Blocklist, words: UrlWords, strict: re.Pattern[str]) -> tuple[str, ...]:
    found = []
    if len(blocklist.hosts) and (category := _lookup_host(host_of(url), blocklist.hosts)):
        found.append(f"domain_{category}")
    if blocklist.urls and (category := _lookup_path(normalize_url(url), blocklist.urls)):
        found.append(f"url_{category}")
    parts = _WORD.findall(url.lower())
    if strict.search("".join(parts)):
        found.append("url_strict_word")
    if not words.hard.isdisjoint(parts):
        found.append("url_hard_word")
    if len(words.soft.intersection(parts)) >= 2:
        found.append("url_soft_words")
    return tuple(found)


def _lookup_host(host: str, hosts: HostTable) -> str | None:
    """The category of a host or of a domain above it."""
    while host:
        if category := hosts.get(host):
            return category
        host = host.partition(".")[2]
    return None


def _lookup_path(key: str, urls: dict[str, str]) -> str | None:
    """The category of an address or of one above it: without its query, without its last part."""
    while True:
        if category := urls.get(key):
            return category
        shorter = key.rpartition("?" if "?" in key else "/")[0]
        if not shorter:
            return None
        key = shorter


def _files(path: Path, categories: Sequence[str] | None) -> Iterator[tuple[Path, str]]:
    if not path.exists():
        raise MissingError(f"There is no blocklist {path}; give a file, or a folder in the layout of UT1.")
    if path.is_file():
        yield path, path.name.split(".")[0]
        return
    folders = [path] if _lists(path) else sorted(folder for folder in path.iterdir() if folder.is_dir())
    known = {folder.name: _lists(folder) for folder in folders if _lists(folder)}
    if not known:
        raise InputError(f"{path} holds no category folders with files named domains or urls; give one that does.")
    for category in known if categories is None else categories:
        if category not in known:
            raise MissingError(f"{path} has no category {category!r}; it has {', '.join(known)}.")
        for file in known[category]:
            yield file, category


def _lists(folder: Path) -> list[Path]:
    names = [name + ending for name in UT1_FILES for ending in ("", ".gz")]
    return [folder / name for name in names if (folder / name).is_file()]


def _read(path: Path) -> bytes:
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        return file.read()
