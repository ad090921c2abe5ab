"""Which texts of a page are its main content: compiled passes over the flat tree."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.corpus.extraction import markup
from groundup.corpus.extraction.tree import Integers, Tree

Flags = NDArray[np.bool_]
LINKY = 0.7
DOMINANT = 0.8
LEAST_CONTENT = 0.3
EDGE_KEPT = True


def main_content(tree: Tree) -> Flags:
    """For every node: is it a text of the main content?"""
    return _main_content(tree, markup.TABLES.properties)


@njit(cache=True, nogil=True)
def _main_content(tree: Tree, properties: Integers) -> Flags:
    alive = tree.size > 0
    drop_silent(tree, properties, alive)
    sentences = sentence_sums(tree, properties, alive)
    drop_hidden(tree, alive, sentences)
    sentences = sentence_sums(tree, properties, alive)
    before = alive.copy()
    drop_boilerplate(tree, properties, alive, sentences)
    sentences = sentence_sums(tree, properties, alive)
    article = sentences[-1] >= 200
    if article:
        root = choose_root(tree, properties, sentences)
        alive[:root] = False
        alive[tree.last[root] :] = False
    else:
        alive = before
        sentences = sentence_sums(tree, properties, alive)
    drop_link_lists(tree, properties, alive, sentences)
    if article:
        drop_edges(tree, properties, alive)
    drop_headings(tree, properties, alive)
    return alive


@njit(cache=True, nogil=True)
def drop_silent(tree: Tree, properties: Integers, alive: Flags) -> None:
    node = 0
    while node < len(alive):
        if properties[tree.tag[node]] & markup.SILENT and not (tree.tag[node] == markup.SCRIPT and tree.size[node]):
            alive[node : tree.last[node]] = False
            node = tree.last[node]
        else:
            node += 1


@njit(cache=True, nogil=True)
def drop_hidden(tree: Tree, alive: Flags, sentences: Integers) -> None:
    node = 0
    while node < len(alive):
        if tree.names[node] & markup.HIDDEN and 2 * (sentences[tree.last[node]] - sentences[node]) <= sentences[-1]:
            for inner in range(node, tree.last[node]):  # formulas hide their TeX and show it as boxes
                alive[inner] &= tree.tag[inner] == markup.MATH
            node = tree.last[node]
        else:
            node += 1


@njit(cache=True, nogil=True)
def sentence_sums(tree: Tree, properties: Integers, alive: Flags) -> Integers:
    """Prefix sums over the nodes of the text that reads like sentences."""
    size = np.zeros(tree.paragraphs, dtype=np.int32)
    links = np.zeros(tree.paragraphs, dtype=np.int32)
    stops = np.zeros(tree.paragraphs, dtype=np.int32)
    for node in range(len(alive)):
        if alive[node]:
            paragraph = tree.paragraph[node]
            size[paragraph] += tree.size[node]
            links[paragraph] += tree.links[node]
            stops[paragraph] += tree.stops[node]
    sums = np.zeros(len(alive) + 1, dtype=np.int32)
    heading = 0
    for node in range(len(alive)):
        weight = 0
        if properties[tree.tag[node]] & markup.HEADING:
            heading = tree.last[node]
        if alive[node] and node >= heading:
            paragraph = tree.paragraph[node]
            long = size[paragraph] >= 80 or (size[paragraph] >= 40 and stops[paragraph] >= 1)
            if long and links[paragraph] < LINKY * size[paragraph]:
                weight = tree.size[node] - tree.links[node]
        sums[node + 1] = sums[node] + weight
    return sums


@njit(cache=True, nogil=True)
def drop_boilerplate(tree: Tree, properties: Integers, alive: Flags, sentences: Integers) -> None:
    node, total = 0, sentences[-1]
    while node < len(alive):
        tag, last = tree.tag[node], tree.last[node]
        names = tree.names[node]
        inside = sentences[last] - sentences[node]
        drop = False
        if tag:
            if properties[tag] & markup.BOILERPLATE_TAG:
                drop = inside < 0.5 * total
            if tag == markup.HEADER or tag == markup.FORM:
                drop |= inside < 0.3 * total
            if tag == markup.FIGCAPTION:
                drop = True
            if names & markup.BOILERPLATE and not names & markup.ELEMENTOR:
                drop |= inside < 0.4 * total
            if names & markup.COMMENTS:
                drop |= total - inside > 250 and inside < 0.95 * total
            if names & markup.BYLINE:
                drop |= inside < 0.1 * total and tree.size[node:last].sum() < 250
            drop &= tag != markup.BODY and tag != markup.MAIN and not names & markup.QUOTED
        if drop:
            alive[node:last] = False
            node = last
        else:
            node += 1


@njit(cache=True, nogil=True)
def choose_root(tree: Tree, properties: Integers, sentences: Integers) -> int:
    """The element that holds the main content."""
    root, total = 0, sentences[-1]
    best, best_inside = -1, 0
    for node in range(len(tree.tag)):
        if properties[tree.tag[node]] & markup.CONTAINER and tree.names[node] & markup.CONTENT:
            inside = sentences[tree.last[node]] - sentences[node]
            if inside >= best_inside:
                best, best_inside = node, inside
    if best_inside >= LEAST_CONTENT * total:
        root = best
    while True:
        inside = sentences[tree.last[root]] - sentences[root]
        child, found = root + 1, -1
        while child < tree.last[root]:
            share = sentences[tree.last[child]] - sentences[child]
            if properties[tree.tag[child]] & markup.CONTAINER and share >= DOMINANT * inside:
                found = child
            child = tree.last[child]
        if found < 0 or inside == 0:
            return root
        root = found


@njit(cache=True, nogil=True)
def drop_link_lists(tree: Tree, properties: Integers, alive: Flags, sentences: Integers) -> None:
    size = np.zeros(len(alive) + 1, dtype=np.int32)
    links = np.zeros(len(alive) + 1, dtype=np.int32)
    for node in range(len(alive)):
        size[node + 1] = size[node] + (tree.size[node] if alive[node] else 0)
        links[node + 1] = links[node] + (tree.links[node] if alive[node] else 0)
    node = 0
    while node < len(alive):
        last = tree.last[node]
        if properties[tree.tag[node]] & markup.BLOCK:
            all_size = size[last] - size[node]
            all_links = links[last] - links[node]
            inside = sentences[last] - sentences[node]
            if all_links > 0.5 * all_size and inside < 0.2 * all_size:
                alive[node:last] = False
                node = last
                continue
        node += 1


@njit(cache=True, nogil=True)
def drop_edges(tree: Tree, properties: Integers, alive: Flags) -> None:
    """Short fragments before the first and after the last sentence."""
    sentences = sentence_sums(tree, properties, alive)
    if sentences[-1] == 0:
        return
    first, last = 0, len(alive) - 1
    while sentences[first + 1] == 0:
        first += 1
    while sentences[last] == sentences[-1]:
        last -= 1
    first, last = tree.paragraph[first], tree.paragraph[last]
    kept = 0
    for node in range(len(alive)):
        if properties[tree.tag[node]] & markup.KEPT and tree.last[node] > kept:
            if sentences[tree.last[node]] - sentences[node] or EDGE_KEPT:
                kept = tree.last[node]
        if alive[node] and node >= kept and (tree.paragraph[node] < first or tree.paragraph[node] > last):
            alive[node] = False


@njit(cache=True, nogil=True)
def drop_headings(tree: Tree, properties: Integers, alive: Flags) -> None:
    """Headings with nothing under them."""
    below = np.zeros(len(alive) + 1, dtype=np.int32)
    for node in range(len(alive)):
        below[node + 1] = below[node] + alive[node]
    next_heading = len(alive)
    for back in range(len(alive)):
        node = len(alive) - 1 - back
        if properties[tree.tag[node]] & markup.HEADING:
            last = tree.last[node]
            if below[next_heading] == below[last]:
                alive[node:last] = False
            next_heading = node
