"""A client of the API: `Heloise`, and `AsyncHeloise` with the same methods for asyncio.

    from app.client import Heloise

    with Heloise("https://mail.internal", key="hel_…") as heloise:
        message = heloise.send(to=["ann@example.org"], subject="Hello", text="It works.")
        print(heloise.message(message["id"])["status"])

The client retries when the network fails, the service is overloaded or sends Retry-After. Every
request that sends has an `Idempotency-Key`, so a retry never sends twice.
"""

from app.client.clients import AsyncHeloise, Heloise
from app.client.errors import ApiError, HeloiseError, NoAnswerError
from app.client.shapes import Event, Message, Recipient, Reply, Result, Suppression

__all__ = [
    "ApiError",
    "AsyncHeloise",
    "Event",
    "Heloise",
    "HeloiseError",
    "Message",
    "NoAnswerError",
    "Recipient",
    "Reply",
    "Result",
    "Suppression",
]
