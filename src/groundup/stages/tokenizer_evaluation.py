"""Tokenizers side by side on the same texts: how much their tokens hold, in each domain and language, and how fast.

    out/result.json          all numbers (tokenization/evaluation.py and vocabulary_use.py say what they mean)
        bytes_per_token.png  the first of them as bars

Texts are read once, document by document, and every tokenizer counts each before the next is read: memory is that of
one document (of at most a million characters: longer plain texts are cut at blank lines), of the counters, and of the
first two million characters, on which speed is measured. The baselines `character` and `word` need text to learn from,
which is read before: the train split of a corpus folder, or else the measured text itself.

A document's domain is the name given with its path, else its source (up to the first `/`) where it carries one, else
the first folder below the given one, or the name of the given file or folder. Its language is that of
`corpus.language`; where that is unsure, or finds less than 2,000 bytes of a language in all, it is "unknown".
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from groundup.core.config import encode
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import write_bytes
from groundup.core.logging import get_logger
from groundup.core.progress import Advance, progress
from groundup.core.runs import Run, finished
from groundup.corpus.documents import read_jsonl
from groundup.corpus.language import LanguageConfig, identify
from groundup.corpus.sources import (
    RECORD_SUFFIXES,
    TEXT_SUFFIXES,
    cut_at_blank_lines,
    decode_bytes,
    input_files,
    is_corpus,
)
from groundup.stages.texts import text_fingerprint
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.byte_tokenizer import ByteTokenizer
from groundup.tokenization.character_tokenizer import CharacterTokenizer
from groundup.tokenization.encoding_speed import measure_speed
from groundup.tokenization.evaluation import Counts, Passage, Tally
from groundup.tokenization.tokenizer import Tokenizer
from groundup.tokenization.vocabulary_files import load_vocabulary
from groundup.tokenization.vocabulary_use import vocabulary_use
from groundup.tokenization.word_tokenizer import WordTokenizer

BASELINES = ("byte", "character", "word")
LONGEST_DOCUMENT = 1_000_000  # characters
SPEED_CHARACTERS = 2_000_000
LEAST_LANGUAGE_BYTES = 2_000
UNKNOWN_LANGUAGE = "unknown"
HEAD_BYTES = 1 << 16  # enough to tell text from binary
CHART = "bytes_per_token.png"
logger = get_logger(__name__)


@dataclass(frozen=True)
class TokenizerEvaluationConfig:
    """`tokenizers` are paths of vocabularies or names in `BASELINES`, `domains` are `NAME=PATH`; `word_vocab_size` is
    that of the baseline `word`, and speed is the median of `speed_rounds` rounds (0: not measured)."""

    tokenizers: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    domains: tuple[str, ...] = ()
    word_vocab_size: int = 50_000
    speed_rounds: int = 5

    def __post_init__(self) -> None:
        if not self.tokenizers:
            raise ConfigError(f"No tokenizer was given; name vocabularies, or any of {', '.join(BASELINES)}.")
        _refuse_twice("tokenizer", self.tokenizers)
        for domain in self.domains:
            if not all(domain.partition("=")):
                raise ConfigError(f"The domain {domain!r} is not NAME=PATH; write for example news=texts/news.jsonl.")
        paths = [str(path) for _, path in self.named_inputs()]
        if not paths:
            raise ConfigError("No text was given; name files, folders or a corpus with inputs or domains.")
        _refuse_twice("input", paths)
        if self.word_vocab_size < 2:
            raise ConfigError(f"word_vocab_size is {self.word_vocab_size}; it must be at least 2, one of them unknown.")
        if self.speed_rounds < 0:
            raise ConfigError(f"speed_rounds is {self.speed_rounds}; it must be 0 (no measurement) or more.")

    def named_inputs(self) -> list[tuple[str | None, Path]]:
        """(the domain that was given or None, path)."""
        pairs = (domain.partition("=") for domain in self.domains)
        return [*((None, path) for path in self.inputs), *((name, Path(path)) for name, _, path in pairs)]


@dataclass(frozen=True)
class TextFile:
    """A file to read: `domain` is the one that was given, `place` the one that its path suggests. A bad file that was
    only `found` in a folder is left out with a warning."""

    path: Path
    domain: str | None
    place: str
    found: bool

    @property
    def holds_records(self) -> bool:
        return self.path.name.endswith(RECORD_SUFFIXES)


@dataclass(frozen=True)
class NamedText:
    """A document as it is counted."""

    name: str
    domain: str
    text: str


def run_tokenizer_evaluation(config: TokenizerEvaluationConfig, out: Path) -> dict[str, Any]:
    """Evaluate into a run folder; a finished run of the same config, texts and vocabularies is reused."""
    from groundup.web.tokenizer_chart import bytes_per_token_chart

    for _, path in config.named_inputs():
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"The output folder {out} lies inside the input folder {path}; choose one outside it.")
    loaded = _load(config)
    inputs = {f"text {path}": text_fingerprint(path) for _, path in config.named_inputs()}
    inputs |= {f"tokenizer {path}": tokenizer.fingerprint for path, tokenizer in loaded.items()}
    if (done := finished(out, config, inputs)) is not None and (out / CHART).exists():
        return done
    with Run(out, config, inputs) as run:
        start = time.perf_counter()
        result = evaluate_tokenizers(config, loaded)
        write_bytes(out / CHART, bytes_per_token_chart(result))
        return run.finish({"seconds": time.perf_counter() - start, **result})


def evaluate_tokenizers(
    config: TokenizerEvaluationConfig, loaded: Mapping[str, BytePairTokenizer] | None = None
) -> dict[str, Any]:
    """The numbers of `result.json`; writes nothing. `loaded`: the vocabularies by path, if they are read already."""
    loaded = _load(config) if loaded is None else loaded
    files = _text_files(config)
    baselines = _baselines(config, files)
    names = short_names(config.tokenizers)
    tokenizers: dict[str, Tokenizer] = {names[path]: {**baselines, **loaded}[path] for path in config.tokenizers}
    tallies = {name: Tally(tokenizer) for name, tokenizer in tokenizers.items()}
    sample = _count(files, list(tallies.values()))
    if not sample:
        raise InputError(f"There is no text in {', '.join(str(path) for _, path in config.named_inputs())}.")
    speeds = None
    if config.speed_rounds:
        with progress("speed", (1 + config.speed_rounds) * len(tallies)) as advance:
            speeds = measure_speed(tokenizers, sample, config.speed_rounds, advance)
    first = next(iter(tallies.values()))
    return {
        **_size(first.total()),
        "domains": {name: _size(counts) for name, counts in by_group(first, 0).items()},
        "languages": {name: _size(counts) for name, counts in by_group(first, 1).items()},
        "baselines_learnt_from": _learnt_from(files) if baselines.keys() - {"byte"} else None,
        "speed_text_bytes": sum(len(text.encode()) for text in sample) if speeds else 0,
        "tokenizers": [
            _row(name, path, tallies[name]) | {"speed": encode(speeds[name]) if speeds else None}
            for path, name in names.items()
        ],
    }


def short_names(paths: Sequence[str], others: Sequence[str] = ()) -> dict[str, str]:
    """`gpt2` for `vocabularies/gpt2/`, `r50k_base` for `r50k_base.tiktoken`; the path where that name is not alone
    among these and the `others`."""
    short = {path: Path(path).name.removesuffix(".tiktoken") for path in (*paths, *others)}
    every = list(short.values())
    return {path: short[path] if short[path] and every.count(short[path]) == 1 else path for path in paths}


def by_group(tally: Tally, level: int) -> dict[str, Counts]:
    """Counts by domain (level 0) or language (level 1), the group with the most text first."""
    joined: dict[str, Counts] = {}
    for group, counts in tally.groups.items():
        joined.setdefault(group[level], Counts()).add(counts)
    return dict(sorted(joined.items(), key=lambda item: (-item[1].bytes, item[0])))


def _refuse_twice(kind: str, paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        same = str(Path(path).resolve())
        if same in seen:
            raise ConfigError(f"The {kind} {path} was given twice; give each once.")
        seen.add(same)


def _load(config: TokenizerEvaluationConfig) -> dict[str, BytePairTokenizer]:
    """The vocabularies that are files, by path."""
    found = {}
    for path in config.tokenizers:
        if path in BASELINES:
            continue
        if not Path(path).exists():
            raise MissingError(
                f"There is no tokenizer {path}: neither a file or folder nor one of {', '.join(BASELINES)}."
            )
        found[path] = load_vocabulary(Path(path))
    return found


def _baselines(config: TokenizerEvaluationConfig, files: Sequence[TextFile]) -> dict[str, Tokenizer]:
    """`byte`, and those baselines that learn from text and are asked for, by name."""
    train: dict[str, Any] = {
        "character": CharacterTokenizer.train,
        "word": partial(WordTokenizer.train, vocab_size=config.word_vocab_size),
    }
    baselines: dict[str, Tokenizer] = {"byte": ByteTokenizer()}
    wanted = [name for name in train if name in config.tokenizers]
    if not wanted:
        return baselines
    sources = [_train_split(file) for file in files]
    with progress("baselines", len(wanted) * _total_bytes(sources)) as advance:
        for name in wanted:
            baselines[name] = train[name](document.text for document in _documents(sources, advance))
    return baselines


def _train_split(file: TextFile) -> TextFile:
    """The train split beside a corpus folder's held-out one; of plain text, the file itself."""
    beside = file.path.with_name("train.jsonl")
    is_split = file.path.name == "heldout.jsonl" and is_corpus(file.path.parent)
    return TextFile(beside, file.domain, file.place, file.found) if is_split and beside.exists() else file


def _learnt_from(files: Sequence[TextFile]) -> str:
    with_train_split = sum(_train_split(file) != file for file in files)
    if with_train_split == len(files):
        return "the train split"
    return "the train split and, where there is none, the measured text" if with_train_split else "the measured text"


def _count(files: Sequence[TextFile], tallies: Sequence[Tally]) -> list[str]:
    """Count every document of the files in every tally; returns the first of the texts, to measure speed on."""
    sample: list[str] = []
    room = SPEED_CHARACTERS
    with progress("tokenize", _total_bytes(files)) as advance:
        for document in _documents(files, advance):
            passage = Passage(document.text)
            group = (document.domain, _language(document.text))
            for tally in tallies:
                tally.add(passage, document.name, group)
            if room > 0:
                sample.append(passage.text[:room])
                room -= len(sample[-1])
    if sample:
        _join_rare_languages(tallies)
    return sample


def _text_files(config: TokenizerEvaluationConfig) -> list[TextFile]:
    """Every file to read, in order; a file that two inputs share is an error."""
    files = []
    for domain, path in config.named_inputs():
        if is_corpus(path):
            heldout = path / "heldout.jsonl"
            if not heldout.exists() or not (path / "result.json").exists():
                raise MissingError(f"{path} holds no finished corpus with a held-out split; run groundup corpus build.")
            files.append(TextFile(heldout, domain, path.resolve().name, False))
            continue
        for file in input_files([path]):
            inside = file.relative_to(path).parts
            place = inside[0] if len(inside) > 1 else path.resolve().name
            files.append(TextFile(file, domain, _without_suffix(place), path.is_dir()))
    _refuse_twice("text file", [str(file.path) for file in files])
    return files


def _without_suffix(name: str) -> str:
    return next((name.removesuffix(end) for end in (*RECORD_SUFFIXES, *TEXT_SUFFIXES) if name.endswith(end)), name)


def _total_bytes(files: Sequence[TextFile]) -> int:
    return sum(file.path.stat().st_size for file in files)


def _documents(files: Sequence[TextFile], advance: Advance) -> Iterator[NamedText]:
    """The documents of the files that are not blank, while the bar moves by the files' bytes on disk."""
    for file in files:
        size = left = file.path.stat().st_size
        try:
            for document in _documents_of(file):
                if document.text.strip():
                    yield document
                step = min(left, len(document.text))  # packed text is larger than its file, records are smaller
                left -= step
                advance(step)
        except InputError as error:
            if not file.found or file.holds_records or left < size:
                raise
            logger.warning("left out: %s", error)
        advance(left)


def _documents_of(file: TextFile) -> Iterator[NamedText]:
    if file.holds_records:
        for document in read_jsonl(file.path):
            domain = file.domain or document.source.partition("/")[0] or file.place
            yield NamedText(document.id, domain, document.text)
        return
    for number, text in enumerate(_parts(file.path), 1):
        yield NamedText(f"{file.path}#{number}", file.domain or file.place, text)


def _parts(path: Path) -> Iterator[str]:
    """A plain text in pieces of at most LONGEST_DOCUMENT characters, read as they are needed."""
    with open(path, "rb") as head:
        decode_bytes(head.read(HEAD_BYTES), str(path))  # refuses an empty or a binary file
    rest = ""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        while block := file.read(LONGEST_DOCUMENT):
            *whole, rest = cut_at_blank_lines(rest + block, LONGEST_DOCUMENT)
            yield from whole
    yield rest


def _language(text: str) -> str:
    language, score = identify(text)
    return language if score >= LanguageConfig().min_score else UNKNOWN_LANGUAGE


def _join_rare_languages(tallies: Sequence[Tally]) -> None:
    """Count languages with too little text to say anything about as unknown."""
    rare = {name for name, counts in by_group(tallies[0], 1).items() if counts.bytes < LEAST_LANGUAGE_BYTES}
    for tally in tallies:
        groups, tally.groups = tally.groups, {}
        for (domain, language), counts in groups.items():
            kept = UNKNOWN_LANGUAGE if language in rare else language
            tally.groups.setdefault((domain, kept), Counts()).add(counts)


def _row(name: str, path: str, tally: Tally) -> dict[str, Any]:
    """One tokenizer's numbers."""
    total = tally.total()
    return {
        "name": name,
        "path": path,
        "vocab_size": tally.tokenizer.vocab_size,
        "tokens": total.tokens,
        **total.ratios(),
        "domains": {domain: counts.ratios() for domain, counts in by_group(tally, 0).items()},
        "languages": {language: counts.ratios() for language, counts in by_group(tally, 1).items()},
        "vocabulary": encode(vocabulary_use(tally.tokenizer, tally.token_counts)),
        "round_trip": {
            "failures": total.round_trip_failures,
            "first": encode(tally.first_failure),
        },
        "tokens_per_document": tally.document_length_percentiles(),
    }


def _size(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in ("documents", "bytes", "characters", "words")}
