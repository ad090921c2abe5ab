"""`groundup corpus dedup`: copies out of files of documents."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from groundup.corpus.dedup.config import DeduplicationConfig, SegmentConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundup.corpus.documents import Document


@dataclass(frozen=True)
class Args:
    """Remove copies from documents: of one address, of one text, near copies; and lines, paragraphs or spans of three
    sentences that occur again. One of each stays, chosen by a seeded hash of the document's id; --segments.keep none
    removes every copy of a line that occurs more than once. What is dropped is written beside, each with its reason.

    The documents are held in memory; for more than that, groundup corpus build removes copies in work units.

    examples:
      groundup corpus dedup --input pages.jsonl.gz --out unique.jsonl
      groundup corpus dedup --input a.jsonl b.jsonl --out c.jsonl.zst --steps exact near --deduplication.threshold 0.7
      groundup corpus dedup --input pages.jsonl --out lines.jsonl --steps segments --segments.keep none
    """

    input: tuple[Path, ...]
    """Files and folders of documents."""
    out: Path
    """The .jsonl file to write, or .jsonl.gz or .jsonl.zst."""
    steps: tuple[Literal["url", "exact", "segments", "near"], ...] = ("url", "exact", "near")
    """What is done, step after step."""
    seed: int = 9
    """Decides which of several copies stays."""
    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)


def run(args: Args) -> None:
    from groundup.corpus.reading.formats import read_documents
    from groundup.corpus.steps import remove_copies, remove_segments

    done, pieces = read_documents(args.input), 0
    for step in args.steps:
        if step == "segments":
            done, gone = remove_segments(done, args.segments, args.seed)
            pieces += gone
        else:
            done = remove_copies(done, step, args.deduplication, args.seed)
    counts = Counter(document.drop_reason for document in done if document.drop_reason)
    told = [f"{count:,} {str(reason).replace('_', ' ')}" for reason, count in counts.items()]
    told += [f"{pieces:,} repeated pieces cut out"] if "segments" in args.steps else []
    kept, rejected = write_kept_and_rejected(args.out, done)
    print(
        f"{kept:,} of {len(done):,} documents stay ({', '.join(told) or 'no copies'}): {args.out}; others: {rejected}"
    )


def write_kept_and_rejected(out: Path, documents: "Sequence[Document]") -> tuple[int, Path]:
    """The documents that stay, and beside them those that do not; returns how many stay and the other file."""
    from groundup.corpus.documents import write_jsonl

    rejected = out.with_name(f"rejected-{out.name}")
    write_jsonl(rejected, (document for document in documents if document.drop_reason))
    return write_jsonl(out, (document for document in documents if not document.drop_reason)), rejected
