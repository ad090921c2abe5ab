"""`groundup corpus dedup`: copies out of files of documents."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.config import DeduplicationConfig, SeenConfig, SegmentConfig, SubstringConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundup.corpus.documents import Document


@dataclass(frozen=True)
class Args:
    """Remove copies from documents, step after step. What is dropped is written beside, each with its reason.

    url, exact, near: of the documents of one address, of one text, of one cluster of near copies one stays, chosen by a
    seeded hash of its id. segments: lines, paragraphs or spans of three sentences that occur again are cut out of all
    documents but one; --segments.keep none cuts every copy of a line that occurs more than once. substrings: the same
    of any stretch of 200 bytes. seen: what a Bloom filter of earlier runs has is dropped.

    The documents are held in memory; for more than that, groundup corpus build removes copies in work units.

    examples:
      groundup corpus dedup --input pages.jsonl.gz --out unique.jsonl
      groundup corpus dedup --input a.jsonl b.jsonl --out c.jsonl.zst --steps exact near --deduplication.threshold 0.7
      groundup corpus dedup --input pages.jsonl --out lines.jsonl --steps segments --segments.keep none
      groundup corpus dedup --input code.jsonl --out cut.jsonl --steps exact substrings --substrings.length 400
      groundup corpus dedup --input june.jsonl --out new.jsonl --steps seen --seen.read a.bloom --seen.write b.bloom
    """

    input: tuple[Path, ...]
    """Files and folders of documents."""
    out: Path
    """The .jsonl file to write, or .jsonl.gz or .jsonl.zst."""
    steps: tuple[Literal["url", "exact", "seen", "segments", "substrings", "near"], ...] = ("url", "exact", "near")
    """What is done, step after step."""
    seed: int = 9
    """Decides which of several copies stays."""
    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    substrings: SubstringConfig = field(default_factory=SubstringConfig)
    seen: SeenConfig = field(default_factory=SeenConfig)

    def __post_init__(self) -> None:
        if "seen" not in self.steps and (self.seen.read or self.seen.write):
            raise ConfigError("A Bloom filter is given, but `seen` is not among the steps; add it to --steps.")


def run(args: Args) -> None:
    from groundup.corpus.dedup.bloom import BloomFilter
    from groundup.corpus.reading.formats import read_documents
    from groundup.corpus.steps import remove_copies, remove_long_repeats, remove_seen, remove_segments

    seen = BloomFilter.load(args.seen.read) if args.seen.read else None
    done, cuts = read_documents(args.input), []
    for step in args.steps:
        if step == "seen":
            seen = seen or BloomFilter.for_items(args.seen.items, args.seen.false_positives)
            done = remove_seen(done, seen)
        elif step == "segments" or step == "substrings":
            cut = remove_segments(done, args.segments, args.seed) if step == "segments" else None
            done, gone = cut or remove_long_repeats(done, args.substrings)
            cuts.append(f"{gone['pieces']:,} repeated {step} with {gone['bytes']:,} bytes cut out")
        else:
            done = remove_copies(done, step, args.deduplication, args.seed)
    counts = Counter(document.drop_reason for document in done if document.drop_reason)
    told = [*(f"{count:,} {str(reason).replace('_', ' ')}" for reason, count in counts.items()), *cuts]
    kept, rejected = write_kept_and_rejected(args.out, done)
    print(
        f"{kept:,} of {len(done):,} documents stay ({', '.join(told) or 'no copies'}): {args.out}; others: {rejected}"
    )
    if seen and args.seen.write:
        seen.save(args.seen.write)
        print(f"{args.seen.write}: the texts seen up to now; {seen.fill:.1%} of its {seen.bits:,} bits are set")


def write_kept_and_rejected(out: Path, documents: "Sequence[Document]") -> tuple[int, Path]:
    """The documents that stay, and beside them those that do not; returns how many stay and the other file."""
    from groundup.corpus.documents import write_jsonl

    rejected = out.with_name(f"rejected-{out.name}")
    write_jsonl(rejected, (document for document in documents if document.drop_reason))
    return write_jsonl(out, (document for document in documents if not document.drop_reason)), rejected
