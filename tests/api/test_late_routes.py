"""Routes that FastAPI works out when they are first asked for."""

from typing import Annotated

import pytest
from fastapi import FastAPI, Query
from fastapi.testclient import TestClient

from api.late_routes import LateRoute, late_router


def _app() -> tuple[FastAPI, list[LateRoute]]:
    router = late_router(tags=["things"])

    @router.get("/things")
    async def things(limit: Annotated[int, Query(le=5)] = 3) -> dict[str, int]:
        return {"limit": limit}

    @router.get("/things/{thing}")
    async def thing(thing: int) -> dict[str, int]:
        return {"thing": thing}

    @router.delete("/others/{thing}", status_code=204)
    async def forget(thing: int) -> None: ...

    app = FastAPI()
    app.router.routes[:0] = router.routes
    return app, [route for route in router.routes if isinstance(route, LateRoute)]


def _worked_out(routes: list[LateRoute]) -> list[str]:
    return [route.path for route in routes if "dependant" in vars(route)]


def test_a_route_is_worked_out_by_the_first_request_that_begins_like_it() -> None:
    app, routes = _app()
    client = TestClient(app)
    assert _worked_out(routes) == []
    assert client.get("/nothing").status_code == 404
    assert _worked_out(routes) == []
    assert client.get("/things/7").json() == {"thing": 7}
    assert _worked_out(routes) == ["/things", "/things/{thing}"]
    assert client.get("/things", params={"limit": 4}).json() == {"limit": 4}
    assert client.get("/things", params={"limit": 6}).status_code == 422
    assert client.post("/things").status_code == 405
    assert client.delete("/others/7").status_code == 204


def test_the_document_has_routes_that_nobody_has_asked_for() -> None:
    app, routes = _app()
    assert set(app.openapi()["paths"]) == {"/things", "/things/{thing}", "/others/{thing}"}
    assert len(_worked_out(routes)) == len(routes)


def test_what_a_route_does_not_have_is_an_attribute_error() -> None:
    _, routes = _app()
    assert routes[0].methods == {"GET"}
    assert _worked_out(routes) == []
    for _ in range(2):
        with pytest.raises(AttributeError, match="colour"):
            _ = routes[0].colour
