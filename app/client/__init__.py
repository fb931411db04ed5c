"""A client of the API: `Heloise`, and `AsyncHeloise` for asyncio, with the same methods.

    from app.client import Heloise

    with Heloise("https://mail.internal", key="hel_…") as heloise:
        message = heloise.send(to=["ann@example.org"], subject="Hello", text="It works.")
        print(heloise.message(message["id"])["status"])

What may be asked again is asked again: where the network fails, the service is overloaded or says
to wait. Whatever sends has an `Idempotency-Key`, so that it sends once all the same.
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
