"""Training and held-out texts of whatever the user points at: a built corpus, or plain files."""

from pathlib import Path

from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.corpus.documents import read_texts
from groundup.corpus.sources import hash_files, input_files, is_corpus, training_texts

HELD_OUT = 20  # of plain files, one document in twenty, or the last twentieth of a single one


def train_and_heldout(path: Path) -> tuple[list[str], list[str]]:
    """The two splits of a corpus folder; plain files are split here, with nothing in both."""
    if is_corpus(path):
        return read_texts(path, "train"), read_texts(path, "heldout")
    texts = training_texts(path)
    if len(texts) >= HELD_OUT:
        return [t for at, t in enumerate(texts) if at % HELD_OUT], texts[::HELD_OUT]
    cuts = [len(text) - max(1, len(text) // HELD_OUT) for text in texts]
    train = [text[:cut] for text, cut in zip(texts, cuts, strict=True) if text[:cut].strip()]
    if not train:
        raise InputError(f"{path} holds too little text to train on; give a few kilobytes at least.")
    return train, [text[cut:] for text, cut in zip(texts, cuts, strict=True)]


def text_fingerprint(path: Path) -> str:
    """What identifies the texts: the corpus run's fingerprint; for files, or splits without a run, a hash of them."""
    result = path / "result.json"
    if result.exists() and (recorded := read_json(result).get("fingerprint")):
        return str(recorded)
    return hash_files(input_files([path]))
