"""Make the submission server from the settings."""

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Final

from app.api.requests.body_memory import Budget
from app.api.services import Services
from app.domain.errors import SettingsError
from app.domain.networks import is_loopback
from app.domain.types import MAX_RECIPIENTS
from app.metrics.collection import Metrics
from app.process import listen
from app.settings.checks import parse_networks, parse_port_list
from app.settings.model import Settings, variable_name
from app.store.migrations.readiness import Readiness
from app.submission.account import log_in
from app.submission.certificate import Certificate
from app.submission.listener import Listener
from app.submission.server import Server, ServerConfig
from app.submission.session import SessionConfig
from app.submission.session_log import SessionLog
from app.submission.session_record import Journal

# Of all connections, so that one client cannot keep the others out.
CLIENT_SHARE: Final = 4


@contextmanager
def open_listeners(settings: Settings) -> Iterator[list[Listener]]:
    """Listen on the submission ports while the block runs; raises SettingsError."""
    host = settings.submission_host or settings.host
    has_tls = settings.submission_tls_certificate is not None
    if not has_tls and not settings.submission_allow_plaintext_auth:
        raise SettingsError(
            f"{variable_name('submission_tls_certificate')}: not set, should be an existing file,"
            " because SMTP clients log in only over TLS"
        )
    if settings.submission_allow_plaintext_auth and not is_loopback(host):
        raise SettingsError(
            f"{variable_name('submission_allow_plaintext_auth')}: true needs a loopback address in"
            f" {variable_name('submission_host')}, such as 127.0.0.1; it is {host}"
        )
    ports = [(port, False) for port in parse_port_list(settings.submission_ports)]
    if has_tls:
        ports += [(port, True) for port in parse_port_list(settings.submission_tls_ports)]
    if not ports:
        raise SettingsError(
            f"{variable_name('submission_ports')}: none, should be one port or more"
        )
    with ExitStack() as stack:
        listeners = list[Listener]()
        for port, is_implicit_tls in ports:
            field = "submission_tls_ports" if is_implicit_tls else "submission_ports"
            listening = stack.enter_context(listen(host, port, variable_name(field)))
            listeners.append(Listener(listening, is_implicit_tls))
        yield listeners


@asynccontextmanager
async def serve_submission(server: Server, session_log: SessionLog | None) -> AsyncIterator[None]:
    """Serve while the block runs. The log ends after the last session."""
    async with session_log.running() if session_log else nullcontext(), server.running():
        yield


def make_session_log(
    settings: Settings, services: Services, metrics: Metrics, readiness: Readiness
) -> SessionLog | None:
    """Make the log of sessions; None if the settings keep none."""
    if not settings.submission_log_days:
        return None
    return SessionLog(
        services.database,
        wait_ready=readiness.wait_ready,
        count_dropped=metrics.submission_log_dropped,
    )


def make_server(
    settings: Settings,
    services: Services,
    budget: Budget,
    metrics: Metrics,
    listeners: Sequence[Listener],
    session_log: SessionLog | None,
    *,
    hostname: str,
) -> Server:
    """Make the server; raises SettingsError if the certificate cannot be loaded."""
    certificate = _load_certificate(settings)
    session = SessionConfig(
        log_in=partial(log_in, services, is_deduplicated=settings.submission_deduplicate),
        now=services.now,
        hostname=settings.submission_hostname or settings.ehlo_name or hostname,
        budget=budget,
        max_message_bytes=settings.max_message_bytes,
        max_recipients=MAX_RECIPIENTS,
        context=certificate.context if certificate is not None else lambda: None,
        allows_plaintext_login=settings.submission_allow_plaintext_auth,
        reveals_client=settings.submission_reveal_clients,
    )

    def new_journal(client: str | None, port: int | None) -> Journal:
        return Journal(
            client,
            port,
            services.now,
            metrics.submission_refusal,
            metrics.submission_stored,
        )

    def keep(journal: Journal) -> None:
        metrics.submission_session()
        if session_log is not None:
            session_log.keep(journal)

    return Server(
        ServerConfig(
            session=session,
            proxies=parse_networks(settings.submission_trusted_proxies),
            max_connections=settings.submission_max_connections,
            max_connections_per_client=max(1, settings.submission_max_connections // CLIENT_SHARE),
            grace_seconds=settings.shutdown_grace_seconds,
            new_journal=new_journal,
            keep=keep,
        ),
        listeners,
    )


def _load_certificate(settings: Settings) -> Certificate | None:
    if settings.submission_tls_certificate is None:
        return None
    try:
        return Certificate(settings.submission_tls_certificate, settings.submission_tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{variable_name('submission_tls_certificate')}: cannot be used: {error}"
        ) from None
