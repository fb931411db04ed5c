"""Define the services that handlers use, in `app.state.services`."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Request

from app.accept.group_commit import Committer
from app.auth.authentication import Authenticator
from app.auth.caches import TenantCache
from app.diagnostics.verifier import Verifier
from app.domain.clock import Clock
from app.domain.ehlo import EhloNames
from app.domain.errors import Unavailable
from app.domain.mime.dkim import Signing
from app.domain.networks import AddressGuard
from app.domain.outcome.outcome import Failure
from app.domain.tenants.routing import NO_RULES, Routing
from app.domain.types import Profile
from app.inbound.sns import SnsClient
from app.store.db.database import Database
from app.store.db.replica import Replica
from app.store.secrets.encryption import Vault
from app.templating.child_processes import Renderer

# A body may add a thousand recipients and JSON escapes to the message.
BODY_OVERHEAD_BYTES: Final = 1024 * 1024
JSON_ESCAPE_FACTOR: Final = 2
SIGNING_SECONDS: Final = 3.0
# Requests that download files at a time.
MAX_FETCHES: Final = 8
MAX_TENANT_FETCHES: Final = 2


class FetchSlots:
    """Slots for requests that download files. No tenant takes all of them."""

    def __init__(self) -> None:
        self._taken = Counter[str]()

    @contextmanager
    def reserve(self, tenant_id: str) -> Iterator[None]:
        """Take a slot while the block runs; raises Unavailable if none is free."""
        if self._taken[tenant_id] >= MAX_TENANT_FETCHES or self._taken.total() >= MAX_FETCHES:
            raise Unavailable(
                "overloaded",
                "Heloise downloads too many attachments at the moment; send the request again"
                " later, or send `content` instead of `path`.",
            )
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            self._taken += Counter()  # forget tenants without a slot


# Method, route and status of a request, and the seconds until its response started.
RecordRequest = Callable[[str, str, int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The dependencies of all operations, created once."""

    auth: Authenticator
    database: Database
    replica: Replica  # for reads that may lag, and decide nothing
    vault: Vault
    committer: Committer
    clock: Clock
    root_path: str = ""  # the path under which a reverse proxy publishes the API
    metrics_token: str | None = field(default=None, repr=False)  # None: no token needed
    admin_prefix: str = ""  # the path under which tenants are managed
    # A host name and a port whose root is the Resend-compatible API.
    resend_host: str | None = None
    resend_port: int | None = None
    ehlo_names: EhloNames  # of service and machine
    guard: AddressGuard
    routing: Routing = NO_RULES
    max_message_bytes: int
    message_max_age_seconds: float
    lease_seconds: float = 60.0  # without a heartbeat for so long, a worker is gone
    verifier: Verifier
    verify_per_minute: int
    console_idle_time: timedelta = timedelta(hours=1)  # a session ends without a request
    local_address: Callable[[Profile], str | None]
    fetch_file: Callable[[str], Awaitable[bytes]]  # raises FetchError
    fetch_slots: FetchSlots = field(default_factory=FetchSlots)
    look_up_txt: Callable[[str], Awaitable[list[str] | Failure]]
    sns: SnsClient
    readiness: Callable[[], Awaitable[list[str]]]
    metrics: Callable[[], Awaitable[bytes]]
    record_request: RecordRequest
    renderer: Renderer = field(default_factory=Renderer)
    signing_cache: TenantCache[Signing] = field(
        default_factory=partial(TenantCache, SIGNING_SECONDS)
    )
    # Idempotency keys in use in this process: (tenant id, key).
    in_flight: set[tuple[str, str]] = field(default_factory=set)

    @property
    def max_body_bytes(self) -> int:
        return JSON_ESCAPE_FACTOR * self.max_message_bytes + BODY_OVERHEAD_BYTES

    def now(self) -> datetime:
        """Return the wall time (aware, UTC)."""
        return self.clock.now()

    def alive_since(self, now: datetime) -> datetime:
        """Return the time since which a worker that is alive has sent a heartbeat."""
        return now - timedelta(seconds=self.lease_seconds)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


# For health checks, which must answer while the tables are unusable.
ServicesEvenIfNotReady = Annotated[Services, Depends(_services)]


async def require_ready_services(request: Request) -> Services:
    """Return the services; raises Unavailable while the tables cannot be used.

    Call it instead of adding a dependency: FastAPI processes each one per route.
    """
    services = await _services(request)
    services.auth.require_schema()
    return services


ReadyServices = Annotated[Services, Depends(require_ready_services)]
