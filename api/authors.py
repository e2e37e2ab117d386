"""Asking who wrote."""

from typing import Annotated

from fastapi import Query, Request

from analysis.senders import account
from api.access import needs
from api.answers import AuthorOut, AuthorsOut, shown
from api.disconnect import stopped_when_gone
from api.error_responses import answers
from api.late_routes import late_router
from api.services import services
from errors import InvalidInput
from schemas import AuthorsQuery
from store.filters import BEGINNING, END

router = late_router(tags=["insights"])


@router.get("/api/v1/authors", responses=answers("invalid_schema", "unavailable"))
@needs("read")
async def list_authors(request: Request, query: Annotated[AuthorsQuery, Query()]) -> AuthorsOut:
    """Who wrote: with `prefix` those whose names begin so, most insights first; else those with
    most negative ones."""
    start, end = query.start_time or BEGINNING, query.end_time or END
    if start > end:
        raise InvalidInput("start_time must not be after end_time")
    async with stopped_when_gone(request):
        found = await services(request).authors.most(
            prefix=query.prefix, start_time=start, end_time=end, limit=query.limit
        )
    own = services(request).settings.own_authors
    return {"authors": [shown(AuthorOut, each, own=account(each.author) in own) for each in found]}
