"""Serve `/recipients`: erase a recipient."""

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field

from app.api.auth.dependencies import UnboundMessageManager
from app.api.http.fields import ResponseModel
from app.api.messages.schemas import RecipientAddress
from app.api.openapi import problems
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices
from app.domain.address.parse import mask_addresses
from app.store import submissions
from app.store.messages import erasure
from app.store.messages.erasure import NOTHING_ERASED
from app.store.outbox import address_masking

router = Router("Messages")

ERASED_PER_TRANSACTION: Final = 200
EXAMPLE: Final[dict[str, Any]] = {"erased": 12, "sending": 0, "uncertain": 1}


class ErasureRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """Numbers of messages that were erased and that could not be erased."""

    erased: int
    sending: int = Field(
        description="Messages in transmission, not erased: repeat the request later."
    )
    uncertain: int = Field(
        description="Messages with an uncertain outcome, not erased: resolve them and repeat the"
        " request."
    )


@router.delete(
    "/recipients/{address:path}",
    summary="Erase a recipient",
    response_description="The number of erased and of remaining messages.",
)
@problems("invalid-request")
async def erase_recipient(
    address: Annotated[
        RecipientAddress,
        Path(description="The address. Case does not matter.", examples=["ann@example.org"]),
    ],
    caller: UnboundMessageManager,
    services: ReadyServices,
) -> ErasureRead:
    """Erase an address from all messages of the tenant, for example under the GDPR.

    Heloise sends nothing more to the address. It deletes the address, name and servers' replies,
    and the content, metadata and attempts of its messages; if other recipients still wait, Heloise
    deletes the content after they are finished. It removes tags that contain the address, masks it
    in the audit log, and deletes the SMTP sessions that name it. The message itself and its
    statuses stay.
    """
    audit_context = caller.audit_context(services.now())
    erased = total = NOTHING_ERASED
    async with services.database.transaction() as connection:
        audit_entry = await audit_context.begin(
            connection, "recipient.erase", object_id=mask_addresses(address), parameters={}
        )
    while True:
        async with services.database.transaction(announce=True) as connection:
            erased = await erasure.erase(
                connection,
                tenant_id=caller.tenant_id,
                address=address,
                after=erased.last_message_id,
                now=audit_context.now,
                limit=ERASED_PER_TRANSACTION,
            )
            total += erased
            is_last = erased.last_message_id is None
            if is_last:
                await address_masking.mask_address(
                    connection, tenant_id=caller.tenant_id, address=address
                )
                await submissions.delete_with_address(
                    connection, tenant_id=caller.tenant_id, address=address
                )
            read = ErasureRead.build(total)
            await audit_entry.update(connection, finished=is_last, **read.model_dump())
        if is_last:
            return read
