"""What happens to a batch of pages, in a process that may be killed: addresses, extraction, and the stages of text.

    annotate_pages(config, pages) -> one `Annotated` a page

The address is looked at first, because a page of a blocked host need not be extracted. A page that comes as text (WET,
JSON lines) is not extracted either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.corpus.annotation import Annotated, address_fault, annotate
from groundup.corpus.config import CorpusConfig
from groundup.corpus.documents import Document, drop
from groundup.corpus.extraction.extract import extract
from groundup.corpus.pipeline import STAGES_OF_ONE

STAGES_OF_PAGES = ("read", "addresses", "extract", *STAGES_OF_ONE[2:])


@dataclass(frozen=True)
class Page:
    """One record as read: HTML bytes or text; `facts` become the document's `meta`."""

    id: str
    url: str | None
    source: str
    html: bytes | None = None
    charset: str | None = None
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return len(self.text.encode() if self.html is None else self.html)


def annotate_pages(config: CorpusConfig, pages: Sequence[Page]) -> list[Annotated]:
    """Everything that is known about each page by itself."""
    found = [_extracted(page, config) for page in pages]
    annotate(found, config)
    return found


def put_aside(page: Page, reason: str) -> Annotated:
    """A page that could not be worked on; it is in the quarantine of the rejected documents."""
    document = Document(page.id, "", page.url, page.source, page.facts)
    return Annotated(drop(document, "extract", f"quarantine_{reason}"), sizes={"read": page.bytes})


def _extracted(page: Page, config: CorpusConfig) -> Annotated:
    read = {"read": page.bytes}
    if page.html is None:
        return Annotated(Document(page.id, page.text, page.url, page.source, page.facts), sizes=read)
    if reason := address_fault(page.url, config):
        return Annotated(
            drop(Document(page.id, "", page.url, page.source, page.facts), "addresses", reason), sizes=read
        )
    found = extract(page.html, page.charset, config.extractor)
    facts = {"title": found.title, "encoding": found.encoding, "replaced_share": found.replaced}
    meta = page.facts | {name: value for name, value in facts.items() if value}
    document = Document(page.id, found.text, page.url, page.source, meta)
    if found.fault or not found.text.strip():
        return Annotated(drop(document, "extract", found.fault or "no_text"), sizes=read)
    return Annotated(document, sizes=read | {"extract": document.bytes})
