"""TypeScript declarations of the API's answers, from its OpenAPI document on the standard input.

`make check` writes them beside the checker, so that they are never older than the API. `Api.NAME`
is the schema of that name, `Api.Answer<"insights">` what a GET of `/api/v1/insights` answers.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

SIMPLE = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}
BASE = "/api/v1/"


def type_of(schema: dict[str, Any]) -> str:
    """The TypeScript of a schema; `any` where it says nothing."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(map(type_of, schema[choice]))
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    match schema.get("type"):
        case "null":
            return "null"
        case "array":
            return f"({type_of(schema.get('items', {}))})[]"
        case "object" if "properties" in schema:
            return f"{{ {' '.join(_fields(schema))} }}"
        case "object":
            more = schema.get("additionalProperties")
            return f"Record<string, {type_of(more) if isinstance(more, dict) else 'any'}>"
        case name:
            return SIMPLE.get(str(name), "any")


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        yield f"{json.dumps(name)}{'' if name in required else '?'}: {type_of(field)};"


def declarations(document: dict[str, Any]) -> Iterator[str]:
    yield "declare namespace Api {"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f"\ttype {name} = {type_of(schema)};"
    yield "\ttype Answer<Path extends string> ="
    answers = {path: _answer(operations["get"]) for path, operations in _gets(document)}
    # A path without parameters before those that a parameter's place would match too.
    for path, answer in sorted(answers.items(), key=lambda one: (one[0].count("{"), -len(one[0]))):
        pattern = re.sub(r"\{\w+\}", "${string}", path.removeprefix(BASE))
        yield f"\t\tPath extends `{pattern}` ? {answer} :"
    yield "\t\tnever;"
    yield "}"


def _gets(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        if path.startswith(BASE) and "get" in operations:
            yield path, operations


def _answer(operation: dict[str, Any]) -> str:
    content = operation["responses"]["200"].get("content", {})
    return type_of(content.get("application/json", {}).get("schema", {}))


if __name__ == "__main__":
    print("\n".join(declarations(json.load(sys.stdin))))
