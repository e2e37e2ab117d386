"""Made-up requests to each operation of a document. What it imports takes a second: whoever needs
it imports it then, and not at the top of a file of tests, which each test process reads."""

from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES_PER_OPERATION = 25
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def operations(document: dict[str, Any]) -> Iterator[Any]:
    """Each has a `label`, such as `GET /health`."""
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        yield result.ok()  # type: ignore[union-attr]  # else it raises, as it should


def try_operation(address: str, operation: Any, mode: str) -> int:
    """How many made-up requests, "positive" or "negative" ones, the operation answered, each as its
    document says."""
    tried = 0

    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    @settings(
        max_examples=EXAMPLES_PER_OPERATION,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def is_answered_as_told(case: Any) -> None:
        nonlocal tried
        tried += 1
        response = case.call(base_url=address, session=session)
        case.validate_response(response, checks=_CHECKS)

    with requests.Session() as session:
        is_answered_as_told()
    return tried
