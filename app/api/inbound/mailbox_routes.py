"""Serve `/mailboxes`: IMAP folders that receive bounces and complaints."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Body as JsonBody
from fastapi import Path, Response

from app.api.auth.dependencies import ListQuery, SuppressionManager
from app.api.auth.secret_destinations import find_missing_secret
from app.api.http.field_errors import build_invalid_request
from app.api.http.fields import check_nulls
from app.api.http.pagination import read_page
from app.api.inbound.mailbox_schemas import (
    CREATE,
    MAILBOX,
    UPDATE,
    MailboxCreate,
    MailboxPage,
    MailboxRead,
    MailboxUpdate,
)
from app.api.openapi import describe_location, problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.audit_context import add_secret_names
from app.auth.quotas import check_count
from app.domain.errors import InvalidRequest
from app.domain.ids import new_id
from app.domain.inbound.mailbox import Mailbox, MailboxTls
from app.store.inbound import mailboxes
from app.store.secrets.contexts import mailbox_password

router = Router("Suppressions")

MAX_MAILBOXES: Final = 20
PORTS: Final = frozenset({143, 993})
NULLABLE: Final = frozenset({"tls_ca"})
InPath = Annotated[str, Path(description="The mailbox's id.", examples=[MAILBOX])]


def _check_server(mailbox: Mailbox, services: Services) -> None:
    """Raise InvalidRequest if the host or port is forbidden without a DNS lookup."""
    guard = services.guard
    if reason := guard.host_refusal(mailbox.host):
        raise InvalidRequest.at("host", msg=reason)
    if guard.allow_private:
        return
    if mailbox.port not in PORTS:
        raise InvalidRequest.at("port", msg="use port 993, or 143 with STARTTLS")
    if mailbox.tls is MailboxTls.NONE:
        raise InvalidRequest.at(
            "tls",
            msg="Heloise sends no password over an unencrypted"
            " connection; use implicit or starttls",
        )


@router.post(
    "/mailboxes",
    status_code=201,
    summary="Create a mailbox",
    response_description="The mailbox. Heloise reads it from now on.",
    responses=describe_location(f"/mailboxes/{MAILBOX}"),
)
@problems("mailbox-exists", "quota-exceeded")
async def create_mailbox(
    body: Annotated[MailboxCreate, JsonBody(openapi_examples=CREATE)],
    caller: SuppressionManager,
    response: Response,
    services: ReadyServices,
) -> MailboxRead:
    """Process the mail in an IMAP folder like `POST /inbound/bounces`.

    Heloise starts with the oldest mail, and leaves all mail unread and in place unless
    `delete_reports` is true.
    """
    audit_context = caller.audit_context(services.now())
    mailbox = Mailbox(
        id=new_id("mbx"),
        tenant_id=caller.tenant_id,
        **_build_values(body.model_dump()),
        disabled_at=None if body.enabled else audit_context.now,
        next_poll_at=audit_context.now,
        created_at=audit_context.now,
        updated_at=audit_context.now,
    )
    _check_server(mailbox, services)
    password = body.password.get_secret_value()
    async with services.database.transaction() as connection:
        await check_count(connection, caller.tenant_id, mailboxes.count, MAX_MAILBOXES, "mailboxes")
        await mailboxes.insert(
            connection,
            mailbox=mailbox,
            sealed_password=services.vault.seal(password, mailbox_password(mailbox)),
        )
        await audit_context.record(
            connection,
            "mailbox.create",
            object_id=mailbox.id,
            after=mailboxes.build_columns(mailbox),
        )
    response.headers["Location"] = f"/mailboxes/{mailbox.id}"
    return MailboxRead.of(mailbox)


@router.get("/mailboxes", summary="List mailboxes")
async def list_mailboxes(
    paging: ListQuery, caller: SuppressionManager, services: ReadyServices
) -> MailboxPage:
    """List the tenant's mailboxes, newest first."""
    load = partial(mailboxes.page, tenant_id=caller.tenant_id)
    return await read_page(services.database, paging, "mbx", load, MailboxPage, MailboxRead.of)


@router.get("/mailboxes/{mailbox}", summary="Get a mailbox")
@problems("mailbox-not-found")
async def get_mailbox(
    mailbox: InPath, caller: SuppressionManager, services: ReadyServices
) -> MailboxRead:
    """Get a mailbox with its last poll, its counts and the reason if it fails."""
    async with services.database.reading() as connection:
        row = await mailboxes.get(connection, tenant_id=caller.tenant_id, mailbox_id=mailbox)
    return MailboxRead.of(row)


@router.patch("/mailboxes/{mailbox}", summary="Update a mailbox")
@problems("mailbox-not-found", "mailbox-exists")
async def update_mailbox(
    mailbox: InPath,
    body: Annotated[MailboxUpdate, JsonBody(openapi_examples=UPDATE)],
    caller: SuppressionManager,
    services: ReadyServices,
) -> MailboxRead:
    """Update the given fields and read the mailbox at once.

    In a new folder or on a new server, Heloise starts with the oldest mail. If you change `host`,
    `port`, `tls`, `tls_ca` or `username`, set `password` again: it is bound to its destination.
    """
    check_nulls(body, NULLABLE)
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        before = await mailboxes.get(
            connection, tenant_id=caller.tenant_id, mailbox_id=mailbox, for_update=True
        )
        after = replace(
            before,
            **_build_values(body.model_dump(exclude_unset=True)),
            next_poll_at=audit_context.now,
            updated_at=audit_context.now,
        )
        if body.enabled is not None and body.enabled is (before.disabled_at is not None):
            after = replace(after, disabled_at=None if body.enabled else audit_context.now)
        _check_server(after, services)
        changes = mailboxes.build_columns(after)
        if body.password is not None:
            password = body.password.get_secret_value()
            changes["sealed_password"] = services.vault.seal(password, mailbox_password(after))
        elif error := find_missing_secret(
            mailbox_password(before), mailbox_password(after), "password"
        ):
            raise build_invalid_request([error])
        if _place(after) != _place(before):
            changes |= {"uid_validity": None, "last_uid": 0}
        await mailboxes.update(
            connection,
            tenant_id=caller.tenant_id,
            mailbox_id=mailbox,
            changes=changes,
            now=audit_context.now,
        )
        await audit_context.record(
            connection,
            "mailbox.update",
            object_id=mailbox,
            before=add_secret_names(mailboxes.build_columns(before)),
            after=add_secret_names(
                mailboxes.build_columns(after), *({"password"} & body.model_fields_set)
            ),
        )
    return MailboxRead.of(after)


def _place(mailbox: Mailbox) -> tuple[str, int, str, str]:
    return mailbox.host, mailbox.port, mailbox.username, mailbox.folder


def _build_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Name the fields of a body as a mailbox has them, without those that it stores otherwise."""
    names = {"delete_reports": "deletes_reports"}
    stored = fields.keys() - {"password", "enabled"}
    return {names.get(name, name): fields[name] for name in stored}


@router.delete(
    "/mailboxes/{mailbox}",
    status_code=204,
    summary="Delete a mailbox",
    response_description="The mailbox is deleted here. Its mail stays on the server.",
)
@problems("mailbox-not-found")
async def delete_mailbox(
    mailbox: InPath, caller: SuppressionManager, services: ReadyServices
) -> None:
    """Delete a mailbox and its password."""
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await mailboxes.delete(connection, tenant_id=caller.tenant_id, mailbox_id=mailbox)
        await audit_context.record(
            connection, "mailbox.delete", object_id=row.id, before=mailboxes.build_columns(row)
        )
