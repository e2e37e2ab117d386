"""What the fields of a PATCH have in common."""

from types import NoneType
from typing import Annotated, Any, TypeVar, Union, get_args

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

Value = TypeVar("Value")


def _no_null(value: object) -> object:
    """Never called for a field that is not named, since defaults are not checked."""
    if value is None:
        raise ValueError("must not be null")
    return value


class _NotNull:
    """To pydantic the type without its null: an error in a union names the member that it is in."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        members = tuple(each for each in get_args(source) if each is not NoneType)
        value = handler.generate_schema(Union[members])  # noqa: UP007  they are not known here
        return core_schema.no_info_before_validator_function(_no_null, value)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)  # it would be the null that is refused


IfNamed = Annotated[
    Value | None,
    _NotNull(),
    Field(json_schema_extra=_without_default),
]
"""None where the body does not name the field; a null in it is refused, as nothing to change to."""
