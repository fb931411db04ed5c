"""Check the machine: database, clock, keys, port, host name and interpreter."""

import asyncio
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.diagnostics.ehlo_advice import AdviceStatus
from app.domain.clock import Clock, SystemClock, format_rfc3339
from app.domain.ehlo import EhloNames, effective_ehlo
from app.domain.errors import SealError, Unavailable
from app.smtp.local_address import find_outgoing_address
from app.store.db.clock import DatabaseClock
from app.store.db.database import Database
from app.store.delivery import queue, workers
from app.store.migrations.readiness import Readiness
from app.store.profiles import queries as profiles
from app.store.profiles.queries import SealedProfile
from app.store.profiles.rows import secret_field
from app.store.secrets.contexts import profile_secret
from app.store.secrets.encryption import OpenSealed

# Certificates depend on the machine's clock; leases depend on the database's.
MAX_CLOCK_OFFSET: Final = timedelta(seconds=10)
PAGE_ROWS: Final = 200
ANSWER_SECONDS: Final = 3.0
HEALTH_REQUEST: Final = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"
MAX_LISTED: Final = 5
# How Python's `configure` names them.
OPTIMIZATIONS: Final = {"PGO": "--enable-optimizations", "LTO": "--with-lto"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `check` is a stable word; `detail` says what to do."""

    check: str
    status: AdviceStatus
    detail: str


Judgement = tuple[AdviceStatus, str]  # the rest of a finding


async def check_database(
    database: Database,
    *,
    lease_seconds: float,
    open_sealed: OpenSealed | None,
    clock: Clock | None = None,
) -> list[Finding]:
    """Check the database, its clock, delivery and credentials, until the database fails.

    `clock` is the machine's clock.
    """
    clock = clock or SystemClock()
    if reasons := await Readiness(database).check():
        return [Finding("database", AdviceStatus.FAIL, " ".join(reasons))]
    findings = [
        Finding("database", AdviceStatus.OK, "the database answers and its schema is current")
    ]
    try:
        findings.append(Finding("clock", *await _check_clock(database, clock)))
        database_clock = DatabaseClock(database, clock)
        await database_clock.measure()
        now = database_clock.now()
        findings.append(Finding("delivery", *await _check_delivery(database, lease_seconds, now)))
        findings.append(Finding("queue", *await _check_queue(database, now)))
        if open_sealed is not None:
            findings.append(
                Finding("credentials", *await _check_credentials(database, open_sealed))
            )
    except Unavailable as error:
        findings.append(Finding("database", AdviceStatus.FAIL, error.detail))
    return findings


async def _check_clock(database: Database, machine: Clock) -> Judgement:
    if not database.is_postgresql:
        return AdviceStatus.OK, "SQLite uses this machine's clock"
    clock = DatabaseClock(database, machine)
    await clock.measure()
    offset = clock.now() - machine.now()
    detail = (
        f"this machine's clock and the database's differ by {abs(offset.total_seconds()):.1f} s"
    )
    if abs(offset) > MAX_CLOCK_OFFSET:
        return AdviceStatus.WARN, f"{detail}: synchronize this machine's clock (NTP)"
    return AdviceStatus.OK, detail


async def _check_delivery(database: Database, lease_seconds: float, now: datetime) -> Judgement:
    alive_since = now - timedelta(seconds=lease_seconds)
    async with database.reading() as connection:
        hostnames = await workers.list_hostnames(connection, since=alive_since)
        due_since = await queue.find_undelivered(connection, now=now, alive_since=alive_since)
    if due_since is not None:
        return AdviceStatus.FAIL, (
            f"mail is queued and nobody delivers, since {format_rfc3339(due_since)}; run `heloise"
            " serve` or `heloise worker`"
        )
    if not hostnames:
        return AdviceStatus.WARN, "no process delivers; run `heloise serve` or `heloise worker`"
    hosts = ", ".join(dict.fromkeys(hostnames))
    return AdviceStatus.OK, f"{len(hostnames)} deliver, on {hosts}"


async def _check_queue(database: Database, now: datetime) -> Judgement:
    """Describe the depth and age of the queue, and name its failing profiles."""
    everybody = queue.QueueScope(tenant_id=None)
    async with database.reading() as connection:
        depth = await queue.load_depth(connection, everybody, now)
        moments = await queue.load_moments(connection, everybody, now=now, alive_since=now)
        rows = await queue.page_profiles(connection, everybody, now=now, limit=MAX_LISTED)
    if moments.oldest_at is None:
        return AdviceStatus.OK, "no message waits"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(depth.counts.items()))
    detail = f"{counts}; {depth.due} due; the oldest is {format_age(now - moments.oldest_at)} old"
    blocked = [f"{row.name} of {row.tenant}" for row in rows if row.has_fault and row.messages]
    if not blocked:
        return AdviceStatus.OK, detail
    return AdviceStatus.WARN, f"{detail}; failing: {', '.join(blocked)}"


def format_age(age: timedelta) -> str:
    """Format an age in whole seconds."""
    return str(timedelta(seconds=max(0, round(age.total_seconds()))))


async def _check_credentials(database: Database, open_sealed: OpenSealed) -> Judgement:
    """Check that the keys of this machine decrypt every stored credential."""
    unreadable: list[str] = []
    count, after = 0, None
    while True:
        async with database.transaction() as connection:
            rows = await profiles.load_sealed_page(connection, limit=PAGE_ROWS, after=after)
        for row in rows:
            count, after = count + 1, row.profile.id
            unreadable += [] if _can_open(row, open_sealed) else [row.profile.id]
        if not rows:
            break
    if unreadable:
        id_list = ", ".join(unreadable[:MAX_LISTED])
        return AdviceStatus.FAIL, (
            f"HELOISE_SECRET_KEYS cannot decrypt the credentials of {len(unreadable)} profiles"
            f" ({id_list}): add the key that encrypted them, run `heloise reseal`, or set them"
            " again"
        )
    return AdviceStatus.OK, f"the credentials of {count} profiles can be decrypted"


def _can_open(row: SealedProfile, open_sealed: OpenSealed) -> bool:
    try:
        for name, secret in row.sealed.items():
            if secret is not None:
                open_sealed(secret, profile_secret(row.profile, secret_field(name)))
    except SealError:
        return False
    return True


async def check_port(host: str, port: int) -> Finding:
    """Check that the API's port is free, or that Heloise uses it."""
    try:
        with socket.create_server((host, port)):
            return Finding("port", AdviceStatus.OK, f"{host}:{port} is free for `heloise serve`")
    except OSError as error:
        reason = error.strerror or str(error)
    if await _is_heloise(host, port):
        return Finding("port", AdviceStatus.OK, f"Heloise answers at {host}:{port}")
    detail = f"cannot listen on {host}:{port} ({reason}); set HELOISE_HOST and HELOISE_PORT"
    return Finding("port", AdviceStatus.FAIL, detail)


async def _is_heloise(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(HEALTH_REQUEST)
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except OSError:
        return False


def list_missing_optimizations(configure_arguments: str | None) -> list[str]:
    """List what makes other builds of Python faster.

    `configure_arguments` is `CONFIG_ARGS` of sysconfig; Windows has none, and then nothing is said.
    """
    if not configure_arguments:
        return []
    return [name for name, flag in OPTIMIZATIONS.items() if flag not in configure_arguments]


def check_interpreter(configure_arguments: str | None) -> Finding:
    """Check that this Python was built with PGO and LTO."""
    detail = f"Python {platform.python_version()}"
    missing = list_missing_optimizations(configure_arguments)
    if not missing:
        return Finding("python", AdviceStatus.OK, detail)
    return Finding(
        "python",
        AdviceStatus.WARN,
        f"{detail} was built without {' and '.join(missing)}, and so takes up to a quarter more"
        " processor time; use the image, your distribution's Python, or one built with"
        " --enable-optimizations --with-lto",
    )


def check_default_name(names: EhloNames) -> Finding:
    """Check the EHLO name of profiles without a name of their own or their tenant's."""
    ehlo = effective_ehlo(names, find_outgoing_address(None))
    detail = f"the default EHLO name is {ehlo.name} (from: {ehlo.source})"
    status = AdviceStatus.WARN if ehlo.warnings else AdviceStatus.OK
    return Finding("ehlo_name", status, " ".join([f"{detail}.", *ehlo.warnings]))


def is_sound(findings: Sequence[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.status is not AdviceStatus.FAIL for finding in findings)
