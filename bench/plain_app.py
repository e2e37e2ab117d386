"""The least that a FastAPI app can do for the same request: check it, answer it, store nothing."""

from datetime import datetime
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


class ConversationIn(BaseModel):
    text: str
    author: str | None = None
    timestamp: datetime | None = None
    raw_data: dict[str, Any] | None = None


class Accepted(BaseModel):
    status: str = "accepted"
    conversation_id: str
    message: str = "Conversation queued for analysis"


class Health(BaseModel):
    status: str = "ok"


app = FastAPI()


@app.post("/api/v1/conversations", status_code=202)
async def submit_conversation(conversation: ConversationIn) -> Accepted:
    return Accepted(conversation_id="conv_00000000")


@app.get("/health")
async def health() -> Health:
    return Health()
