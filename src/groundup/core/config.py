"""Configs: frozen dataclasses to JSON and back, strictly.

An unknown key, a wrong type or an impossible value is a `ConfigError` that names the place (`model.width`) and, for a
key that does not exist, the nearest field. Types are checked by pydantic in strict mode (no string becomes a number);
combinations are checked by each class in `__post_init__`. Tuples are JSON arrays, paths are strings. A field that is
computed (`init=False`) is no part of the JSON.
"""

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from groundup.core.errors import ConfigError
from groundup.core.files import read_json

T = TypeVar("T")
WATCHING = {"watching": True}  # metadata of a field that says how a run is watched, not what comes out of it


def encode(config: Any, *, watching: bool = True) -> Any:  # noqa: ANN401 - a dataclass in, JSON values out
    """A config (or a value inside one) as JSON values; `decode(type(config), encode(config)) == config`. With
    `watching` False, the fields marked as `WATCHING` are left out."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = [field for field in dataclasses.fields(config) if field.init]
        kept = [field.name for field in fields if watching or not field.metadata.get("watching")]
        return {name: encode(getattr(config, name), watching=watching) for name in kept}
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, (list, tuple)):
        return [encode(item, watching=watching) for item in config]
    if isinstance(config, dict):
        return {key: encode(value, watching=watching) for key, value in config.items()}
    return config


def decode(cls: type[T], data: Any, source: str = "config") -> T:  # noqa: ANN401
    """Build a config of class `cls` from JSON values; `source` (a file name) is named in errors."""
    from pydantic import TypeAdapter, ValidationError

    _reject_unknown_keys(cls, data, source, "")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or cls.__name__
        if first["type"] == "value_error":  # our own __post_init__: a full sentence that names the value
            message = first["msg"].removeprefix("Value error, ")
        elif first["type"] == "missing":
            message = "this field is required and is not there."
        else:
            message = f"{first['msg']} (found {_short(first['input'])})."
        raise ConfigError(f"{source}: {place}: {message}") from None


def load(cls: type[T], path: Path) -> T:
    """Read a config of class `cls` from a JSON file."""
    return decode(cls, read_json(path), source=str(path))


def fingerprint(*values: Any) -> str:  # noqa: ANN401
    """A short hash of configs and JSON values: equal exactly when their JSON forms without `WATCHING` fields are."""
    text = json.dumps([encode(value, watching=False) for value in values], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=12).hexdigest()


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """The words `did you mean ...?`, or the list of what is known, for an error about an unknown name."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}."


def _reject_unknown_keys(kind: Any, data: Any, source: str, place: str) -> None:  # noqa: ANN401
    """Walk dataclasses, and dataclasses inside union, list, tuple and dict types, along the data.

    Pydantic would ignore an unknown key of a standard dataclass, so what this walk does not reach is not strict.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            what = place or kind.__name__
            raise ConfigError(f"{source}: {what} must be an object with named fields (found {_short(data)}).")
        known = _field_types(kind)
        for key, value in data.items():
            inner = f"{place}.{key}" if place else str(key)
            if key not in known:
                raise ConfigError(f"{source}: unknown key {inner!r}; {nearest(key, known)}")
            _reject_unknown_keys(known[key], value, source, inner)
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType) and isinstance(data, dict):
        classes = [argument for argument in arguments if dataclasses.is_dataclass(argument)]
        if classes:  # of several, the one of the data's kind, or else the one that shares most keys, is meant
            kind_of = {one: getattr(one, "kind", None) for one in classes}
            shared = {one: len(_field_types(one).keys() & data.keys()) for one in classes}
            meant = max(classes, key=lambda one: (kind_of[one] == data.get("kind"), shared[one]))
            _reject_unknown_keys(meant, data, source, place)
    elif origin in (list, tuple) and isinstance(data, list) and arguments:
        every = origin is list or arguments[-1] is Ellipsis
        for index, item in enumerate(data[: None if every else len(arguments)]):
            _reject_unknown_keys(arguments[0 if every else index], item, source, f"{place}[{index}]")
    elif origin is dict and isinstance(data, dict) and len(arguments) == 2:
        for key, item in data.items():
            _reject_unknown_keys(arguments[1], item, source, f"{place}.{key}")


def _field_types(cls: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """The fields of a dataclass that are given, not computed, with their types."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _short(value: Any) -> str:  # noqa: ANN401
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
