"""Build requests and parse responses, without I/O.

`fields` are those of the API, see /docs. Queries omit fields that are None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

from app.client.shapes import Address, Event, Item, Message, Page, Result, Suppression

Returned = TypeVar("Returned")


@dataclass(frozen=True, slots=True)
class Call(Generic[Returned]):
    """A request. It may be repeated if it has an `idempotency_key` or changes nothing."""

    method: str
    path: str
    json: Any = None
    query: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    parse_body: Callable[[Any], Any] = lambda answer: answer

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice has the same effect as sending it once."""
        return self.method in {"GET", "DELETE"} or self.idempotency_key is not None

    def parse(self, content: Any) -> Returned:  # noqa: ANN401 - JSON
        """Convert the JSON of the response."""
        return cast("Returned", self.parse_body(content))


def _make_key(key: str | None) -> str:
    return key or str(uuid4())


def _format_path(path: str, name: str) -> str:
    return path.format(quote(name, safe=""))


def send(
    *,
    to: Sequence[Address] = (),
    idempotency_key: str | None = None,
    **fields: Any,  # noqa: ANN401 - of the API
) -> Call[Message]:
    """Send a message and return it. Write `from_` for `from`."""
    return Call(
        "POST", "/messages", _make_body(to, fields), idempotency_key=_make_key(idempotency_key)
    )


def _make_body(to: Sequence[Address], fields: dict[str, Any]) -> dict[str, Any]:
    body = {"from" if name == "from_" else name: value for name, value in fields.items()}
    return {"to": list(to), **body}


def send_batch(
    messages: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
) -> Call[list[Result]]:
    """Send up to 1000 messages in one transaction; returns a result for each."""
    return Call(
        "POST",
        "/messages/batch",
        {"messages": list(messages)},
        idempotency_key=_make_key(idempotency_key),
        parse_body=lambda answer: answer["results"],
    )


def message(message_id: str) -> Call[Message]:
    """Get a message with the status of each recipient."""
    return Call("GET", _format_path("/messages/{}", message_id))


def attempts(message_id: str) -> Call[list[Mapping[str, Any]]]:
    """List the attempts of a message, oldest first, at most 200."""
    path = _format_path("/messages/{}/attempts", message_id)
    return Call("GET", path, query={"limit": 200}, parse_body=lambda answer: answer["items"])


def cancel(message_id: str) -> Call[Message]:
    """Cancel delivery to recipients that have not got the message."""
    return Call("POST", _format_path("/messages/{}/cancel", message_id))


def reschedule(message_id: str, **fields: Any) -> Call[Message]:  # noqa: ANN401 - of the API
    """Change `send_at`, `expires_at` or `priority` of a scheduled message."""
    return Call("PATCH", _format_path("/messages/{}", message_id), fields)


def retry(
    message_id: str, *, recipients: Sequence[str] | None = None, idempotency_key: str | None = None
) -> Call[Message]:
    """Send a message again to failed recipients; returns the new message."""
    return Call(
        "POST",
        _format_path("/messages/{}/retry", message_id),
        {"recipients": None if recipients is None else list(recipients)},
        idempotency_key=_make_key(idempotency_key),
    )


def resolve(
    message_id: str, outcome: str, *, recipients: Sequence[str] | None = None
) -> Call[Message]:
    """Set the outcome of uncertain recipients: `sent`, `bounced` or `retry`."""
    addresses = None if recipients is None else list(recipients)
    body = {"as": outcome, "recipients": addresses}
    return Call("POST", _format_path("/messages/{}/resolve", message_id), body)


def suppress(address: str, **fields: Any) -> Call[Suppression]:  # noqa: ANN401 - of the API
    """Stop sending to an address: all messages, or those with a `tag`."""
    return Call("POST", "/suppressions", {"address": address, **fields})


def unsuppress(suppression_id: str) -> Call[None]:
    """Send to an address again."""
    return Call("DELETE", _format_path("/suppressions/{}", suppression_id))


def _make_listing(path: str, filters: Mapping[str, Any], cursor: str | None) -> Call[Page[Item]]:
    return Call("GET", path, query={"limit": 200, **filters, "cursor": cursor})


def messages(cursor: str | None = None, **filters: Any) -> Call[Page[Message]]:  # noqa: ANN401 - of the API
    """List a page of messages, newest first."""
    return _make_listing("/messages", filters, cursor)


def suppressions(cursor: str | None = None, **filters: Any) -> Call[Page[Suppression]]:  # noqa: ANN401 - of the API
    """List a page of suppressions, newest first."""
    return _make_listing("/suppressions", filters, cursor)


def events(cursor: str | None = None, **filters: Any) -> Call[Page[Event]]:  # noqa: ANN401 - of the API
    """List a page of events, oldest first. `next_cursor` is never null."""
    return _make_listing("/events", filters, cursor)
