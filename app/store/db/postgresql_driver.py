"""Connect to PostgreSQL with asyncpg."""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg
from sqlalchemy import Dialect, ExceptionContext, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from app import tracing
from app.domain.errors import SettingsError
from app.store.db.errors import DISCONNECTED, sqlstate
from app.store.db.url import PostgresqlUrl

DATABASE_SETTING: Final = "HELOISE_DATABASE_URL"
CONNECT_SECONDS: Final = 10.0
ENCODING: Final = "UTF8"
APPLICATION_PREFIX: Final = "heloise-"
MAX_NAME_CHARACTERS: Final = 40  # PostgreSQL keeps 63 bytes of the whole
# Every statement of the queue finds its rows by index. While tables are small and never analyzed,
# the planner prefers to scan and hash them, and keeps that plan when they have grown. Ways that are
# off have such a high estimate that it would compile the statement.
PLANNER_SETTINGS: Final[Mapping[str, str]] = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# Unnamed statements are prepared at each execution, in the same message.
UNNAMED_IN_DRIVER: Final[Mapping[str, Any]] = {"statement_cache_size": 0}
UNNAMED: Final[Mapping[str, Any]] = {
    **UNNAMED_IN_DRIVER,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def create_engine(
    connect: Callable[..., Awaitable[Any]],
    *,
    pool_size: int,
    is_pooled: Callable[[], Awaitable[bool]],
    answer_seconds: float | None,
    **options: Any,  # noqa: ANN401 - as SQLAlchemy has them
) -> AsyncEngine:
    """Create an engine whose pool opens connections by `connect`.

    The server ends statements that take longer than `answer_seconds`, since nobody waits for them.
    """
    server_settings = dict(PLANNER_SETTINGS)
    if answer_seconds is not None:
        server_settings["statement_timeout"] = f"{answer_seconds * 1000:.0f}"
    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={"async_creator_fn": connect},
        **options,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def set_up(
        _dialect: Dialect, _record: ConnectionPoolEntry, _words: list[Any], named: dict[str, Any]
    ) -> None:
        if await_only(is_pooled()):  # it refuses settings, and prepared statements do not work
            named |= UNNAMED
        else:
            named["server_settings"] = server_settings

    @event.listens_for(engine.sync_engine, "checkout")
    def replace_dead(connection: Any, *_: object) -> None:  # noqa: ANN401 - the adapter has no public type
        # The event loop has already seen a closed connection: unlike a ping, this costs no round
        # trip.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(engine.sync_engine, "handle_error")
    def give_up(context: ExceptionContext) -> None:
        # A server that did not answer in time would not answer ROLLBACK: close the connection.
        if isinstance(context.original_exception, TimeoutError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        # The other connections have the same fate: replace them before use.
        elif sqlstate(context.original_exception).startswith(DISCONNECTED):
            context.is_disconnect = True

    tracing.trace_statements(engine.sync_engine)
    return engine


async def connect(
    url: PostgresqlUrl,
    *,
    setting: str = DATABASE_SETTING,
    connect_seconds: float = CONNECT_SECONDS,
    answer_seconds: float | None = None,
    **named: Any,  # noqa: ANN401 - as below
) -> Any:  # noqa: ANN401 - asyncpg has no types
    """Open a connection whose statements may take `answer_seconds` each.

    Passes other keywords to asyncpg. The hosts share `connect_seconds`; the URL's `connect_timeout`
    is for each of them. Raises SettingsError, which names `setting`, for an unusable URL or
    database, and OSError or asyncpg's errors if the server is away or refuses.
    """
    server_settings = named.pop("server_settings", {})
    if not url.has_application_name:
        server_settings = {"application_name": _name_process(), **server_settings}
    try:
        connection = await _open(
            url,
            timeout=url.connect_seconds or connect_seconds / len(url.dsns),
            command_timeout=answer_seconds,
            server_settings=server_settings,
            connection_class=_Connection,
            **named,
        )
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise SettingsError(f"{setting}: {error}") from None
    encoding = connection.get_settings().server_encoding
    if encoding != ENCODING:
        connection.terminate()
        raise SettingsError(
            f"The database of {setting} has the encoding {encoding}, which cannot store"
            " every text: create one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    _set_options(connection, url)
    return connection


def _name_process() -> str:
    """Name this process in pg_stat_activity, where the doctor counts the processes."""
    return f"{APPLICATION_PREFIX}{socket.gethostname()[:MAX_NAME_CHARACTERS]}-{os.getpid()}"


async def _open(url: PostgresqlUrl, **named: Any) -> Any:  # noqa: ANN401 - as above
    """Connect to the first host that answers and fits; try a silent one last the next time."""
    fault: Exception | None = None
    for dsn in url.dsns:
        try:
            return await asyncpg.connect(dsn, **named)
        except TimeoutError as error:
            fault = error
            url.try_last(dsn)
        except asyncpg.exceptions.TargetServerAttributeNotMatched as error:
            fault = ConnectionError(str(error))
        except (OSError, asyncpg.exceptions.CannotConnectNowError) as error:
            fault = error
    assert fault is not None  # noqa: S101 - a URL has at least one host
    raise fault


class _Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg has no types
    """A connection that closes where asyncpg would send a cancel request.

    Such a request ends the wait of a commit for its synchronous standby: the commit would become
    visible, and we would take a message for stored that the next failover loses. PostgreSQL itself
    ends statements that take too long, by `statement_timeout`, and never this wait.
    """

    def _cancel_current_command(self, *_waiters: object) -> None:
        self._loop.call_soon(self.terminate)  # once the statement's caller knows


def _set_options(connection: Any, url: PostgresqlUrl) -> None:  # noqa: ANN401 - as above
    if not url.socket_options:
        return
    raw = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way to it
    if raw.family in {socket.AF_INET, socket.AF_INET6}:  # a Unix socket has no TCP options
        for option in url.socket_options:
            raw.setsockopt(*option)
