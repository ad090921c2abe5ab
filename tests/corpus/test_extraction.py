"""HTML to text: what stays readable, titles, pages that are no article, hostile pages, and the F1 of labelled pages."""

import os
import sys
import time
from pathlib import Path

import pytest

from groundup.core.errors import ConfigError, MissingError
from groundup.corpus.extraction.extract import EXTRACTORS, extract

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # scripts, not a package

from extraction_peers.scoring import labelled_pages, page_score, score  # noqa: E402

SENTENCES = (
    "The river rose in the night, and by the morning the lower fields were under water.",
    "Nobody had expected it so early in the year, and the boats were still in the barns.",
    "They carried what they could to the upper floor, then they sat down and waited for help.",
)
PARAGRAPHS = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES)
TEXT = "\n\n".join(SENTENCES)


def page(content: str, head: str = "<title>The flood</title>") -> bytes:
    return f"<!doctype html><html><head>{head}</head><body>{content}</body></html>".encode()


def body(content: str) -> str:
    """The text of a page with this content between an article's paragraphs."""
    text = extract(page(f"<article>{PARAGRAPHS}{content}{PARAGRAPHS}</article>")).text
    assert text.startswith(TEXT)
    assert text.endswith(TEXT)
    return text.removeprefix(TEXT).removesuffix(TEXT).strip("\n")


def test_the_article_is_kept_and_the_frame_is_not() -> None:
    html = page(f"""
        <header><a href="/">Home</a><h1>The flood</h1></header>
        <nav><ul><li><a href="/a">News</a><li><a href="/b">Weather, today and tomorrow, everywhere</a></ul></nav>
        <div class="sidebar"><p>Read what others wrote about the weather of former years, in our archive of papers.</p>
        </div>
        <div id="main"><article><h1>The flood</h1><div class="byline">By A. Writer</div>{PARAGRAPHS}
        <div class="share-buttons"><a href="#">Share</a> this page with all of your friends.</div>
        </article><div id="comments"><p>I was there too, and it was not as bad as you say it was, I think.</p></div>
        </div>
        <footer><p>All rights reserved, no part of this may be copied, printed or sung without our consent.</p></footer>
        <script>var text = "<p>never, never, never shown, whatever happens to this page in the end</p>"</script>""")
    found = extract(html)
    assert found.text == TEXT
    assert (found.title, found.encoding, found.replaced, found.fault) == ("The flood", "utf-8", 0.0, None)


def test_comments_longer_than_the_article_are_no_article() -> None:
    comments = "".join(f"<p>{number}. {sentence}</p>" for number in range(30) for sentence in SENTENCES)
    html = page(f'<div>{PARAGRAPHS}{PARAGRAPHS}</div><section class="comments-area">{comments}</section>')
    assert extract(html).text == f"{TEXT}\n\n{TEXT}"


def test_headings_show_their_level() -> None:
    assert body("<h2>After <em>the</em> rain</h2><p>It was quiet.</p><h3>Later</h3><p>And dry.</p>") == (
        "## After the rain\n\nIt was quiet.\n\n### Later\n\nAnd dry."
    )


def test_a_heading_without_anything_below_it_goes() -> None:
    assert (
        body("<h3>Related</h3><ul><li><a href=a>One story</a><li><a href=b>Two stories</a></ul><h2>On</h2>") == "## On"
    )


def test_lists_show_their_marks_numbers_and_depth() -> None:
    html = "<ul><li>boats<li>ropes<ul><li>long ones</ul><li><p>oars</p></ul><ol><li>wait<li>leave</ol>"
    assert body(html) == "- boats\n- ropes\n  - long ones\n- oars\n\n1. wait\n2. leave"


def test_definition_lists_keep_terms_and_definitions() -> None:
    assert body("<dl><dt>weir<dd>a low dam<dt>ford<dd>a shallow place</dl>") == "weir\na low dam\nford\na shallow place"


def test_tables_keep_rows_and_empty_cells() -> None:
    html = (
        "<table><caption>Levels</caption><thead><tr><th>Day<th>Metres<th>Wind</thead>"
        "<tr><td>Monday<td>2.1<td>west<tr><td>Tuesday<td><td>north</table>"
    )
    assert body(html) == "Levels\n\nDay | Metres | Wind\nMonday | 2.1 | west\nTuesday | | north"


def test_a_table_of_layout_is_no_table() -> None:
    html = page(f"<table><tr><td><a href=/>Home</a><td>{PARAGRAPHS}<table><tr><td>Small</table></table>")
    assert "|" not in extract(html).text
    assert TEXT in extract(html).text


def test_code_keeps_its_lines_and_indentation() -> None:
    code = "def rise(x):\n    if x &lt; 2:\n\n        return <b>x</b> &amp; 1\n"
    assert body(f"<pre><code>{code}</code></pre>") == "```\ndef rise(x):\n    if x < 2:\n\n        return x & 1\n```"


@pytest.mark.parametrize(
    ("html", "formula"),
    [
        ('<math alttext="a &lt; b^2"><mi>a</mi><mo>&lt;</mo></math>', "$a < b^2$"),
        (
            '<math><semantics><mi>x</mi><annotation encoding="application/x-tex">x_1</annotation></semantics></math>',
            "$x_1$",
        ),
        ('<script type="math/tex; mode=display">\\frac{a}{b} < 1</script>', "$\\frac{a}{b} < 1$"),
        ('<img class="latex" alt="\\alpha" src=a.png>', "$\\alpha$"),
        ('<span style="display: none"><math alttext="y"></math></span><img class=tex aria-hidden=true alt=y>', "$y$"),
        ("<math><mi>E</mi><mo>=</mo><mi>m</mi></math>", "E=m"),
    ],
)
def test_formulas_are_kept_once(html: str, formula: str) -> None:
    assert body(f"<p>We see that {html} holds.</p>") == f"We see that {formula} holds."


def test_breaks_spaces_and_references() -> None:
    assert (
        body("<p>one<br>two<br><br>three &amp;amp; four&nbsp;\n &nbsp;five</p>") == "one\ntwo\n\nthree &amp; four five"
    )


def test_embedded_posts_stay_and_hidden_texts_go() -> None:
    html = (
        '<blockquote class="twitter-tweet"><p>The bridge is gone.</p></blockquote><p hidden>one</p>'
        '<p style="color: red; display:none !important">two</p><p class="sr-only">three</p>'
        '<div aria-hidden="true">four</div>'
        '<p class="d-none d-md-block">The road is open.</p>'
    )
    assert body(html) == "The bridge is gone.\n\nThe road is open."


def test_the_id_of_a_section_is_its_topic_and_no_name_of_boilerplate() -> None:
    html = '<section id="comments"><h2 id="search">Comments</h2><p>They begin with a hash, as this does.</p></section>'
    assert body(html) == "## Comments\n\nThey begin with a hash, as this does."
    assert "hash" in body(html.replace("<section ", '<div class="section" ').replace("</section>", "</div>"))


@pytest.mark.parametrize(
    ("title", "heading", "expected"),
    [
        ("The flood | Daily News", "The flood", "The flood"),
        ("The flood - Daily News", "Latest", "The flood - Daily News"),
        ("", "The flood", "The flood"),
        ("The\n flood &amp; more", "", "The flood & more"),
        ("", "", ""),
    ],
)
def test_titles(title: str, heading: str, expected: str) -> None:
    html = page(f"<h1>{heading}</h1>{PARAGRAPHS}", f"<title>{title}</title>")
    assert extract(html).title == expected


def test_a_page_that_is_no_article_keeps_its_words() -> None:
    html = page(
        "<nav><a href=/>Home</a></nav><h1>Opening hours</h1><table><tr><th>Mon<td>9-5<tr><th>Tue<td>9-4</table>"
    )
    assert extract(html).text == "# Opening hours\n\nMon | 9-5\nTue | 9-4"
    assert extract(b"just text, no tags").text == "just text, no tags"
    assert extract(page("<pre>a = 1</pre>")).text == "```\na = 1\n```"


def test_an_index_of_several_articles_keeps_them_all() -> None:
    html = page("".join(f"<article><h2>Story {n}</h2><p>{text}</p></article>" for n, text in enumerate(SENTENCES)))
    assert [text in extract(html).text for text in SENTENCES] == [True] * 3


@pytest.mark.parametrize("html", [b"", b"   \n", b"<html></html>", b"<", b"</", b"<!--", b"<p", b"&", b"<script>x"])
def test_next_to_nothing_is_no_fault(html: bytes) -> None:
    found = extract(html)
    assert found.fault is None
    assert len(found.text) <= len(html.strip())


@pytest.mark.parametrize("extractor", EXTRACTORS)
@pytest.mark.parametrize(
    ("html", "reason"),
    [
        (b"<div>" * 200_000 + b"text", "deeper than"),
        (b"<div " + b" ".join(b"a%d=1" % n for n in range(20_000)) + b">", "attributes"),
        (b"".join(b"<p><font size=%d></p>" % n for n in range(400)) + b"<p>x" * 10_000, "formatting"),
        (bytes(range(256)) * 1000, "binary"),
        (b"%PDF-1.7 <p>text</p>", "PDF"),
        (b"x" * (64 << 20) + b"xx", "larger"),
    ],
    ids=["divs", "attributes", "fonts", "bytes", "pdf", "large"],
)
def test_what_would_stall_a_parser_is_refused_with_its_reason(html: bytes, reason: str, extractor: str) -> None:
    extract(b"<p>warm</p>")
    start = time.process_time()
    found = extract(html, extractor=extractor)
    assert time.process_time() - start < 1
    assert reason in (found.fault or "")
    assert found.text == ""


def test_ten_megabytes_of_paragraphs() -> None:
    extract(page(PARAGRAPHS))
    html = page(PARAGRAPHS * (10_000_000 // len(PARAGRAPHS)))
    start = time.process_time()
    found = extract(html)
    assert time.process_time() - start < 2
    assert found.text.count(SENTENCES[1]) == html.count(SENTENCES[1].encode())


def test_an_unknown_extractor_is_named() -> None:
    with pytest.raises(ConfigError, match="no extractor 'lynx'; there are groundup, resiliparse, trafilatura"):
        extract(b"", extractor="lynx")


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_a_missing_extractor_says_what_to_install(extractor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"resiliparse": "resiliparse.extract.html2text"}.get(extractor, extractor), None)
    with pytest.raises(MissingError, match=f"pip install {extractor}"):
        extract(b"<p>text</p>", extractor=extractor)


def test_an_extractor_that_is_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trafilatura.py").write_text("raise ImportError('lxml.html.clean is now a separate project.')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "trafilatura", raising=False)
    with pytest.raises(MissingError, match=r"cannot be imported \(lxml.html.clean is now .* lxml_html_clean"):
        extract(b"<p>text</p>", extractor="trafilatura")


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_the_others_answer_behind_the_same_function(extractor: str) -> None:
    pytest.importorskip(extractor, reason="an optional extractor", exc_type=ImportError)
    html = page(f"<nav><a href=/>Home</a></nav><main><article><h1>The flood</h1>{PARAGRAPHS * 3}</article></main>")
    found = extract(html, extractor=extractor)
    assert SENTENCES[1] in found.text
    assert "Home" not in found.text
    assert found.title == "The flood"


def test_the_score_of_a_page() -> None:
    assert page_score("a b c d e", "a b c d e") == (1.0, 1.0)
    assert page_score("a b c d e f", "a b c d x") == (
        1 / 2,
        1 / 3,
    )  # shares abcd; abcd, bcdx found; abcd, bcde, cdef true
    assert page_score("a b c d a b c d", "a b c d") == (1.0, 1 / 5)  # abcd counts twice
    assert page_score("", "") == (1.0, 1.0)
    assert page_score("a b", "") == (0.0, 0.0)
    assert score([("a b c d", "a b c d"), ("a b c d", "")]).f1 == pytest.approx(0.5)


def test_f1_of_labelled_pages() -> None:
    shared = os.environ.get("GROUNDUP_SHARED_DATA")
    folder = Path(shared or "") / "article_extraction"
    if not shared or not (folder / "ground-truth.json").exists():
        pytest.skip("set GROUNDUP_SHARED_DATA to a folder with article_extraction/ to measure F1 on real pages")
    pages = labelled_pages(folder)
    assert score([(true, extract(html).text) for _, html, true in pages]).f1 >= 0.96
