"""What a client wants the answer to look like, as a grammar for the engine: OpenAI's `response_format`, and vLLM's
`structured_outputs` and `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`."""

import json
from collections.abc import Callable
from typing import Any

from groundup.core.errors import GroundupError
from groundup.inference.requests import Grammar
from groundup.serving.errors import bad_request
from groundup.serving.protocol import SamplingBody, StructuredOutputs

ANY_OBJECT = {"type": "object"}


def grammar_of(body: SamplingBody) -> Grammar | None:
    """The grammar of a body, checked; None where any text will do."""
    asked = {
        "response_format": _of_response_format(body),
        "structured_outputs": _of_structured_outputs(body.structured_outputs),
        **{f"guided_{form}": _of(form, getattr(body, f"guided_{form}")) for form in FORMS},
    }
    found = {name: grammar for name, grammar in asked.items() if grammar is not None}
    if not found:
        return None
    if len(found) > 1:
        raise bad_request(f"{' and '.join(found)} are both given; an answer can follow one of them.")
    ((name, grammar),) = found.items()
    from groundup.inference.constraints import check_grammar  # brings llguidance, which few requests need

    try:
        check_grammar(grammar)
    except GroundupError as error:
        raise bad_request(str(error), param=name) from error
    return grammar


def one_of(choices: list[str]) -> Grammar:
    """One of these texts and nothing else."""
    return Grammar("lark", "start: " + " | ".join(json.dumps(choice) for choice in choices))


def _of_response_format(body: SamplingBody) -> Grammar | None:
    asked = body.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return _schema(ANY_OBJECT)
    if asked.json_schema is None or asked.json_schema.json_schema is None:
        message = 'response_format of type json_schema needs {"json_schema": {"name": "...", "schema": {...}}}.'
        raise bad_request(message, param="response_format")
    return _schema(asked.json_schema.json_schema)


def _of_structured_outputs(asked: StructuredOutputs | None) -> Grammar | None:
    if asked is None:
        return None
    values = asked.model_dump(by_alias=True)
    found = [*(_of(form, values[form]) for form in FORMS), _schema(ANY_OBJECT) if asked.json_object else None]
    given = [grammar for grammar in found if grammar is not None]
    if len(given) > 1:
        raise bad_request("structured_outputs names more than one form; leave one of them.", param="structured_outputs")
    return given[0] if given else None


def _schema(schema: dict[str, Any] | str) -> Grammar:
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))


FORMS: dict[str, Callable[[Any], Grammar]] = {
    "json": _schema,
    "regex": lambda pattern: Grammar("regex", pattern),
    "choice": one_of,
    "grammar": lambda rules: Grammar("lark", rules),
}
"""vLLM's names, of fields in `structured_outputs` and behind `guided_`."""


def _of(form: str, value: Any) -> Grammar | None:  # noqa: ANN401 - what the field of that form holds
    return None if value is None else FORMS[form](value)
