"""Send emails as messages: profile, files, translation, and the native acceptance."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from app.api.http.field_errors import validate_body
from app.api.http.threads import run_in_thread_if_large
from app.api.messages.batch_service import BatchItem
from app.api.messages.idempotency import IdempotentRequest, build_item_key, fingerprint_value
from app.api.messages.schemas import MessageCreate
from app.api.messages.service import prepare_send
from app.api.resend.email_schemas import EmailCreate
from app.api.resend.translation import build_message, describe_whole_email
from app.api.services import Services
from app.auth.caller import Caller
from app.auth.profiles import find_profile_of_sender
from app.domain.errors import (
    FetchError,
    Forbidden,
    Gone,
    InvalidRequest,
    Problem,
    Unavailable,
)
from app.domain.types import NewMessage, Profile
from app.store.messages import queries as messages
from app.store.messages.views import MessageView

MAX_FILES: Final = 20
FETCH_SECONDS: Final = 30.0  # of an email


async def prepare_email(
    services: Services, caller: Caller, email: EmailCreate
) -> tuple[NewMessage, Profile]:
    """Download an email's files, translate it, and prepare it like every message."""
    files = await _fetch_files(services, caller.tenant_id, email)
    body = await translate(services, caller, email, files)
    return await prepare_send(services, caller, body)


async def translate(
    services: Services, caller: Caller, email: EmailCreate, files: Sequence[bytes | None]
) -> MessageCreate:
    """Choose the profile of an email, and build its message; raises Problem."""
    profile = await find_profile_of_sender(services.auth, caller, email.sender)
    if profile is None and caller.profiles is not None and email.sender is not None:
        raise Forbidden(
            "sender-not-allowed",
            f"No profile of this key names the sender {email.sender.address}. Add it to the"
            " allowed_from of one of them, or use another key.",
        )
    size = sum(len(attachment.content or "") for attachment in email.attachments)
    return await run_in_thread_if_large(
        size,
        build_message,
        email,
        files,
        profile=None if profile is None else profile.id,
        now=services.now(),
    )


async def _fetch_files(
    services: Services, tenant_id: str, email: EmailCreate
) -> list[bytes | None]:
    """Download the attachments that have only a URL, together within the size of a message."""
    urls = [
        attachment.path if attachment.content is None else None for attachment in email.attachments
    ]
    if not any(urls):
        return [None] * len(urls)
    if sum(url is not None for url in urls) > MAX_FILES:
        raise InvalidRequest.at(
            "attachments", msg=f"{MAX_FILES} files at most may have a path; send the others inline"
        )
    try:
        with services.fetch_slots.reserve(tenant_id):
            async with asyncio.timeout(FETCH_SECONDS):
                return await _fetch_in_turn(services, urls)
    except TimeoutError:
        raise InvalidRequest.at(
            "attachments",
            msg=f"the files did not arrive within {FETCH_SECONDS:.0f} seconds; send their content",
        ) from None


async def _fetch_in_turn(services: Services, urls: Sequence[str | None]) -> list[bytes | None]:
    files, left_bytes = list[bytes | None](), services.max_message_bytes
    for number, url in enumerate(urls):
        file = None
        if url is not None:
            try:
                file = await services.fetch_file(url)
            except FetchError as error:
                msg = f"could not download it: {error}. Send its `content` instead"
                raise InvalidRequest.at("attachments", number, "path", msg=msg) from None
            left_bytes -= len(file)
        if left_bytes < 0:
            msg = f"the files have more than {services.max_message_bytes} bytes; send a link"
            raise InvalidRequest.at("attachments", number, "path", msg=msg)
        files.append(file)
    return files


async def make_items(
    services: Services, caller: Caller, values: Sequence[Any], *, path: str, key: str | None
) -> list[BatchItem]:
    """Parse and translate the emails of a batch, or keep what is wrong with one."""
    fingerprint = fingerprint_value(path, list(values))  # a key stands for the whole batch
    items = list[BatchItem]()
    for number, value in enumerate(values):
        try:
            item = BatchItem(await _make_body(services, caller, value))
        except Unavailable:
            raise
        except Problem as problem:
            item = BatchItem(problem)
        if key is not None:
            item_key = build_item_key(key, number)
            item.keyed = IdempotentRequest(services, caller, item_key, fingerprint)
        items.append(item)
    return items


async def _make_body(services: Services, caller: Caller, value: object) -> MessageCreate:
    email = validate_body(EmailCreate, value)
    _forbid_paths(email)
    return await translate(services, caller, email, [None] * len(email.attachments))


def _forbid_paths(email: EmailCreate) -> None:
    for number, attachment in enumerate(email.attachments):
        if attachment.content is None and attachment.path is not None:
            raise InvalidRequest.at(
                "attachments", number, "path", msg="a batch downloads no files; send `content`"
            )


def find_first_problem(items: Sequence[BatchItem]) -> Problem | None:
    """Return the problem of the first refused item, with its number in front."""
    for number, item in enumerate(items):
        if item.problem is not None:
            return _add_number(number, item.problem)
    return None


def _add_number(number: int, problem: Problem) -> Problem:
    if isinstance(problem, InvalidRequest):
        problem.errors = tuple(
            type(error)((*error.loc[:1], number, *error.loc[1:]), error.msg, error.type)
            for error in problem.errors
        )
    return problem


async def read_email(services: Services, caller: Caller, view: MessageView) -> dict[str, Any]:
    """Return an email with its content, if Heloise still keeps and shows it."""
    content = None
    try:
        async with services.database.reading() as connection:
            content = await messages.load_content(
                connection, tenant_id=caller.tenant_id, message_id=view.id
            )
    except Gone:
        pass
    return await run_in_thread_if_large(
        len(content or b""), describe_whole_email, view, content, services.now()
    )
