"""Models in Hugging Face's layout: a folder with `config.json` and safetensors files.

Weights stay in the dtype of the files; `huggingface_families.py` translates the config, `huggingface_rules.py` the
weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from groundup.checkpoint.huggingface_families import family_named, family_of
from groundup.checkpoint.huggingface_rules import Shapes, to_ours, to_theirs
from groundup.core.errors import InputError, MissingError
from groundup.core.files import new_directory, read_json, write_json
from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.vocabulary_files import save_vocabulary

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


def read_huggingface(folder: Path) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Config and weights by our names of a model in a folder."""
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder} has no config.json; name the folder of a model in Hugging Face's layout.")
    values = read_json(folder / "config.json")
    try:
        family = family_named(values["model_type"])
        config = family.read(values)
    except KeyError as error:
        raise InputError(f"{folder / 'config.json'} has no {error.args[0]!r}.") from None
    theirs = _read_tensors(folder)
    if "transformer.wte.weight" not in theirs and "wte.weight" in theirs:  # GPT-2 as it was published
        theirs = {f"transformer.{name}": tensor for name, tensor in theirs.items()}
    return config, to_ours(family.rules, config, theirs, shapes_of(config))


def write_huggingface(
    config: DecoderConfig,
    weights: Mapping[str, Tensor],
    folder: Path,
    more: Mapping[str, Any] | None = None,
    tokenizer: BytePairTokenizer | None = None,
) -> Path:
    """Write a new folder; a `ConfigError` where no family can hold the decoder. `more` goes into `config.json`."""
    family, values = family_of(config)
    theirs = to_theirs(family.rules, config, weights)
    dtype = str(next(iter(theirs.values())).dtype).removeprefix("torch.")
    with new_directory(folder) as temporary:
        save_file(theirs, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / WEIGHTS).chmod(temporary.stat().st_mode & 0o666)
        about = {"architectures": [family.architecture], "model_type": family.model_type, "dtype": dtype}
        write_json(temporary / "config.json", {**about, **values, **(more or {})})
        if tokenizer is not None:
            save_vocabulary(tokenizer, "huggingface", temporary)
    return folder


def shapes_of(config: DecoderConfig) -> Shapes:
    """The shape of every weight of a decoder, by name."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Decoder(config).state_dict().items()}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Of one file, or of those that an index lists."""
    files = [folder / WEIGHTS]
    if (folder / INDEX).exists():
        files = [folder / name for name in sorted(set(read_json(folder / INDEX)["weight_map"].values()))]
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise MissingError(f"{file} is not there; the model's weights must be in safetensors files.")
        try:
            tensors |= load_file(file)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise InputError(f"{file} is no whole safetensors file: {error}.") from None
    return tensors
