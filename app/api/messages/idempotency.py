"""Handle the header `Idempotency-Key`: a repeated request takes effect once.

Follows the IETF draft "The Idempotency-Key HTTP Header Field". Keys belong to a tenant and are kept
for at least a day.
"""

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response

from app.api.http.threads import run_in_thread_if_large
from app.api.messages.responses import dump_new_message
from app.api.messages.service import commit_message
from app.api.messages.waiting_reasons import read_message
from app.api.requests.media_types import get_media_type
from app.api.services import Services
from app.auth.caller import Caller
from app.domain.errors import Conflict, InvalidRequest, SealError
from app.domain.frozen_dataclass import frozen_dataclass
from app.domain.types import NewMessage, Profile
from app.store import idempotency
from app.store.idempotency import KeyedRequest
from app.store.messages import queries as messages
from app.store.secrets.contexts import request_fingerprint

MAX_CHARACTERS: Final = 255
PATTERN: Final = r"^[ -~]+$"
BLOCK_CHARACTERS: Final = 100_000
REPLAYED: Final = "Idempotent-Replayed"
REPLAYED_HEADER: Final[dict[str, Any]] = {
    REPLAYED: {
        "description": "`true` if this repeats the response of an earlier request.",
        "schema": {"type": "string"},
    }
}

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_CHARACTERS,
        pattern=PATTERN,
        description="A unique text per request, such as a UUID. If you repeat a request with the"
        " same key and body, Heloise returns the first response and sends nothing. Kept for at"
        " least 24 hours.",
        examples=["order-42-receipt"],
    ),
]


Prepared = tuple[NewMessage, Profile]


@frozen_dataclass
class Accepted:
    """An accepted message: its id, and the JSON of the first response."""

    message_id: str
    response: str
    is_replay: bool = False

    def build_response(self) -> Response:
        """Build the 202 response for the durable message."""
        headers = {"Location": f"/messages/{self.message_id}"}
        if self.is_replay:
            headers[REPLAYED] = "true"
        return Response(
            self.response, status_code=202, media_type="application/json", headers=headers
        )


async def respond_once(
    request: Request,
    services: Services,
    caller: Caller,
    key: str | None,
    make: Callable[[], Awaitable[Prepared]],
) -> Response:
    """Accept the message of a request once and build the response; raises as `accept_once`."""
    fingerprint_of = partial(fingerprint_request, request)
    return (await accept_once(services, caller, key, fingerprint_of, make)).build_response()


async def accept_once(
    services: Services,
    caller: Caller,
    key: str | None,
    fingerprint_of: Callable[[], Awaitable[str]],
    make: Callable[[], Awaitable[Prepared]],
    *,
    is_probably_new: bool = False,
    dump_response: Callable[[NewMessage, Profile], str] = dump_new_message,
) -> Accepted:
    """Accept the message that `make` returns, or return the earlier one of this key.

    With `is_probably_new` only the transaction that stores the message looks for an earlier one. It
    saves a read per message, and for a repeated one costs what `make` does. `dump_response` makes
    the response that is kept for a repetition: JSON with at least `profile_id`.

    Raises what `fingerprint_of`, `make` and the committer raise, Conflict while another request
    with the key runs, and InvalidRequest if the key was used for a different request.
    """
    if key is None:
        message, profile = await make()
        await commit_message(services, caller, message)
        return Accepted(message.id, dump_response(message, profile))
    keyed = IdempotentRequest(services, caller, key, await fingerprint_of())
    with lock_key(services, caller, key):
        earlier = None if is_probably_new else await keyed.find_earlier()
        if earlier is None:
            message, profile = await make()
            response = dump_response(message, profile)
            earlier = await commit_message(
                services, caller, message, keyed.build_record(message, response)
            )
            if earlier is None:
                return Accepted(message.id, response)
        return Accepted(earlier.message_id, await keyed.replay_body(earlier), is_replay=True)


@contextmanager
def lock_key(services: Services, caller: Caller, key: str | None) -> Iterator[None]:
    """Hold an idempotency key, if there is one, in this process while the block runs.

    Raises Conflict if another request holds it.
    """
    if key is None:
        yield
        return
    name = (caller.tenant_id, key)
    if name in services.in_flight:
        raise Conflict(
            "idempotency-key-in-flight",
            "An earlier request with this key is still in progress; send this one again later.",
        )
    services.in_flight.add(name)
    try:
        yield
    finally:
        services.in_flight.discard(name)


def build_item_key(key: str, number: int) -> str:
    """Build the key of one message of a request by its number."""
    # Keys in requests contain no line break, so the two never collide.
    return f"{key}\n{number}"


class IdempotentRequest:
    """A request with an idempotency key and the fingerprint of its body."""

    def __init__(self, services: Services, caller: Caller, key: str, fingerprint: str) -> None:
        self._services = services
        self._caller = caller
        self.key = key
        self.key_hash = sha256(self._row.encode()).hexdigest()
        self._fingerprint = fingerprint

    async def find_earlier(self) -> KeyedRequest | None:
        """Return the earlier request with this key, or None."""
        async with self._services.database.reading() as connection:
            request_by_hash = await idempotency.find(
                connection, tenant_id=self._caller.tenant_id, hashes=[self.key_hash]
            )
        return request_by_hash.get(self.key_hash)

    def build_record(self, message: NewMessage, response: str) -> KeyedRequest:
        sealed = self._services.vault.seal(self._fingerprint, request_fingerprint(self._row))
        return KeyedRequest(
            tenant_id=self._caller.tenant_id,
            key_hash=self.key_hash,
            message_id=message.id,
            sealed_fingerprint=sealed,
            response=response,
            created_at=message.created_at,
        )

    async def replay_body(self, earlier: KeyedRequest) -> str:
        """Return the JSON of the earlier response.

        Raises InvalidRequest if the earlier request had another body or its message is outside the
        caller's reach. The error does not say which.
        """
        if self._is_same_body(earlier):
            response = earlier.response or await self._read_message_json(earlier)
            if self._caller.can_reach(str(json.loads(response)["profile_id"])):
                return response
        raise InvalidRequest(
            f"The Idempotency-Key {self.key!r} was used for a different request: use a new key for"
            " a new message.",
            slug="idempotency-key-reused",
        )

    async def _read_message_json(self, earlier: KeyedRequest) -> str:
        """Render the message anew: a recipient of the first response was erased."""
        async with self._services.database.reading() as connection:
            view = await messages.get(
                connection, tenant_id=self._caller.tenant_id, message_id=earlier.message_id
            )
            now = self._services.now()
            read = await read_message(
                connection,
                self._caller.tenant_id,
                view,
                now=now,
                alive_since=self._services.alive_since(now),
            )
        return read.model_dump_json(by_alias=True)

    def _is_same_body(self, earlier: KeyedRequest) -> bool:
        """Compare fingerprints. One that cannot be decrypted counts as equal."""
        try:
            sealed = earlier.sealed_fingerprint
            stored_fingerprint = self._services.vault.open(sealed, request_fingerprint(self._row))
        except SealError:
            return True
        return hmac.compare_digest(stored_fingerprint, self._fingerprint)

    @property
    def _row(self) -> str:
        return f"{self._caller.tenant_id} {self.key}"


def is_idempotency_key(text: str) -> bool:
    """Return whether `IdempotencyKey` accepts the text."""
    return len(text) <= MAX_CHARACTERS and re.fullmatch(PATTERN, text) is not None


async def fingerprint_request(request: Request) -> str:
    """Fingerprint a request, ignoring order and whitespace of its JSON."""
    content = await request.body()
    if get_media_type(request).endswith("json"):
        return await fingerprint_json(request.url.path, content)
    digest = sha256(content).hexdigest()
    return fingerprint_value(request.url.path, [sorted(request.query_params.multi_items()), digest])


async def fingerprint_json(path: str, content: bytes) -> str:
    """Fingerprint a JSON body; raises ValueError or RecursionError if it is invalid."""
    return await run_in_thread_if_large(len(content), _fingerprint, path, content)


def _fingerprint(path: str, content: bytes) -> str:
    return fingerprint_value(path, json.loads(content))


def fingerprint_value(path: str, value: object) -> str:
    """Fingerprint a JSON value and the path that it was sent to."""
    digest = sha256(f"{path}\n".encode())
    for part in _encode_canonically(value):
        digest.update(part)
    return digest.hexdigest()


def _encode_canonically(value: object) -> Iterator[bytes]:
    """Yield a unique encoding of a value in blocks, to avoid copies of large files."""
    match value:
        case str():
            yield b"%d:" % len(value)
            for start in range(0, len(value), BLOCK_CHARACTERS):
                block = value[start : start + BLOCK_CHARACTERS]
                yield block.encode("utf-8", "surrogatepass")
        case dict():
            yield b"{"
            for name in sorted(value):
                yield from _encode_canonically(name)
                yield from _encode_canonically(value[name])
            yield b"}"
        case list() | tuple():
            yield b"["
            for item in value:
                yield from _encode_canonically(item)
            yield b"]"
        case _:
            yield json.dumps(value).encode() + b","
