"""Which language a text is in, by its function words: small, readable, and honest about doubt.

A text in the Latin or Cyrillic script is scored against short lists of function words (articles, prepositions,
pronouns, auxiliaries), which make up a third to a half of running text in any of these languages. With coverage_l = the
share of the text's words that are in language l's list, a word in the lists of k languages counting 1/k,

    score = min(1, coverage_best / 0.25) (coverage_best - coverage_second) / coverage_best,

so a list of names, source code or a mixture of two languages scores low. Languages with a script of their own (Greek,
Hebrew, Arabic, Devanagari, Thai, Hangul, kana, Han) are told by it; their score is that script's share of the letters.
The idea is the "frequent words" method of Grefenstette (1995), "Comparing two language identification schemes". Against
fastText's lid.176 it knows 26 languages instead of 176 and needs a sentence rather than a word.

`method="fasttext"` asks that model instead (`fasttext/`), or another classifier whose labels are language codes; the
score is then the probability of the likeliest label, and 0.65 is FineWeb's bound for English (arXiv:2406.17557).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from groundup.core.errors import ConfigError

FULL_COVERAGE = 0.25  # running prose lies above this in every language listed; see tests/corpus/test_language.py
SAMPLE_CHARACTERS = 20_000  # enough to be sure, and it bounds the cost of a huge document

_TABLE = """
en: the of and to in that is was for it with as his on be at by he this had not are but from or have an they which one
    you were all her she there would their we him been has when who will no more if out so what up my said its than
    into them our can could these do your about
de: der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass
    sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch
    man sein wurde wir ich ihr
fr: de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec elle ou son aux
    mais comme nous cette été leur ses même on être ont vous je sans deux était tout fait bien ces d'un n'est c'est où
es: de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre
    este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo han
    yo hay
it: di e il la che in a per un è del non una i le con si da come più dei nel alla al lo sono ha anche della delle gli
    su ma ci dal o questo dalla se nella era essere ed io suo loro hanno cui degli questa sua quando tra così perché
pt: de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou
    ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem
nl: de van een het en in is dat op te zijn met voor niet die aan er om ook als dan maar bij of uit nog door over naar
    heeft hij ik we wordt was worden hebben ze tot je meer zo deze kan werd zich al haar dit wel geen waar hun hebt
sv: och i att det som en på är av för med den till inte har de ett om var han men vi så från jag sig hon eller kan när
    under också efter hade nu ska man där mot vid sin detta alla över vara mycket blir utan skulle bara då
da: og i at det er en til af på den for med de der som ikke har et var han fra jeg om sig vi men så ved kan hun eller
    efter også nu være blev skal havde mod når hvor over under alle ind ud meget mere kun da hvad os
fi: ja on ei se että oli hän ovat mutta joka kun myös niin kuin tai jos sen ole vain mitä minä sitä hänen olla nyt
    vielä siitä tämä jo jotka kuitenkin mukaan olen sekä ennen siinä me ollut kanssa jonka tämän voi
pl: w i na z się do nie to że jest o jak za od po przez a co ale dla już są tym był tylko jego czy było ze jej tego ma
    ich być może można przed które który która gdy sobie tak też bardzo oraz była jeszcze kiedy
cs: a v se na je že s z do o i to k ve pro za by ale si po jako jsem které od však jsou nebo tak který jeho byl bylo
    není už jen při která také až než když být co svých pod mezi podle nás ještě byla může
ro: de și în a la o cu că nu pe din un să care se mai este pentru au sunt al ale ca fi sau ce dar după fost prin lui
    cele era această acest fără când dintre iar către între cum am ei ea sub avea fie
tr: bir ve bu da de için ile çok ne ama daha o olarak gibi kadar var sonra en her ki mi olan ben değil şey oldu diye
    ya olduğu göre şu ise yok biz hiç bütün tüm arasında nasıl bana veya önce bunu onun böyle büyük
hu: a az és hogy nem is egy meg de ez csak azt van volt el már még mint vagy ha ki volna mert majd után lesz én minden
    kell lehet ezt nagy olyan között így sem ő mi vannak amely aki itt mely pedig
id: yang dan di dari untuk dengan itu ini pada dalam tidak adalah akan ke tersebut oleh juga saya mereka sebagai
    karena atau dapat telah ada bahwa bisa lebih sudah kita seperti para saat anda namun hanya tahun secara kami masih
    antara
ru: и в не на что я с он как это а по но к у из за о то от же для его все так было бы только она ее был мы они при уже
    или когда еще ни если до вы этого которые который быть может есть чтобы нет
uk: і в не на що з як це а та до у за по від його для є й але про то було він так бути вона ми вони при вже або коли
    ще якщо які який може щоб немає під між цього їх тільки всі буде був
"""
FUNCTION_WORDS = {
    language: words.split() for language, words in re.findall(r"^(\w+): ([^:]+)(?=^|\Z)", _TABLE, re.MULTILINE)
}
SCRIPTS = {
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff\u0750-\u077f",
    "hi": "\u0900-\u097f",
    "th": "\u0e00-\u0e7f",
    "ko": "\uac00-\ud7af\u1100-\u11ff",
    "ja": "\u3040-\u30ff",
    "zh": "\u4e00-\u9fff",
}
LANGUAGES = (*FUNCTION_WORDS, *SCRIPTS)
UNKNOWN = "und"  # ISO 639-2 for undetermined

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_SCRIPT_LETTERS = {language: re.compile(f"[{letters}]") for language, letters in SCRIPTS.items()}


def _weights() -> dict[str, dict[str, float]]:
    """For each word, the languages that list it, each with 1 / their number."""
    languages: dict[str, list[str]] = {}
    for language, words in FUNCTION_WORDS.items():
        for word in dict.fromkeys(words):
            languages.setdefault(word, []).append(language)
    return {word: dict.fromkeys(owners, 1 / len(owners)) for word, owners in languages.items()}


_WEIGHTS = _weights()


@dataclass(frozen=True)
class LanguageConfig:
    """Which languages are kept and how sure of them one must be; no languages means no filter."""

    keep: tuple[str, ...] = ("en",)
    min_score: float = 0.3
    method: Literal["function_words", "fasttext"] = "function_words"
    """lists of function words, which need no file, or a classifier in fastText's format"""
    model: Path | None = None
    """the classifier's file; by default lid.176.ftz, which `groundup corpus fetch --corpus lid.176` gets"""

    def __post_init__(self) -> None:
        if self.model and self.method != "fasttext":
            raise ConfigError(f"language.model is {self.model}, which only language.method 'fasttext' reads.")
        for language in self.keep if self.method == "function_words" else ():
            if language not in LANGUAGES:
                raise ConfigError(f"The language {language!r} in language.keep is not one of {', '.join(LANGUAGES)}.")
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"language.min_score is {self.min_score}; it must be between 0 and 1.")


def identify(text: str) -> tuple[str, float]:
    """(language code, score in [0, 1]); ("und", 0) where nothing is recognised."""
    sample = text[:SAMPLE_CHARACTERS]
    by_script = _by_script(sample)
    if by_script:
        return by_script
    words = [word.lower() for word in _WORD.findall(sample.replace("’", "'"))]
    if not words:
        return UNKNOWN, 0.0
    hits: Counter[str] = Counter()
    for word in words:
        hits.update(_WEIGHTS.get(word, {}))
    if not hits:
        return UNKNOWN, 0.0
    (best, first), (_, second) = (*hits.most_common(2), ("", 0.0))[:2]
    return best, min(1.0, first / len(words) / FULL_COVERAGE) * (first - second) / first


def identify_languages(texts: Sequence[str], config: LanguageConfig | None = None) -> list[tuple[str, float]]:
    """(language code, score in [0, 1]) of each text, by the config's method; a batch costs less than its texts."""
    config = config or LanguageConfig()
    if config.method == "function_words":
        return [identify(text) for text in texts]
    from groundup.corpus.fasttext.language_model import load_language_model  # compiled code is loaded only if asked for

    model = load_language_model(config.model)
    for language in config.keep:
        model.column(language)  # an unknown code is a fault, not an empty corpus
    found = model.predict([text[:SAMPLE_CHARACTERS] for text in texts])
    return [(best[0][0], min(best[0][1], 1.0)) if best else (UNKNOWN, 0.0) for best in found]


def language_faults(texts: Sequence[str], config: LanguageConfig) -> list[tuple[str | None, str, float]]:
    """(why a text is dropped or None, its language, the score) of each text."""
    found = identify_languages(texts, config)
    return [(_fault(language, score, config), language, score) for language, score in found]


def language_fault(text: str, config: LanguageConfig) -> tuple[str | None, str]:
    """(why a text is dropped or None, its language)."""
    return language_faults([text], config)[0][:2]


def _fault(language: str, score: float, config: LanguageConfig) -> str | None:
    if not config.keep or (language in config.keep and score >= config.min_score):
        return None
    return "language_unsure" if language in config.keep else f"language_{language}"


def _by_script(sample: str) -> tuple[str, float] | None:
    """The language of a script that makes up most of the letters; Japanese is told from Chinese by its kana."""
    letters = sum(c.isalpha() for c in sample)
    counts = {language: len(pattern.findall(sample)) for language, pattern in _SCRIPT_LETTERS.items()}
    if counts["ja"] > 0.1 * counts["zh"]:
        counts["ja"] += counts.pop("zh")
    language = max(counts, key=lambda name: counts[name])
    return (language, min(1.0, counts[language] / letters)) if letters and counts[language] > letters / 2 else None
