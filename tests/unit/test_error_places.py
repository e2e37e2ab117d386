"""What is wrong with a body is told under the names that its sender knows."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import main  # noqa: F401  imports all bodies
from errors import ServiceError
from schemas import Shape, explain

NONSENSE: tuple[object, ...] = (
    5,
    0.5,
    True,
    "x",
    "",
    None,
    [],
    [5],
    [None],
    {},
    {"x": 1},
    [{"x": 1}],
)
PLACE = re.compile(r"(\w+)((\.\w+)|(\[\d+\]))*")


def _bodies() -> Iterator[type[BaseModel]]:
    def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for each in model.__subclasses__():
            if each.__name__.endswith(("In", "Patch", "Set", "Filter")):  # others are answers
                yield each
            yield from below(each)

    yield from sorted(set(below(Shape)), key=lambda each: (each.__module__, each.__name__))


BODIES = list(_bodies())


def test_the_bodies_are_found() -> None:
    names = {each.__name__ for each in BODIES}
    assert {"AlertRulePatch", "ConversationIn", "EndpointPatch", "RulePatch", "PlanIn"} <= names


@pytest.mark.parametrize("body", BODIES, ids=lambda each: each.__name__)
def test_an_error_names_fields_and_places_alone(body: type[BaseModel]) -> None:
    adapter = TypeAdapter(body)
    for name, field in body.model_fields.items():
        for value in NONSENSE:
            try:
                adapter.validate_python({field.alias or name: value})
            except ValidationError as error:
                for one in error.errors(include_url=False, include_input=False):
                    told = explain([one]).removeprefix("Missing required field: ")
                    place, _, _ = told.partition(": ")
                    assert PLACE.fullmatch(place) or place == "The body", told
            except ServiceError:
                pass
