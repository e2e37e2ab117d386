"""What all bodies that handlers read have in common."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

import main  # noqa: F401  # brings the handlers, and with them all bodies
from api.bodies import DOCUMENTED
from api.label_bodies import LabelSet


def fields_of(shape: type[BaseModel], place: str = "") -> Iterator[tuple[str, TypeAdapter[Any]]]:
    """All that can stand in the body, also in its parts."""
    for name, field in shape.model_fields.items():
        at = f"{place or shape.__name__}.{name}"
        yield at, TypeAdapter(field.rebuild_annotation())
        for part in shapes_in(field.annotation):
            yield from fields_of(part, at)


def shapes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from shapes_in(argument)


def types_in(field: TypeAdapter[Any]) -> set[str]:
    schema = field.json_schema()
    return {each.get("type", "") for each in (schema, *schema.get("anyOf", ()))}


def takes(field: TypeAdapter[Any], json: str) -> bool:
    try:
        field.validate_json(json)
    except ValidationError:
        return False
    return True


def test_a_number_in_a_body_is_no_text_and_no_truth() -> None:
    checked = set()
    shapes: list[type[BaseModel]] = [*DOCUMENTED, LabelSet]
    for place, field in (each for shape in shapes for each in fields_of(shape)):
        numbers = types_in(field) & {"integer", "number"}
        if not numbers and "boolean" not in types_in(field):
            continue
        checked.add(place)
        for other in ('"1"', '"0.5"', '"true"', "true" if numbers else "1"):
            assert not takes(field, other), (place, other)

    assert {
        "HandlingIn.minutes",
        "HandlingIn.take_over",
        "LabelSet.sentiment_score",
        "RuleIn.filter.min_confidence",
        "PlanIn.filter.min_confidence",
        "AlertRuleIn.filter.min_confidence",
        "AlertRulePatch.at_least",
        "MuteIn.hours",
    } <= checked
