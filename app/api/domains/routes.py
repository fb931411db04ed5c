"""Serve `/domains`: signing domains and their DKIM keys."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Final

from fastapi import Body as JsonBody
from fastapi import Path, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.auth.dependencies import ListQuery, ProfileReader, UnboundProfileManager
from app.api.domains.schemas import CREATE, DOMAIN, DomainCreate, DomainPage, DomainRead
from app.api.http.pagination import read_page
from app.api.openapi import describe_location, problems
from app.api.profiles.verify_routes import take_permit
from app.api.requests.json_limits import Router
from app.api.services import ReadyServices, Services
from app.auth.audit_context import AuditContext
from app.auth.quotas import check_count
from app.domain.errors import Conflict
from app.domain.ids import new_id
from app.domain.mime.dkim import (
    DkimAlgorithm,
    DkimKey,
    DkimKeyStatus,
    SendingDomain,
    find_record_problem,
    find_superseded,
    generate_key,
)
from app.domain.outcome.outcome import Failure
from app.store import domains as sending_domains
from app.store.secrets.contexts import dkim_private_key

router = Router("Domains")

MAX_DOMAINS: Final = 1000
SELECTOR_CHARACTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
SELECTOR_LENGTH: Final = 8
# Other servers may hold a message this long before a receiver verifies its signature.
TRANSIT_TIME: Final = timedelta(days=7)
InPath = Annotated[str, Path(description="The domain's name or id.", examples=["example.com"])]


@router.post(
    "/domains",
    status_code=201,
    summary="Create a signing domain",
    response_description="The domain with two new keys. Add their records to the DNS.",
    responses=describe_location(f"/domains/{DOMAIN}"),
)
@problems("domain-exists", "quota-exceeded")
async def create_domain(
    body: Annotated[DomainCreate, JsonBody(openapi_examples=CREATE)],
    caller: UnboundProfileManager,
    response: Response,
    services: ReadyServices,
) -> DomainRead:
    """Create two DKIM keys for a domain: RSA (2048 bits) and Ed25519.

    Add each `dns_record` to the domain's DNS, then call `POST /domains/{domain}/check`. Once
    Heloise finds a record, its key signs every message of the domain (RFC 6376, RFC 8463).
    """
    audit_context = caller.audit_context(services.now())
    domain = SendingDomain(
        id=new_id("dom"),
        tenant_id=caller.tenant_id,
        domain=body.domain,
        created_at=audit_context.now,
        updated_at=audit_context.now,
    )
    keys = await _generate_keys(audit_context)
    async with services.database.transaction() as connection:
        await check_count(
            connection, caller.tenant_id, sending_domains.count, MAX_DOMAINS, "domains"
        )
        await sending_domains.insert(connection, domain=domain)
        domain = await _insert_keys(connection, services, domain, keys)
        await audit_context.record(connection, "domain.create", object_id=domain.id, after=domain)
    response.headers["Location"] = f"/domains/{domain.id}"
    return DomainRead.of(domain)


@router.get("/domains", summary="List domains")
async def list_domains(
    paging: ListQuery, caller: ProfileReader, services: ReadyServices
) -> DomainPage:
    """List the tenant's signing domains, newest first."""
    load = partial(sending_domains.page, tenant_id=caller.tenant_id)
    return await read_page(services.database, paging, "dom", load, DomainPage, DomainRead.of)


@router.get("/domains/{domain}", summary="Get a domain")
@problems("domain-not-found")
async def get_domain(domain: InPath, caller: ProfileReader, services: ReadyServices) -> DomainRead:
    """Get a domain with its keys, their DNS records and the last check."""
    async with services.database.reading() as connection:
        row = await sending_domains.get(connection, tenant_id=caller.tenant_id, domain=domain)
    return DomainRead.of(row)


@router.post(
    "/domains/{domain}/check",
    summary="Check a domain's DNS records",
    response_description="The result. A key whose record exists becomes active.",
)
@problems("domain-not-found", "too-many-verifications")
async def check_domain(
    domain: InPath, caller: UnboundProfileManager, services: ReadyServices
) -> DomainRead:
    """Look up the DNS records of all keys that are not retired.

    A key whose record exists becomes active and replaces the older key of its algorithm. A key
    whose record is missing or different stops signing. If the DNS does not answer, nothing changes.
    """
    async with services.database.reading() as connection:
        row = await sending_domains.get(connection, tenant_id=caller.tenant_id, domain=domain)
    await take_permit(services, caller.tenant_id)
    in_use = [key for key in row.keys if key.status is not DkimKeyStatus.RETIRED]
    answers = await asyncio.gather(
        *(services.look_up_txt(dkim_key.record_name(row.domain)) for dkim_key in in_use)
    )
    records = {dkim_key.id: answer for dkim_key, answer in zip(in_use, answers, strict=True)}
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        before = await sending_domains.get(
            connection, tenant_id=caller.tenant_id, domain=row.id, for_update=True
        )
        last_expiry = await sending_domains.load_last_expiry(connection, tenant_id=caller.tenant_id)
        keys = [_apply_records(key, records.get(key.id), audit_context) for key in before.keys]
        record_needed_until = (
            max(audit_context.now, last_expiry or audit_context.now) + TRANSIT_TIME
        )
        superseded_ids = find_superseded(keys)
        after = replace(
            before,
            keys=tuple(
                replace(key, retired_at=audit_context.now, record_needed_until=record_needed_until)
                if key.id in superseded_ids
                else key
                for key in keys
            ),
            updated_at=audit_context.now,
        )
        await sending_domains.update_keys(connection, domain=after, now=audit_context.now)
        await audit_context.record(
            connection, "domain.check", object_id=after.id, before=before, after=after
        )
    services.signing_cache.invalidate(caller.tenant_id)
    return DomainRead.of(after)


@router.post(
    "/domains/{domain}/rotate",
    summary="Rotate a domain's keys",
    response_description="The domain with two more keys. Add their records to the DNS.",
)
@problems("domain-not-found", "rotation-pending")
async def rotate_domain(
    domain: InPath, caller: UnboundProfileManager, services: ReadyServices
) -> DomainRead:
    """Create two more keys. The current ones sign until the new records exist.

    Add the new records, then check the domain: each new key replaces the old key of its algorithm,
    and Heloise deletes the old private key. Keep an old record until `record_needed_until`.
    """
    audit_context = caller.audit_context(services.now())
    keys = await _generate_keys(audit_context)
    async with services.database.transaction() as connection:
        before = await sending_domains.get(
            connection, tenant_id=caller.tenant_id, domain=domain, for_update=True
        )
        pending = [key for key in before.keys if key.status is DkimKeyStatus.PENDING]
        if pending:
            raise Conflict(
                "rotation-pending",
                f"{before.domain} has a pending key ({pending[0].selector}): add its record to the"
                " DNS, and check the domain.",
            )
        await sending_domains.delete_retired_keys(connection, domain=before, now=audit_context.now)
        await _insert_keys(connection, services, before, keys)
        after = await sending_domains.get(connection, tenant_id=caller.tenant_id, domain=before.id)
        await audit_context.record(
            connection, "domain.rotate", object_id=after.id, before=before, after=after
        )
    return DomainRead.of(after)


@router.delete(
    "/domains/{domain}",
    status_code=204,
    summary="Delete a signing domain",
    response_description="The domain and its keys are deleted.",
)
@problems("domain-not-found")
async def delete_domain(
    domain: InPath, caller: UnboundProfileManager, services: ReadyServices
) -> None:
    """Delete a domain and its keys. Heloise no longer signs new messages of the domain.

    Keep the DNS records while signed messages may be in transit.
    """
    audit_context = caller.audit_context(services.now())
    async with services.database.transaction() as connection:
        row = await sending_domains.get(
            connection, tenant_id=caller.tenant_id, domain=domain, for_update=True
        )
        await sending_domains.delete(connection, domain=row)
        await audit_context.record(connection, "domain.delete", object_id=row.id, before=row)
    services.signing_cache.invalidate(caller.tenant_id)


async def _generate_keys(audit_context: AuditContext) -> list[tuple[DkimKey, str]]:
    """Generate a key per algorithm with its private half. Their selectors share a prefix."""
    selector_base = "".join(secrets.choice(SELECTOR_CHARACTERS) for _ in range(SELECTOR_LENGTH))
    keys = list[tuple[DkimKey, str]]()
    for algorithm in DkimAlgorithm:
        pem, public = await asyncio.to_thread(generate_key, algorithm)
        key = DkimKey(
            id=new_id("dkm"),
            selector=f"h{selector_base}{algorithm.key_type[0]}",
            algorithm=algorithm,
            public_key=public,
            created_at=audit_context.now,
        )
        keys.append((key, pem))
    return keys


async def _insert_keys(
    connection: AsyncConnection,
    services: Services,
    domain: SendingDomain,
    keys: Sequence[tuple[DkimKey, str]],
) -> SendingDomain:
    for key, pem in keys:
        sealed_private_key = services.vault.seal(pem, dkim_private_key(key.id))
        await sending_domains.insert_key(
            connection, domain_id=domain.id, key=key, sealed_private_key=sealed_private_key
        )
    return replace(domain, keys=(*(key for key, _ in reversed(keys)), *domain.keys))


def _apply_records(
    key: DkimKey, records: list[str] | Failure | None, audit_context: AuditContext
) -> DkimKey:
    """Return the key with the result of its DNS lookup, or None without a result."""
    if records is None:
        return key
    if isinstance(records, Failure):
        return replace(key, checked_at=audit_context.now, problem=records.detail)
    problem = find_record_problem(key, records)
    found_at = audit_context.now if problem is None else None
    return replace(key, checked_at=audit_context.now, problem=problem, found_at=found_at)
