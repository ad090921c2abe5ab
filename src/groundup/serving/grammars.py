"""What a client wants the answer to look like, as a grammar for the engine: OpenAI's `response_format`, and vLLM's
`structured_outputs` and `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`."""

import json
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
        "guided_json": None if body.guided_json is None else _schema(body.guided_json),
        "guided_regex": None if body.guided_regex is None else Grammar("regex", body.guided_regex),
        "guided_choice": None if body.guided_choice is None else one_of(body.guided_choice),
        "guided_grammar": None if body.guided_grammar is None else Grammar("lark", body.guided_grammar),
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
    found = [
        None if asked.json_ is None else _schema(asked.json_),
        None if asked.regex is None else Grammar("regex", asked.regex),
        None if asked.choice is None else one_of(asked.choice),
        None if asked.grammar is None else Grammar("lark", asked.grammar),
        _schema(ANY_OBJECT) if asked.json_object else None,
    ]
    given = [grammar for grammar in found if grammar is not None]
    if len(given) > 1:
        raise bad_request("structured_outputs names more than one form; leave one of them.", param="structured_outputs")
    return given[0] if given else None


def _schema(schema: dict[str, Any] | str) -> Grammar:
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))
