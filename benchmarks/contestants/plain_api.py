"""The floor of accepting: FastAPI and pydantic parse, check and answer, and forget."""

from typing import Annotated

from fastapi import FastAPI, Response
from pydantic import BaseModel, EmailStr, Field


class Message(BaseModel):
    """The body of the benchmark, checked as FastAPI's users do."""

    sender: Annotated[EmailStr, Field(alias="from")]
    to: list[EmailStr]
    subject: str
    text: str
    html: str


class Answer(BaseModel):
    """What it answers."""

    id: str
    to: list[str]
    subject: str
    status: str


def api() -> FastAPI:
    """The app."""
    app = FastAPI()

    @app.post("/messages", status_code=202)
    async def send(message: Message, response: Response) -> Answer:
        response.headers["Location"] = "/messages/1"
        return Answer(id="1", to=message.to, subject=message.subject, status="queued")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
