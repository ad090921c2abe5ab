"""What a tag means for the construction of the tree, by the rules of the HTML standard: bits by its name's hash."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.corpus.extraction.markup import fnv

# Bits of a tag's role in the construction of the tree.
SPECIAL, SCOPE, FORMATTING, CLOSES_P, VOID, RAW, KEPT_RAW = 1, 2, 4, 8, 16, 32, 64
MARKER, LISTS, FOREIGN, INTEGRATION, BREAKS_OUT, HEADING = 128, 256, 512, 1024, 2048, 4096
ROLES = {
    SPECIAL: "address article aside blockquote body button caption center dd details dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup li listing main marquee menu nav noscript object ol p pre "
    "search section summary table tbody td template tfoot th thead tr ul applet select",
    SCOPE: "applet caption marquee object table td th template",
    FORMATTING: "a b big code em font i nobr s small strike strong tt u",
    CLOSES_P: "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hgroup hr li dd dt listing main menu nav ol p pre search section summary "
    "ul",  # and table, outside of quirks mode
    VOID: "area base basefont bgsound br col embed frame hr html head body image img input keygen link meta option "
    "optgroup param source track wbr colgroup",
    RAW: "script style iframe noembed noframes xmp",
    KEPT_RAW: "textarea title",
    MARKER: "applet caption marquee object td template th",
    LISTS: "ol ul",
    FOREIGN: "svg math",
    INTEGRATION: "foreignobject desc annotation-xml mi mo mn ms mtext",  # HTML inside of these is HTML again
    BREAKS_OUT: "b big blockquote br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 hr i img li listing menu meta "
    "nobr ol p pre ruby s small span strike strong sub sup table tt u ul var",  # of <svg> and <math>
    HEADING: "h1 h2 h3 h4 h5 h6",
}
P, LI, DD, DT, TABLE, TEMPLATE = (np.uint64(fnv(name)) for name in ("p", "li", "dd", "dt", "table", "template"))
ADDRESS, DIV, A, NOBR, FONT = (np.uint64(fnv(name)) for name in ("address", "div", "a", "nobr", "font"))
SCRIPT, NOSCRIPT = np.uint64(fnv("script")), np.uint64(fnv("noscript"))
PARTS = ("table", "caption", "tbody", "thead", "tfoot", "tr", "td", "th")
TABLE_PARTS = np.array([fnv(name) for name in PARTS], dtype=np.uint64)


def _roles() -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """An open-addressing table from a tag's hash to its bits."""
    roles: dict[int, int] = {}
    for bit, names in ROLES.items():
        for name in names.split():
            roles[fnv(name)] = roles.get(fnv(name), 0) | bit
    hashes, bits = np.zeros(1024, dtype=np.uint64), np.zeros(1024, dtype=np.int32)
    for name, bit in roles.items():
        place = name % 1024
        while hashes[place]:
            place = (place + 1) % 1024
        hashes[place], bits[place] = name, bit
    return hashes, bits


HASHES, ROLES_OF = _roles()


@njit(cache=True, nogil=True)
def look_up(name: int, hashes: NDArray[np.uint64], roles: NDArray[np.int32]) -> int:
    """The bits of a tag; 0 for one that has no role."""
    place = np.int64(name & np.uint64(len(hashes) - 1))
    while hashes[place]:
        if hashes[place] == name:
            return roles[place]
        place = (place + 1) & (len(hashes) - 1)
    return 0
