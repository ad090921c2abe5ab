"""HTML to text, one function for all extractors.

    groundup      decoding -> guard -> lexbor -> flat tree -> main content -> text (the modules beside this one)
    resiliparse   its main-content extraction: fast, coarser
    trafilatura   its fast mode: slow, the reference of the field

Every page is decoded and looked through here first, so all of them get text that is Unicode and no page that would
stall a parser. Nothing is lost silently: a page that is refused says why in `fault`, and the share of characters that
did not decode is in `replaced`.
"""

from typing import Any, NamedTuple

import numpy as np
from selectolax.lexbor import LexborHTMLParser

from groundup.core.errors import ConfigError, MissingError
from groundup.corpus.extraction import markup
from groundup.corpus.extraction.decoding import decode
from groundup.corpus.extraction.guard import check
from groundup.corpus.extraction.main_content import main_content
from groundup.corpus.extraction.rendering import render
from groundup.corpus.extraction.tree import Tree, plain_text, scan

EXTRACTORS = ("groundup", "resiliparse", "trafilatura")
SEPARATORS = (" | ", " - ", " – ", " — ", " · ", " :: ", " » ", " « ", " • ")


class Extraction(NamedTuple):
    """The readable text of a page. With a `fault` there is none, and the fault says why."""

    text: str
    title: str
    encoding: str
    replaced: float  # share of the characters that did not decode and are U+FFFD
    fault: str | None = None


def extract(html: bytes, charset: str | None = None, extractor: str = "groundup") -> Extraction:
    """The main content of a page; `charset` is what the server declared."""
    if extractor not in EXTRACTORS:
        raise ConfigError(f"There is no extractor {extractor!r}; there are {', '.join(EXTRACTORS)}.")
    decoded = decode(html, charset)
    checked = check(html if decoded.encoding == "utf-8" and not decoded.replaced else decoded.text.encode())
    if checked.fault:
        return Extraction("", "", decoded.encoding, decoded.replaced, checked.fault)
    if extractor == "trafilatura":
        text, title = with_trafilatura(decoded.text)
    elif extractor == "resiliparse":
        text, title = with_resiliparse(decoded.text)
    else:
        text, title = with_groundup(checked.html)
    return Extraction(text, title, decoded.encoding, decoded.replaced)


def with_groundup(html: bytes) -> tuple[str, str]:
    """(text, title) by our own extractor, of a page in UTF-8 that the guard has let through."""
    serialised = (LexborHTMLParser(html).html or "").encode("utf-8", errors="replace")
    tree = scan(serialised)
    return render(serialised, tree, main_content(tree)), page_title(serialised, tree)


def with_resiliparse(html: str) -> tuple[str, str]:
    """(text, title) by resiliparse."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree
    except ImportError as error:
        raise MissingError("resiliparse is not installed; install it with: pip install resiliparse") from error
    page = HTMLTree.parse(html)
    return extract_plain_text(page, main_content=True), (page.title or "").strip()


def with_trafilatura(html: str) -> tuple[str, str]:
    """(text, title) by trafilatura's fast mode."""
    try:
        import trafilatura
    except ImportError as error:  # of it, or of what it imports
        why = "is not installed" if error.name == "trafilatura" else f"cannot be imported ({str(error).rstrip('.')})"
        raise MissingError(f"trafilatura {why}; install it with: pip install trafilatura lxml_html_clean") from error
    # Its own search for metadata, dates above all, takes twice as long as the text.
    page: Any = trafilatura.bare_extraction(html, fast=True, include_comments=False)
    title = LexborHTMLParser(html).css_first("title")
    return (page.text or "" if page else ""), " ".join(title.text().split()) if title else ""


def page_title(html: bytes, tree: Tree) -> str:
    """<title>; the part that is the first heading where the site's name is added to it; without one, the heading."""
    texts = []
    for tag in (markup.TITLE, markup.H1):
        found = np.flatnonzero(tree.tag == tag)[:1]
        texts.append(" ".join(plain_text(html, tree, int(found[0])).split()) if len(found) else "")
    title, heading = texts
    parts = [title]
    for separator in SEPARATORS:
        parts = [piece.strip() for part in parts for piece in part.split(separator)]
    return heading if heading and (not title or heading in parts or title.startswith(heading)) else title
