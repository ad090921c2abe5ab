"""Small inputs for the tests of crawls, and their builds."""

import gzip
import random
from pathlib import Path

from groundup.corpus.config import CorpusConfig
from groundup.corpus.crawl.build import build_crawl, join_outputs
from groundup.corpus.crawl.jobs import Jobs
from groundup.corpus.documents import Document, write_jsonl
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.jobs import run_unit
from groundup.corpus.filters.config import HeuristicsConfig

COMMON = ("the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "they", "have", "this", "on", "be")
RARE = ("river", "village", "harvest", "council", "winter", "letter", "journey", "market", "engine", "garden", "silver")
OUTPUTS = ("train.jsonl", "heldout.jsonl", "decontamination.jsonl")


class InProcess:
    """An executor that runs units right here."""

    def run(self, directory, pending, limits, done):
        for unit in pending:
            done(unit, run_unit(directory, unit))
        return {}


def prose(seed, words=150):
    """Sentences of words, so many that chance makes no two alike."""
    generator = random.Random(seed)
    drawn = [
        generator.choice(COMMON) if i % 2 else generator.choice(RARE) + str(generator.randrange(9))
        for i in range(words)
    ]
    return " ".join(word + ("." if i % 12 == 11 else "") for i, word in enumerate(drawn)) + "."


def documents(count=60):
    """Good ones, and of each kind of copy and fault a few."""
    good = [Document(f"good-{i}", prose(i), url=f"https://example.org/{i}") for i in range(count)]
    near = prose(0).split()
    near[70] = "changed"
    mail = prose(900) + " Write to ada@example.org or 192.0.2.1."
    return [
        *good,
        Document("blank", " \n​"),
        Document("short", "It is short."),
        Document("german", "Die Kinder spielten im Garten, als es zu regnen begann, und sie liefen in das Haus. " * 5),
        Document("copy", prose(1).replace(" ", "  ")),
        Document("near", " ".join(near)),
        Document("again", prose(901), url="http://www.example.org/2/"),
        Document("mail", mail),
        *(Document(f"twin-{i}", prose(902) + f" And then came number {i}.") for i in range(3)),
    ]


def files_of(folder, parts=3):
    """The documents dealt out to packed files."""
    every = random.Random(5).sample(documents(), len(documents()))
    for part in range(parts):
        write_jsonl(folder / f"part-{part}.jsonl.gz", every[part::parts])
    return folder


def config_of(folder, **changes):
    families = HeuristicsConfig(families=("gopher",))
    options = {"held_out_fraction": 0.2, "heuristics": families} | changes
    return CorpusConfig(source="files", inputs=tuple(sorted(Path(folder).iterdir())), **options)


def crawl(config, out, workers=None, limits=None):
    """Build by jobs and join their outputs; returns the result."""
    jobs = Jobs(out / "jobs", workers or InProcess(), limits or Limits())
    result = build_crawl(config, jobs)
    join_outputs(jobs, out)
    return result


def promised(out):
    """Every byte that does not depend on how often the build was killed: outputs, units and manifests."""
    files = [out / name for name in OUTPUTS]
    files += [path for path in (out / "jobs").rglob("*") if path.is_file() and path.name != "job.json"]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def page(title, text):
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n"))
    menu = '<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About</a></li></ul></nav>'
    return (
        f"<html><head><title>{title}</title></head><body>{menu}<main><h1>{title}</h1>{paragraphs}</main></body></html>"
    )


def warc(path, pages):
    """A web archive of (address, HTML) pairs, one gzip member for each record."""
    members = []
    for number, (url, html) in enumerate(pages):
        body = html if isinstance(html, bytes) else html.encode()
        block = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number:032d}>\r\nWARC-Target-URI: {url}\r\n"
            f"WARC-Date: 2024-05-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
            f"Content-Length: {len(block)}\r\n\r\n"
        )
        members.append(gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0))
    path.write_bytes(b"".join(members))
    return path
