"""Serve `POST /messages/upload`: JSON Lines in constant memory."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from app.api.auth.dependencies import Sender
from app.api.http.field_errors import build_invalid_request
from app.api.http.threads import run_in_thread_if_large
from app.api.messages.batch_service import (
    BatchItem,
    accept_items,
    parse_item,
)
from app.api.messages.idempotency import (
    IdempotencyKey,
    IdempotentRequest,
    build_item_key,
    fingerprint_value,
    lock_key,
)
from app.api.openapi import lines_content, problems
from app.api.requests import body_reader as intake
from app.api.requests.json_limits import Router, check_json
from app.api.requests.media_types import require_media_type
from app.api.requests.problems import build_problem_body
from app.api.services import ReadyServices, Services
from app.auth.caller import Caller
from app.domain.errors import FieldError, Problem, TooLarge

router = Router("Messages")

PATH: Final = "/messages/upload"
TYPES: Final = ("application/jsonl", "application/x-ndjson")
GROUP: Final = 200
GROUP_BYTES: Final = 4 * 1024 * 1024
# Clients may not read before they have sent everything, so early responses must fit buffers.
REFUSALS_SHOWN: Final = 200
LINES: Final = """{"to": ["ann@example.org"], "subject": "Hello", "text": "It works."}
{"to": ["bob@example.org"], "subject": "Hello", "text": "It works."}
"""
PROGRESS: Final = """{"lines": 200, "accepted": 199, "refused": 1, "is_done": false}
{"line": 17, "problem": {"type": "/problems/invalid-request", "status": 422}}
{"lines": 350, "accepted": 349, "refused": 1, "is_done": true}
"""


# The line's number in the file, counting empty lines, and its content.
Line = tuple[int, bytes]


class _Progress(Response):
    """A response that streams lines while the request is still being read."""

    media_type = TYPES[0]

    def __init__(self, lines: AsyncIterator[str]) -> None:
        super().__init__(status_code=202)
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        start = {"type": "http.response.start", "status": 202, "headers": self.raw_headers}
        await send(start)
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@router.post(
    PATH,
    status_code=202,
    summary="Upload messages",
    response_class=_Progress,
    responses={
        202: {
            "description": 'Progress: one line per 200 messages. The last line has `"is_done":'
            " true`. If that line is missing or has a `problem`, Heloise did not accept all"
            " messages.",
            "content": lines_content(TYPES[0], PROGRESS),
        }
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "One message per line, in the format of `POST /messages`.",
            "content": lines_content(TYPES[0], LINES),
        }
    },
)
@problems("idempotency-key-in-flight")
async def upload_messages(
    caller: Sender,
    services: ReadyServices,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accept any number of messages as JSON Lines.

    Each line is a message of its own. The response names the first 200 refused lines by their
    number in the file. Set a tag to find the messages later. If the connection breaks, accepted
    messages stay accepted: send the same lines with the same `Idempotency-Key` again, and Heloise
    accepts only the rest.
    """
    require_media_type(request, "JSON Lines", *TYPES)
    return _Progress(_stream_progress(services, caller, request, idempotency_key))


async def _stream_progress(
    services: Services, caller: Caller, request: Request, key: str | None
) -> AsyncIterator[str]:
    """Accept the messages in groups and yield progress lines."""
    lines = accepted = refused = 0
    try:
        with lock_key(services, caller, key):
            async for group in _read_groups(request, services.max_body_bytes):
                items = [
                    await run_in_thread_if_large(
                        len(line), _build_item, services, caller, line, key, place
                    )
                    for place, (_, line) in enumerate(group, start=lines + 1)
                ]
                await accept_items(services, caller, request, items)
                failures = [
                    (number, item.problem)
                    for (number, _), item in zip(group, items, strict=True)
                    if item.problem is not None
                ]
                failures_shown = failures[: max(0, REFUSALS_SHOWN - refused)]
                lines += len(items)
                refused += len(failures)
                accepted += len(items) - len(failures)
                for number, problem in failures_shown:
                    yield _format_line(line=number, problem=build_problem_body(problem, PATH))
                yield _format_line(lines=lines, accepted=accepted, refused=refused, is_done=False)
    except Problem as problem:  # the status is already sent
        yield _format_line(
            lines=lines,
            accepted=accepted,
            refused=refused,
            is_done=False,
            problem=build_problem_body(problem, PATH),
        )
    else:
        yield _format_line(lines=lines, accepted=accepted, refused=refused, is_done=True)


def _format_line(**fields: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(fields) + "\n"


def _build_item(
    services: Services, caller: Caller, line: bytes, key: str | None, place: int
) -> BatchItem:
    keyed = None
    try:
        check_json(line)
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"the line is not JSON: {error}"
        return BatchItem(build_invalid_request([FieldError(("body",), reason)]))
    except Problem as problem:
        return BatchItem(build_invalid_request([FieldError(("body",), problem.detail)]))
    if key is not None:
        keyed = IdempotentRequest(
            services, caller, build_item_key(key, place), fingerprint_value(PATH, value)
        )
    return BatchItem(parse_item(value), keyed)


async def _read_groups(request: Request, max_line_bytes: int) -> AsyncIterator[list[Line]]:
    """Yield non-empty lines in groups; raises TooLarge for a line that is too long.

    Lines in a group and unfinished lines count as held memory.
    """
    body, unfinished = intake.get_body_reader(request), bytearray()
    group, size_bytes, count = list[Line](), 0, 0
    async for chunk in request.stream():
        if b"\n" in chunk:
            *lines, rest = b"".join((unfinished, chunk)).split(b"\n")
            unfinished = bytearray(rest)
        else:  # avoids scanning a long line again
            unfinished += chunk
            lines = []
        for line in map(bytes.strip, lines):
            count += 1
            if not line:
                continue
            group.append((count, line))
            size_bytes += len(line)
            if len(group) == GROUP or size_bytes >= GROUP_BYTES:
                yield group
                group, size_bytes = [], 0
        body.release(body.held_bytes - len(unfinished) - size_bytes)
        if len(unfinished) > max_line_bytes:
            raise TooLarge("body-too-large", f"A line exceeds the limit of {max_line_bytes} bytes.")
    if line := bytes(unfinished).strip():
        group.append((count + 1, line))
    if group:
        yield group
