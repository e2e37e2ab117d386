"""Handlers that need nothing of FastAPI are called without it; everything else goes on to it."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from api.direct_routes import DirectRoutes
from api.error_responses import add_error_handlers
from api.path_ids import path_id
from errors import Conflict, NotFound

routes_of_ours = APIRouter()


@routes_of_ours.post("/things")
async def take(request: Request) -> Response:
    body = await request.body()
    if body == b"twice":
        raise Conflict("It is there already.")
    return PlainTextResponse(f"taken: {body.decode()}", 202)


class _Wanted(BaseModel):
    name: str
    limit: int = Field(10, ge=1)


@routes_of_ours.get("/things")
async def look(request: Request, query: Annotated[_Wanted, Query()]) -> Response:
    return PlainTextResponse(f"{query.limit} of {query.name}")


ThingId = Annotated[str, path_id("thing", lambda id_: NotFound(f"There is no {id_}."))]


@routes_of_ours.get("/things/{thing_id}/parts/{part_id}")
async def look_at_part(
    request: Request, part_id: str, thing_id: ThingId, query: Annotated[_Wanted, Query()]
) -> Response:
    return PlainTextResponse(f"{query.name} of {part_id} of {thing_id}")


async def _framework(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"from the framework: {scope['method']}")(scope, receive, send)


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = DirectRoutes(_framework, routes=routes_of_ours.routes)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def test_its_routes_are_answered_by_their_handlers_alone(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=b"one")
    assert (answer.status_code, answer.text) == (202, "taken: one")


async def test_an_error_has_the_one_shape(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=b"twice")
    assert answer.status_code == 409
    assert answer.json() == {"error": "conflict", "details": "It is there already."}


async def test_ids_in_the_path_are_handed_over(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/thing_01234567/parts/part_89abcdef?name=a")
    assert answer.text == "a of part_89abcdef of thing_01234567"


async def test_an_id_of_another_kind_is_refused_as_the_handler_says(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/things/part_01234567/parts/part_89abcdef?name=a")
    assert answer.status_code == 404
    assert answer.json() == {"error": "not_found", "details": "There is no part_01234567."}


@pytest.mark.parametrize(
    ("query", "answered"),
    [
        ("name=a+b", "10 of a b"),
        ("name=%C3%A9&limit=3&unknown=1", "3 of é"),
        ("name=a&name=b", "10 of b"),
        ("name=", "10 of "),
        ("limit=3", "Missing required field: name"),
        ("name=a&limit=0", "limit: Input should be greater than or equal to 1"),
        ("name=a&limit=", "limit: Input should be a valid integer, unable to parse string"),
    ],
)
async def test_a_query_is_read_as_the_framework_reads_it(
    client: httpx.AsyncClient, query: str, answered: str
) -> None:
    app = FastAPI()
    app.router.routes += routes_of_ours.routes
    add_error_handlers(app)
    framework = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")

    for each in (client, framework):
        answer = await each.get(f"/things?{query}")
        text = answer.text if answer.status_code == 200 else answer.json()["details"]
        assert text.startswith(answered)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/things"),
        ("GET", "/things/"),
        ("POST", "/things/"),
        ("POST", "/things%0A"),
        ("POST", "/others"),
        ("PUT", "/things/thing_01234567/parts/part_89abcdef"),
        ("GET", "/things/thing_01234567/parts/part_89abcdef%0A"),
        ("GET", "/things/thing_01234567/parts/part_89abcdef0"),
        ("GET", "/things/thing_01234567/parts/part_89ABCDEF"),
        ("GET", "/things/thing_01234567/parts/all"),
        ("GET", "/things/thing_01234567//parts/part_89abcdef"),
        ("GET", "/things/thing_01234567%2Fparts/part_89abcdef/"),
        ("GET", "/things/{}/parts/part_89abcdef"),
        ("GET", "/things/%7B%7D/parts/%7B%7D"),
    ],
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
        await DirectRoutes(_framework, routes=routes_of_ours.routes)(given, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(serve)) as client:
        await client.post("http://here/things", content=b"one")
    assert scope["route"].path == "/things"
