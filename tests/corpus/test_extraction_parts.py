"""The parts of extraction against references: decoding, the guard and the flat tree against lexbor's own tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from groundup.corpus.extraction import markup
from groundup.corpus.extraction.decoding import decode
from groundup.corpus.extraction.guard import MAX_DEPTH, check
from groundup.corpus.extraction.markup import BOILERPLATE, COMMENTS, CONTENT, HIDDEN, TABLES
from groundup.corpus.extraction.tree import FNV_START, fold, look_up, plain_text, scan

RUSSIAN = "Вода поднялась ночью, и к утру нижние поля были под водой. Никто этого не ждал."
JAPANESE = "夜のうちに川の水が増え、朝には低い畑が水の下になった。誰もこんなに早いとは思わなかった。"
GERMAN = "Über Nacht stieg das Wasser, am Morgen standen die Felder unter Wasser – für alle früh."


@pytest.mark.parametrize(
    ("text", "encoding", "declared", "meta", "expected"),
    [
        (GERMAN, "utf-8", "iso-8859-1", "latin1", "utf-8"),  # the bytes are UTF-8, whatever is said
        (GERMAN, "cp1252", None, None, "windows-1252"),
        (GERMAN, "cp1252", "utf-8", "utf-8", "windows-1252"),  # both lie
        (RUSSIAN, "cp1251", None, "windows-1251", "windows-1251"),
        (RUSSIAN, "cp1251", "iso-8859-1", None, "windows-1251"),  # a server's default
        (RUSSIAN, "koi8-r", "koi8-r", None, "koi8-r"),
        (RUSSIAN, "koi8-r", None, None, "koi8-r"),
        (JAPANESE, "cp932", None, None, "shift_jis"),
        (JAPANESE, "euc_jp", None, "x-euc-jp", "euc-jp"),
        (JAPANESE, "utf-16-le", None, None, "utf-16-le"),
        (RUSSIAN, "utf-16-be", None, None, "utf-16-be"),
        (GERMAN, "cp1252", "no-such-charset", None, "windows-1252"),
    ],
)
def test_encodings(text: str, encoding: str, declared: str | None, meta: str | None, expected: str) -> None:
    tag = f'<meta http-equiv="Content-Type" content="text/html; charset={meta}">' if meta else ""
    found = decode(f"<html><head>{tag}</head><body><p>{text * 3}</p></body>".encode(encoding), declared)
    assert text in found.text
    assert (found.encoding, found.replaced) == (expected, 0.0)


def test_a_byte_order_mark_decides() -> None:
    assert decode(b"\xff\xfe" + "<p>Ж</p>".encode("utf-16-le"), "utf-8") == ("<p>Ж</p>", "utf-16-le", 0.0)
    assert decode("\ufeff<p>é</p>".encode(), "latin-1") == ("<p>é</p>", "utf-8", 0.0)


def test_a_cut_character_does_not_change_the_encoding_and_is_counted() -> None:
    cut = (RUSSIAN * 4).encode()[1:]
    found = decode(cut, "windows-1251")
    assert found.encoding == "utf-8"
    assert found.text == "\ufffd" + (RUSSIAN * 4)[1:]
    assert found.replaced == 1 / len(found.text)


def test_bytes_that_are_no_text_in_any_encoding_are_counted() -> None:
    assert decode(b"\xff" * 50 + b"a" * 50, "ascii").text.endswith("a" * 50)
    noise = np.random.default_rng(0).integers(128, 256, 4000, dtype=np.uint8).tobytes()
    found = decode(b"<meta charset=utf-8>" + noise, "euc-kr")
    assert found.replaced == found.text.count("\ufffd") / len(found.text)


TAGS = ["div", "p", "b", "font", "span", "li", "ul", "table", "tr", "td", "a", "h2", "pre", "object", "section", "i"]
SOUP = st.lists(
    st.one_of(
        st.sampled_from([f"<{tag}>" for tag in TAGS]),
        st.sampled_from([f"</{tag}>" for tag in TAGS]),
        st.sampled_from(["x", " y ", "<br>", "<img alt='a>b'>", "<!-- <div> -->", "a < b", "&amp;", "<font size=3>"]),
        st.sampled_from(["<script>'<div>'</script>", "<style>p>a{}</style>", "<textarea><b></textarea>", "<!x>"]),
        st.sampled_from(['<p title="</p>">', "<td a=1b=2 c = '3' />", "<b/>", "<svg><path/></svg>", "</", "<1>"]),
    ),
    max_size=60,
).map("".join)

NESTING = [*TAGS, "noscript", "nobr", "ol", "dd", "dt", "th", "tbody", "h3"]
DEEP_SOUP = st.lists(
    st.one_of(
        st.sampled_from([f"<{tag}>" for tag in NESTING]),
        st.sampled_from([f"</{tag}>" for tag in NESTING]),
        st.sampled_from(["x", " ", "<br>", "<font size=3>", "<b/>"]),
    ),
    min_size=1,
    max_size=12,
).map("".join)


def elements(node: LexborNode, depth: int = 1) -> list[tuple[str, int]]:
    """(tag, depth) of all elements below lexbor's node, in document order, walked one by one."""
    found, child = [], node.child
    while child is not None:
        if child.is_element_node:
            found += [(child.tag or "", depth), *elements(child, depth + 1)]
        child = child.next
    return found


def texts(node: LexborNode) -> list[str]:
    """Its texts, those of scripts and styles left out."""
    found, child = [], node.child
    while child is not None:
        if child.is_text_node:
            found.append(child.text_content or "")
        elif child.is_element_node and child.tag not in ("script", "style"):
            found += texts(child)
        child = child.next
    return found


def root(html: str) -> LexborNode:
    node = LexborHTMLParser(html).root
    assert node is not None
    return node


@given(SOUP)
def test_the_lean_copy_parses_to_the_same_elements_and_texts(html: str) -> None:
    lean = check(html.encode()).html.decode()
    assert elements(root(lean)) == elements(root(html))
    assert "".join(texts(root(lean))) == "".join(texts(root(html)))


def depth_of(html: str) -> int:
    """How deep lexbor's tree is."""
    deepest, layer = 0, [root(html)]
    while layer:
        below = []
        for node in layer:
            child = node.child
            while child is not None:
                below += [child] if child.is_element_node else []
                child = child.next
        deepest, layer = deepest + bool(below), below
    return deepest


@given(DEEP_SOUP, st.integers(1, 40))
def test_the_guard_never_takes_a_page_for_much_flatter_than_it_is(soup: str, times: int) -> None:
    found = check((soup * times).encode())
    if found.fault is None:
        assert depth_of(soup * times) <= 2 * found.depth + 8


@pytest.mark.parametrize("tag", ["div", "span", "b", "x-y", "table", "ul", "section", "svg", "object", "details"])
def test_nesting_is_followed_for_every_kind_of_element(tag: str) -> None:
    assert check(f"<{tag} a='>'>".encode() * (MAX_DEPTH + 1)).fault == f"elements nested deeper than {MAX_DEPTH}"
    assert check(f"<{tag}>x</{tag}>".encode() * 5 * MAX_DEPTH).depth <= 2


@pytest.mark.parametrize(
    "unit",
    [
        *("<span><div></span>", "<b><div></b>", "<div><table><tr><td></div>", "<ul><li>", "<div><p></span>"),
        *("<div><td>", "<b><a>", "<li><ul></li>", "<b><noscript></b>", "<svg><div></svg>"),
        "<b><b><b><b><div></b></b></b></b>",
    ],
)
def test_end_tags_that_close_nothing_do_not_hide_depth(unit: str) -> None:
    assert "deeper" in (check(unit.encode() * 5000).fault or "")


@pytest.mark.parametrize(
    "unit",
    [
        *("<p>x", "<li>x", "<tr><td>x", "<br>", "<p><span>x</p>", "<a href=x>y", "<p><b>x</p>"),
        *("<svg><path/><g><circle r=1 /></g></svg>", "<h2>x</h3>"),
    ],
)
def test_what_html_closes_by_itself_is_not_deep(unit: str) -> None:
    found = check(b"<table>" + unit.encode() * 5000 if unit.startswith("<tr") else unit.encode() * 5000)
    assert found.fault is None
    assert found.depth < 8


@given(SOUP)
def test_the_flat_tree_is_lexbors_tree(html: str) -> None:
    parser = LexborHTMLParser(html)
    assert parser.html is not None
    assert parser.root is not None
    serialised = parser.html.encode()
    tree = scan(serialised)
    depth: list[int] = []
    for node, parent in enumerate(tree.parent):
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
        assert parent < node < tree.last[node] <= (tree.last[parent] if parent >= 0 else len(tree.tag))
    flat = [
        (markup.TAGS[tag], level) for tag, level in zip(tree.tag, depth, strict=True) if tag not in (0, markup.OTHER)
    ]
    known = [(tag, level) for tag, level in elements(parser.root) if tag in markup.TAGS]
    assert flat[1:] == known  # the first is <html> itself
    assert plain_text(serialised, tree, 0) == "".join(texts(parser.root))


def test_sizes_links_stops_and_paragraphs() -> None:
    tree = scan("<p>a b, <a>c&amp;d</a>&nbsp;e.</p><div>日本。</div>".encode())
    rows = [
        (int(tree.size[i]), int(tree.links[i]), int(tree.stops[i]), int(tree.paragraph[i]))
        for i in range(len(tree.tag))
        if tree.tag[i] == markup.TEXT
    ]
    first, last = rows[0][3], rows[3][3]
    assert rows == [(3, 0, 1, first), (3, 3, 0, first), (2, 0, 1, first), (9, 0, 1, last)]
    assert first != last


@pytest.mark.parametrize(
    ("attributes", "bits"),
    [
        ('class="td-post-content x"', CONTENT),
        ('class="entryContent"', CONTENT),
        ('itemprop="articleBody"', CONTENT),
        ('id="comments"', COMMENTS),
        ('class="Related_links"', BOILERPLATE),
        ('class="ad"', BOILERPLATE),
        ('class="header download shadow"', 0),  # "ad" inside of words
        ('data-x="comments" title="ads"', 0),
        ('class="sr-only"', HIDDEN),
        ('class="overflow-hidden"', 0),
        ('class="hidden md:block"', 0),
        ('style="visibility : hidden"', HIDDEN),
        ('style="display:block"', 0),
        ("hidden", HIDDEN),
        ('aria-hidden="false"', 0),
    ],
)
def test_what_names_say(attributes: str, bits: int) -> None:
    serialised = (LexborHTMLParser(f"<div {attributes}></div>").html or "").encode()
    tree = scan(serialised)
    found = int(tree.names[list(tree.tag).index(markup.TAGS.index("div"))])
    assert found & (CONTENT | BOILERPLATE | COMMENTS | HIDDEN) == bits


def test_hash_tables_find_every_name_and_nothing_else() -> None:
    for number, name in enumerate(markup.TAGS):
        value = FNV_START
        for byte in name.upper().encode():
            value = np.uint64(fold(value, byte))
        assert int(value) == markup.fnv(name)
        assert look_up(value, TABLES.tag_hashes, TABLES.tag_numbers) == (number if name else 0)
