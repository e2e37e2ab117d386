"""What all bodies that handlers read have in common."""

import json
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


def takes(field: TypeAdapter[Any], sent: str) -> bool:
    try:
        field.validate_json(sent)
    except ValidationError:
        return False
    return True


def test_a_patch_takes_a_null_only_where_its_description_has_one() -> None:
    taken = set()
    for shape in DOCUMENTED:
        if shape.__name__.endswith("Patch"):
            described = shape.model_json_schema()["properties"]
            for name in shape.model_fields:
                has_null = {"type": "null"} in described[name].get("anyOf", ())
                assert has_null or "default" not in described[name]
                assert has_null == takes(TypeAdapter(shape), json.dumps({name: None})), name
                taken |= {f"{shape.__name__}.{name}"} if has_null else set()

    assert taken == {
        "AlertRulePatch.window",
        "AlertRulePatch.above",
        "AlertRulePatch.at_least",
        "AlertRulePatch.quiet",
    }


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
