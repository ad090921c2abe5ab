"""The held-out split: by document, by name, and never through a cluster of near copies.

A document is held out when derive_seed(seed, "split", key) / 2^63 < fraction, where its key is its id, or the smallest
id of its near-duplicate cluster. The decision looks at nothing else, so adding documents moves none of the others. Two
exceptions keep small corpora usable: where this holds out nothing, or everything, the one document (or cluster) with
the smallest hash is held out; and a single document is cut in two near a blank line, its end held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from groundup.core.errors import InputError
from groundup.core.seeds import derive_seed
from groundup.corpus.documents import Document

Split = tuple[list[Document], list[Document]]


def split_documents(
    documents: Sequence[Document], held_out_fraction: float, seed: int, cluster_keys: Mapping[str, str] | None = None
) -> Split:
    """(train, held out), each in the order given; `cluster_keys` maps the id of a clustered document to its key."""
    if held_out_fraction == 0 or not documents:
        return list(documents), []
    keys = [(cluster_keys or {}).get(document.id, document.id) for document in documents]
    position = {key: derive_seed(seed, "split", key) / 2**63 for key in keys}
    if len(documents) == 1:
        return _cut(documents[0], held_out_fraction)
    if len(position) == 1:
        raise InputError(
            f"All {len(documents)} documents are near copies of each other, so none can be held out; "
            "keep one of them, or set the held-out fraction to 0."
        )
    held_out = {key for key, value in position.items() if value < held_out_fraction}
    if len(held_out) in (0, len(position)):
        held_out = {min(position, key=lambda key: (position[key], key))}
    pairs = list(zip(documents, keys, strict=True))
    return [d for d, key in pairs if key not in held_out], [d for d, key in pairs if key in held_out]


def _cut(document: Document, held_out_fraction: float) -> Split:
    """A document in two, at the last blank line, line end or space of the first part, if there is one."""
    text = document.text
    wanted = int(len(text) * (1 - held_out_fraction))
    marks = (mark for mark in ("\n\n", "\n", " ") if mark in text[wanted // 2 : wanted])
    cut = next((text.rindex(mark, 0, wanted) + len(mark) for mark in marks), wanted)
    front = replace(document, id=f"{document.id}:front", text=text[:cut].rstrip())
    back = replace(document, id=f"{document.id}:back", text=text[cut:].lstrip())
    return [front], [back]
