"""What the fields of a PATCH have in common."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

Value = TypeVar("Value")


def _no_null(value: object) -> object:
    """Never called for a field that is not named, since defaults are not checked."""
    if value is None:
        raise ValueError("must not be null")
    return value


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)  # it would be the null that is refused


IfNamed = Annotated[
    Value | SkipJsonSchema[None],
    BeforeValidator(_no_null),
    Field(json_schema_extra=_without_default),
]
"""None where the body does not name the field; a null in it is refused, as nothing to change to."""
