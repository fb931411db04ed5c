"""The client of Heloise: `Heloise`, and `AsyncHeloise` with the same methods for asyncio.

    from heloise_client import Heloise

    with Heloise("https://mail.internal", key="hel_…") as heloise:
        message = heloise.send_message(
            {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}
        )
        print(heloise.get_message(message["id"])["status"])

A method has the name of its operation in the API: path parameters come first, then the body as a
dictionary, then the parameters of the query by name. `heloise_client.types` has their types.
"""

from heloise_client.attachments import attach_bytes, attach_file
from heloise_client.calls import Call, Page
from heloise_client.errors import (
    ApiError,
    HeloiseError,
    NoAnswerError,
    UnreachableError,
    WebhookError,
)
from heloise_client.operations import AsyncHeloise, Heloise
from heloise_client.version import __version__
from heloise_client.webhooks import verify_webhook

__all__ = [
    "ApiError",
    "AsyncHeloise",
    "Call",
    "Heloise",
    "HeloiseError",
    "NoAnswerError",
    "Page",
    "UnreachableError",
    "WebhookError",
    "__version__",
    "attach_bytes",
    "attach_file",
    "verify_webhook",
]
