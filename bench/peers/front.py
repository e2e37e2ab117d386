"""What the peers share: the HTTP app in front of a queue, and what one of its jobs does.

A conversation is checked, given an id and put into the queue, where it waits with all that it has:
no table of conversations is kept beside it. Its job asks Grok once and stores the answer.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from fastapi import FastAPI
from pydantic import BaseModel

DATABASE = os.environ["DATABASE_URL"]
CONNECTIONS = 20
_CREATE_RESULTS = """
CREATE TABLE results (
    id text PRIMARY KEY, text text NOT NULL, author text, sentiment_score float8 NOT NULL,
    confidence float8 NOT NULL, clusters jsonb NOT NULL, reasoning text NOT NULL
)
"""
_PROMPT = (
    "Judge this customer's message. Answer with JSON alone, in results: sentiment_score (-1 to 1),"
    " clusters (names of topics), confidence (0 to 1), reasoning."
)


class Conversation(BaseModel):
    text: str
    author: str | None = None
    timestamp: datetime | None = None
    raw_data: dict[str, Any] | None = None


class Batch(BaseModel):
    conversations: list[Conversation]


Job = dict[str, Any]


def front(
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    enqueue: Callable[[Sequence[Job]], Awaitable[object]],
    find: Callable[[str], Awaitable[Mapping[str, Any] | None]],
) -> FastAPI:
    """`find` gives the stored result of an id, if there is one."""
    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/api/v1/conversations", status_code=202)
    async def submit(conversation: Conversation) -> dict[str, str]:
        job = _job_of(conversation)
        await enqueue([job])
        return {"status": "accepted", "conversation_id": job["id"]}

    @app.post("/api/v1/conversations/batch", status_code=202)
    async def submit_batch(batch: Batch) -> dict[str, Any]:
        jobs = [_job_of(each) for each in batch.conversations]
        await enqueue(jobs)
        return {"status": "accepted", "conversation_ids": [job["id"] for job in jobs]}

    @app.get("/api/v1/conversations/{id_}")
    async def look(id_: str) -> dict[str, Any]:
        insight = await find(id_)
        return {"status": "completed" if insight else "pending", "insight": insight}

    return app


def _job_of(conversation: Conversation) -> Job:
    return {"id": uuid4().hex, **conversation.model_dump(mode="json")}


class Grok:
    """Connects when it is first asked."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def judge(self, job: Job) -> tuple[Any, ...]:
        """The row of `results`."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=os.environ["GROK_BASE_URL"],
                headers={"Authorization": f"Bearer {os.environ['GROK_KEY']}"},
                limits=httpx.Limits(max_connections=None),
                timeout=30,
            )
        asked = {"id": job["id"], "text": job["text"]}
        messages = [
            {"role": "system", "content": _PROMPT},
            {"role": "user", "content": json.dumps(asked)},
        ]
        body = {"model": "grok-4-fast-non-reasoning", "temperature": 0.3, "messages": messages}
        answer = await self._client.post("/chat/completions", json=body)
        answer.raise_for_status()
        said = json.loads(answer.json()["choices"][0]["message"]["content"])
        said = said["results"][0]
        return (
            job["id"],
            job["text"],
            job["author"],
            said["sentiment_score"],
            said["confidence"],
            json.dumps(said["clusters"]),
            said["reasoning"],
        )


async def _create_results() -> None:
    connection = await asyncpg.connect(DATABASE)
    await connection.execute(_CREATE_RESULTS)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_create_results())
