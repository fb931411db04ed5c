"""The floors: what the parts that Heloise is made from do alone, without its promises."""

import asyncio
import time
from typing import Any, Final

import aiosmtplib
from fastapi import FastAPI, Response
from pydantic import BaseModel, EmailStr

SENDER: Final = "billing@example.com"
RECIPIENT: Final = "ann@example.org"
BODY: Final[dict[str, Any]] = {
    "from": SENDER,
    "to": [RECIPIENT],
    "subject": "Your receipt",
    "text": "Thanks for your order. The receipt is below.\n" * 20,
    "tags": ["receipt"],
    "metadata": {"order": "42"},
}


class PlainMessage(BaseModel):
    """The body of the benchmark, checked as FastAPI's users do."""

    to: list[EmailStr]
    subject: str
    text: str
    tags: list[str] = []
    metadata: dict[str, str] = {}


class PlainAnswer(BaseModel):
    """What it answers."""

    id: str
    to: list[str]
    subject: str
    status: str


def plain_api() -> FastAPI:
    """FastAPI and pydantic: parses, checks and answers, and forgets."""
    app = FastAPI()

    @app.post("/messages", status_code=202)
    async def send(message: PlainMessage, response: Response) -> PlainAnswer:
        response.headers["Location"] = "/messages/1"
        return PlainAnswer(id="1", to=message.to, subject=message.subject, status="queued")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


async def deliver_by_aiosmtplib(
    port: int, content: bytes, *, messages: int, connections: int
) -> float:
    """Send this message as often, from memory: no database, no record of what became of it.

    Returns how many seconds it took.
    """
    turns = iter(range(messages))

    async def send_all() -> None:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, start_tls=False, local_hostname="mail.example.com"
        ) as session:
            for _ in turns:  # whoever is free takes the next one
                await session.sendmail(SENDER, [RECIPIENT], content)

    started_at = time.perf_counter()
    await asyncio.gather(*(send_all() for _ in range(connections)))
    return time.perf_counter() - started_at
