"""Handlers that need nothing of FastAPI are called without it; everything else goes on to it."""

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from api.direct_routes import DirectRoutes
from errors import Conflict

intake = APIRouter()


@intake.post("/things")
async def take(request: Request) -> Response:
    body = await request.body()
    if body == b"twice":
        raise Conflict("It is there already.")
    return PlainTextResponse(f"taken: {body.decode()}", 202)


async def _framework(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"from the framework: {scope['method']}")(scope, receive, send)


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = DirectRoutes(_framework, routes=intake.routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def test_its_routes_are_answered_by_their_handlers_alone(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=b"one")
    assert (answer.status_code, answer.text) == (202, "taken: one")


async def test_an_error_has_the_one_shape(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=b"twice")
    assert answer.status_code == 409
    assert answer.json() == {"error": "conflict", "details": "It is there already."}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/things"), ("POST", "/things/"), ("POST", "/things%0A"), ("POST", "/others")],
)
async def test_what_does_not_match_to_the_letter_goes_on(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert answer.text == f"from the framework: {method}"


async def test_the_route_is_named_for_log_and_metrics() -> None:
    scope: Scope = {}

    async def serve(given: Scope, receive: Receive, send: Send) -> None:
        nonlocal scope
        scope = given
        await DirectRoutes(_framework, routes=intake.routes)(given, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(serve)) as client:
        await client.post("http://here/things", content=b"one")
    assert scope["route"].path == "/things"
