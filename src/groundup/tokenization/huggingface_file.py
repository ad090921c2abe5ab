"""Hugging Face's `tokenizer.json`, as read by `tokenizers` and `transformers`: byte-level byte-pair vocabularies.

Written are a Split by our pattern, the printable bytes (ByteLevel), the merges as `Ġ t`, and the special tokens, which
stand in the vocabulary and in `added_tokens`. There they count in every text; here only where `allow_special` says so.

Read are files of that kind: those of GPT-2, Llama 3, Qwen, and what `tokenizers` trains. `ignore_merges` (a pre-token
that is a token becomes it) matters only for tokens that no merge makes, so those are kept as `whole_pieces`. Tokens
that a post-processor puts around a text are the business of whoever uses the ids. Anything else that would change ids
(other kinds of models, normalizers and pre-tokenizers) is refused by name.
"""

from pathlib import Path
from typing import Any

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import read_json, write_json
from groundup.core.logging import get_logger
from groundup.tokenization.bpe import NORMALIZATIONS, BytePairTokenizer, Normalization, Pair
from groundup.tokenization.gpt2_files import printable_vocabulary
from groundup.tokenization.huggingface_pattern import from_oniguruma, to_oniguruma
from groundup.tokenization.merge_recovery import merges_of_pairs
from groundup.tokenization.patterns import PATTERNS
from groundup.tokenization.printable_bytes import from_printable, to_printable
from groundup.tokenization.tokenizer_file import FILE_NAME, number_pairs, printable_merges

CONFIG_NAME = "tokenizer_config.json"
Json = dict[str, Any]
logger = get_logger(__name__)


def write_huggingface(tokenizer: BytePairTokenizer, directory: Path) -> Path:
    """Write `tokenizer.json` and a `tokenizer_config.json` for `transformers` into a folder; returns it."""
    content = huggingface_json(tokenizer)
    config: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if "<|endoftext|>" in tokenizer.special_tokens:
        config["eos_token"] = "<|endoftext|>"
    write_json(directory / CONFIG_NAME, config)
    write_json(directory / FILE_NAME, content)
    return directory


def huggingface_json(tokenizer: BytePairTokenizer) -> Json:
    """The content of Hugging Face's `tokenizer.json`; a `ConfigError` where it would give other ids."""
    try:
        expression = to_oniguruma(tokenizer.pattern)
    except ValueError as error:
        raise ConfigError(f"Hugging Face cannot use the pre-token pattern {tokenizer.pattern!r}: {error}.") from None
    merges = printable_merges(tokenizer)
    if tokenizer.whole_pieces and merges_of_pairs([_bytes(pair) for pair in merges]).unmade:
        raise ConfigError(
            "Hugging Face cannot tell this tokenizer's whole pieces from merges that never join anything."
        )
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special_tokens = sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": name, **flags} for name, token in special_tokens],
        "normalizer": {"type": tokenizer.normalization} if tokenizer.normalization else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]},
        "post_processor": None,
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": bool(tokenizer.whole_pieces),
            "vocab": printable_vocabulary(tokenizer),
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }


def read_huggingface(path: Path) -> BytePairTokenizer:
    """The tokenizer in a Hugging Face `tokenizer.json`; an `InputError` names what it has that cannot be used."""
    return tokenizer_of_huggingface(read_json(path), path)


def is_huggingface(data: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    """Whether a JSON value looks like a Hugging Face tokenizer."""
    return isinstance(data, dict) and isinstance(data.get("model"), dict)


def tokenizer_of_huggingface(data: Json, path: Path) -> BytePairTokenizer:
    """The tokenizer in the JSON value of the file `path`, which errors name."""
    try:
        normalization = _normalization(data.get("normalizer"))
        special_tokens = _special_tokens(data.get("added_tokens") or [], normalization)
        pattern = _pattern(data.get("pre_tokenizer"))
        merges, ids, whole_pieces = _vocabulary(data["model"], special_tokens)
        return BytePairTokenizer(
            merges, pattern, special_tokens, ids, whole_pieces=whole_pieces, normalization=normalization
        )
    except (ConfigError, ValueError) as error:
        raise InputError(f"{path} is not usable here: {str(error).rstrip('.')}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a whole Hugging Face tokenizer ({type(error).__name__}: {error}).") from error


def _normalization(normalizer: Json | None) -> Normalization | None:
    if normalizer is None:
        return None
    if normalizer["type"] == "Sequence" and len(normalizer["normalizers"]) <= 1:
        return _normalization(next(iter(normalizer["normalizers"]), None))
    if normalizer["type"] not in NORMALIZATIONS:
        raise ValueError(f"its normalizer is {normalizer['type']}; only {', '.join(NORMALIZATIONS)} or none are known")
    return normalizer["type"]


def _special_tokens(added: list[Json], normalization: str | None) -> dict[str, int]:
    for token in added:
        strange = [flag for flag in ("lstrip", "rstrip", "single_word") if token.get(flag)]
        if token.get("normalized") and normalization:
            strange.append("normalized")
        if strange:
            raise ValueError(f"its added token {token['content']!r} has {' and '.join(strange)} set")
    if ordinary := [token["content"] for token in added if not token.get("special", True)]:
        logger.info(
            "Added tokens such as %r are special tokens here: text becomes them where they are allowed.", ordinary[0]
        )
    return {token["content"]: token["id"] for token in added}


def _pattern(pre_tokenizer: Json | None) -> str:
    """The pattern behind ByteLevel alone (GPT-2's), or a Split by a regular expression and then ByteLevel."""
    steps = [pre_tokenizer] if pre_tokenizer else []
    if pre_tokenizer and pre_tokenizer["type"] == "Sequence":
        steps = pre_tokenizer["pretokenizers"]
    names = [step["type"] for step in steps]
    if names not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise ValueError(
            f"its pre-tokenizer is {' and '.join(names) or 'missing'}; only byte-level vocabularies are known, whose "
            "pre-tokenizer is ByteLevel, or Split and ByteLevel"
        )
    last = steps[-1]
    if last.get("add_prefix_space", True):
        raise ValueError("its ByteLevel adds a space in front of the text (add_prefix_space)")
    if len(steps) == 1:
        if not last.get("use_regex", True):
            raise ValueError("its ByteLevel does not cut text (use_regex is false) and nothing else does")
        return PATTERNS["gpt2"]
    cut = steps[0]
    if last.get("use_regex", True):
        raise ValueError("it cuts text twice, by Split and by ByteLevel (use_regex)")
    if cut["behavior"] != "Isolated" or cut.get("invert") or "Regex" not in cut["pattern"]:
        raise ValueError("its Split is not by a regular expression with the behavior Isolated")
    return from_oniguruma(cut["pattern"]["Regex"])


def _vocabulary(model: Json, special_tokens: dict[str, int]) -> tuple[list[Pair], list[int], dict[bytes, int]]:
    """The merges, the ids of the tokens by number, and the tokens that no merge makes."""
    kind = model.get("type", "BPE")
    if kind != "BPE":
        raise ValueError(f"its model is {kind}; only byte-level BPE is known")
    for setting in ("dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise ValueError(f"its model has {setting} set ({model[setting]!r}); only byte-level BPE is known")
    vocabulary, ignore_merges = model["vocab"], model.get("ignore_merges", False)
    pairs = [_bytes(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    made = [left + right for left, right in pairs]
    if ignore_merges or len(set(made)) < len(made):
        merges, made, unmade = merges_of_pairs(pairs)
        if unmade and not ignore_merges:
            raise ValueError(f"none of its merges for the token {to_printable(unmade[0])!r} ever joins anything")
    else:
        merges = number_pairs(pairs)
    names = [to_printable(token) for token in [*(bytes([byte]) for byte in range(256)), *made]]
    if absent := [name for name in names if name not in vocabulary]:
        raise ValueError(f"its vocabulary has no token {absent[0]!r}")
    rest = vocabulary.keys() - set(names)
    for name in sorted(rest & special_tokens.keys()):
        if vocabulary[name] != special_tokens[name]:
            raise ValueError(f"its token {name!r} has two ids, {vocabulary[name]} and {special_tokens[name]}")
    rest -= special_tokens.keys()
    if rest and not ignore_merges:
        raise ValueError(f"no merge makes its token {min(rest)!r}")
    return (
        merges,
        [vocabulary[name] for name in names],
        {from_printable(name): vocabulary[name] for name in sorted(rest)},
    )


def _bytes(pair: Any) -> tuple[bytes, bytes]:  # noqa: ANN401 - two printable tokens, if the file is right
    if len(pair) != 2 or not all(pair):
        raise ValueError(f"its merge {pair!r} is not two tokens")
    return from_printable(pair[0]), from_printable(pair[1])


def _byte_level(use_regex: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
