"""What tags and names say about a page: the tags with their properties, and words of class, id and role.

The idea of judging elements by words of their class and id is Readability's (of Arc90; Mozilla continues it); the
lists here are our own. A name is cut into words (`tree.name_bits`), so that "ad" does not hit "header" or "download".
Names only propose: `main_content` drops no element for its name that holds most of the page's sentences.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Properties of a tag.
BLOCK = 1  # begins and ends a paragraph
VOID = 2  # has no content and no end tag
RAW = 4  # its content is no markup
SILENT = 8  # its content is not for reading
BOILERPLATE_TAG = 16  # frames the content, unless it holds most of the page
HEADING = 32
LIST = 64
CONTAINER = 128  # may hold the main content
NAMED = 256  # its id says what it is, not what it is about
FORMULA = 1024  # may hold TeX
CELL = 2048
KEPT = 512  # needs no sentence to be content

# Bits of names.
CONTENT = 1  # names the main content (entry-content, articleBody)
POSITIVE = 2  # often part of such a name
BOILERPLATE = 4
COMMENTS = 8  # readers' words, which may be longer than the article
BYLINE = 16  # who, when, under which tags: short
HIDDEN = 32
SECTION = 64  # a numbered part of a document; its id comes from its heading and says nothing
SHOWN = 128  # hidden on some screens only
QUOTED = 256  # a post of another site, embedded in the text
TEX = 1024  # an image of a formula
ELEMENTOR = 512  # a page builder whose every block is a "widget"

# Attributes that are read.
NAMES, IDENTIFIER, ITEMPROP, STYLE, HIDES, HIDES_IF_TRUE, ALTERNATIVE, FORMAT = 1, 2, 3, 4, 5, 6, 7, 8
ATTRIBUTES = {
    "class": NAMES,
    "id": IDENTIFIER,
    "role": NAMES,
    "itemprop": ITEMPROP,
    "style": STYLE,
    "hidden": HIDES,
    "aria-hidden": HIDES_IF_TRUE,
    "alt": ALTERNATIVE,
    "alttext": ALTERNATIVE,
    "type": FORMAT,
    "encoding": FORMAT,
}

TEXT, OTHER = 0, 1
_PROPERTIES = {
    BLOCK: "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section "
    "summary table tbody td tfoot th thead tr ul head title",
    VOID: "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr",
    RAW: "script style xmp iframe noembed noframes",
    SILENT: "script style xmp iframe noembed noframes template noscript svg canvas object embed applet select option "
    "optgroup datalist button input textarea audio video map head title dialog progress meter",
    BOILERPLATE_TAG: "nav footer aside menu search",
    HEADING: "h1 h2 h3 h4 h5 h6",
    LIST: "ul ol dl menu dir",
    CELL: "td th",
    CONTAINER: "body main article section div td center form table tbody tr fieldset",
    NAMED: "div aside ul table td form main article nav footer header",
    FORMULA: "math annotation script img",
    KEPT: "pre table ul ol dl",
}
_INLINE = "a math annotation code tt kbd samp sup sub b i em strong span q"
TAGS = ("", "", *dict.fromkeys(" ".join((*_PROPERTIES.values(), _INLINE)).split()))
A, P, BR, HR, LI, UL, OL, PRE, TABLE, TR, TD, TH, H1, H6, HEAD, TITLE, BODY = (
    TAGS.index(name)
    for name in "a p br hr li ul ol pre table tr td th h1 h6 head title body".split()  # noqa: SIM905 - reads as a row
)
MAIN, ARTICLE, HEADER, FORM, MATH, ANNOTATION, IMG, FIGCAPTION, DT, DD, SCRIPT, CAPTION = (
    TAGS.index(name)
    for name in "main article header form math annotation img figcaption dt dd script caption".split()  # noqa: SIM905
)

_NAMES = {
    CONTENT: """
        articlebody articlecontent articlecontents articletext articlecopy articlemain mainarticle bodycopy bodytext
        contentbody contenttext contentmain contentarticle contentdetail entrycontent entrybody entrytext fulltext
        maincontent maintext markdownbody newsbody newscontent newstext newsarticle pagecontent postcontent postbody
        posttext postentry richtext singlecontent singlepost storybody storycontent storytext textcontent blogcontent
        blogpostcontent blogpostbody blogbody blogtext itemtext itembody itemcontent mwparseroutput mwcontenttext
        bodycontent fieldnamebody fieldbody nodecontent detailcontent detailbody documentbody rstcontent textbody
        contentinner articleinner articledetail articlewrap articlewrapper storywrapper storybodytext textarticle
        =article =main =prose =story =hentry =documentation
    """,
    POSITIVE: "article body content contents entry main page post text blog story copy prose hentry news column single",
    BOILERPLATE: """
        ad ads adbox adslot adsense advert adverts advertisement advertising advertorial adunit adwrapper dfp
        affiliate affiliates sponsor sponsors sponsored promo promos promotion promotions promoted promobox upsell
        outbrain taboola zergnet recirc recirculation recommend recommended recommendation recommendations
        related relatedposts relatedarticles relatedcontent relatedlinks seealso readnext readmore alsoread
        similar trending popular mostread mostpopular mostviewed latest morefrom morestories moreon
        share shares sharing sharebar sharebox sharedaddy shareaholic sharethis sharetools sociable social socialmedia
        addthis addtoany followus
        sidebar sidebars sidenav siderail rightrail leftrail rail rightcolumn rightcol
        footer pagefooter sitefooter colophon masthead siteheader topbar
        nav navbar navbox navigation subnav navlinks postnav menu menus submenu breadcrumb breadcrumbs crumbs crumb
        pagination pager paging paginator prevnext nextprev pagenav toolbar toolbox
        newsletter newsletters subscribe subscription subscriptions signup signin login logon register registration
        popup popover modal lightbox cookie cookies cookiebar consent gdpr interstitial
        widget widgets teaser teasers ticker dropdown tooltip carousel
        search searchform searchbox searchbar
        poll survey donate donation feedback rating ratings vote votes voting
        copyright legal disclaimer printfriendly printonly noprint editsection jumplink skiplink catlinks
        taglist tagcloud tagslist posttags articletags entrytags tags
        callaction cta notification notice alertbar hatnote mwjumplink
        contentinfo complementary banner alertdialog
        authorbio authorbox aboutauthor authorinfo bio biography
        =hidden-print =screen-only =meta
    """,
    COMMENTS: """
        comment comments commentlist commentform commentsection commentary disqus disqusthread respond reply replies
        trackback trackbacks pingback pingbacks livefyre usercomments fbcomments
    """,
    BYLINE: """
        byline author authors authorname date dateline datetime timestamp pubdate published publishdate posted postedon
        updated dateposted postdate entrydate meta postmeta entrymeta articlemeta metadata postinfo articleinfo
        entryinfo category categories cat headerlink anchorlink permalink kicker eyebrow readtime readingtime
        credit credits imagecredit photocredit views viewcount
        caption captions wpcaption imagecaption photocaption
    """,
    HIDDEN: """
        =hidden =hide =dnone =invisible =sronly =visuallyhidden =screenreadertext =srtext =noshow =displaynone
        =isvisuallyhidden =uhidden =assistivetext =offscreen =vhidden =ahidden =elementinvisible
    """,
    SECTION: "section subsection subsubsection sect chapter appendix refsect level levelextent",
    SHOWN: "block flex grid inline",
    QUOTED: "twittertweet twittervideo instagrammedia fbpost blueskyembed mastodonembed tiktokembed",
    ELEMENTOR: "elementor",
    TEX: "tex latex",
}


class Tables(NamedTuple):
    """The tables as arrays, for compiled code: hash tables by open addressing, 0 for an empty place."""

    tag_hashes: NDArray[np.uint64]
    tag_numbers: NDArray[np.int32]
    properties: NDArray[np.int32]
    attribute_hashes: NDArray[np.uint64]
    attribute_kinds: NDArray[np.int32]
    name_hashes: NDArray[np.uint64]
    name_bits: NDArray[np.int32]


def fnv(name: str) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def _table(entries: dict[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """An open-addressing table, at most an eighth full."""
    length = 1 << (8 * len(entries) - 1).bit_length()
    hashes, values = np.zeros(length, dtype=np.uint64), np.zeros(length, dtype=np.int32)
    for name, value in entries.items():
        place = fnv(name) % length
        while hashes[place]:
            place = (place + 1) % length
        hashes[place], values[place] = fnv(name), value
    return hashes, values


def _tables() -> Tables:
    """All of the above."""
    names: dict[str, int] = {}
    for bit, words in _NAMES.items():
        for word in words.split():
            key = word[1:].replace("-", "") + "=" if word.startswith("=") else word
            names[key] = names.get(key, 0) | bit
    properties = np.zeros(len(TAGS), dtype=np.int32)
    for bit, tags in _PROPERTIES.items():
        for tag in tags.split():
            properties[TAGS.index(tag)] |= bit
    numbers = {tag: number for number, tag in enumerate(TAGS) if tag}
    return Tables(*_table(numbers), properties, *_table(ATTRIBUTES), *_table(names))


TABLES = _tables()
DISPLAY_NONE, VISIBILITY_HIDDEN = np.uint64(fnv("display:none")), np.uint64(fnv("visibility:hidden"))
MATH_TEX, APPLICATION_TEX = np.uint64(fnv("math/tex")), np.uint64(fnv("application/x-tex"))
