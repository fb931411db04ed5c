"""Measure PostgreSQL: settings, sessions, replication and tables.

Reads only catalogs and statistics, in short statements. A role without `pg_read_all_stats` does not
see what sessions of other roles do, and one without `pg_monitor` not the size of the WAL.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.frozen_dataclass import frozen_dataclass
from app.store.db.postgresql_driver import APPLICATION_PREFIX
from app.store.tables.metadata import metadata

# A statement that waits for a lock or a slow disk must not hold up a scrape or the doctor.
STATEMENT_SECONDS: Final = 3
LOCK_SECONDS: Final = 1

_SETTINGS: Final = (
    "server_version",
    "server_version_num",
    "server_encoding",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "track_counts",
    "autovacuum_vacuum_threshold",
    "autovacuum_vacuum_scale_factor",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",  # since PostgreSQL 16
)
_SELECT_SETTINGS: Final = text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)")
_BOUND_STATEMENTS: Final = text(
    f"SELECT set_config('statement_timeout', '{STATEMENT_SECONDS}s', true),"
    f" set_config('lock_timeout', '{LOCK_SECONDS}s', true)"
)
# Transactions of other databases do not hold back VACUUM of this one's tables, nor does VACUUM.
# Autovacuum's ANALYZE does, but ends by itself.
_SELECT_OLDEST: Final = text("""
SELECT pid, application_name AS name, usename AS role, coalesce(state, '') AS state,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
  AND backend_type = 'client backend' AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
UNION ALL
SELECT NULL, gid, owner, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE database = current_database()
ORDER BY age_seconds DESC LIMIT 1
""")
_COUNT_HIDDEN: Final = text("""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query = '<insufficient privilege>' AND usename IS NOT NULL
""")
_SELECT_SLOTS: Final = text("""
SELECT slot_name AS name, active AS is_active, wal_status,
       coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint
           AS retained_bytes,
       coalesce(greatest(age(xmin), age(catalog_xmin)), 0) AS held_transactions
FROM pg_replication_slots WHERE NOT temporary ORDER BY slot_name
""")
_SELECT_STANDBYS: Final = text("""
SELECT application_name AS name, age(backend_xmin) AS held_transactions
FROM pg_stat_replication WHERE backend_xmin IS NOT NULL ORDER BY age(backend_xmin) DESC
""")
# A partition counts for its table.
_SELECT_TABLES: Final = text("""
SELECT coalesce(root.relname, c.relname)::text AS name,
       coalesce(pg_total_relation_size(c.oid), 0) AS size_bytes,
       coalesce(s.n_live_tup, 0) AS live_rows, coalesce(s.n_dead_tup, 0) AS dead_rows,
       greatest(c.reltuples, 0)::float8 AS estimated_rows,
       coalesce(c.reloptions, '{}') AS options
FROM pg_class c
LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid)
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
  AND coalesce(root.relname, c.relname) = ANY(:names)
""")
_SELECT_CONNECTIONS: Final = text(f"""
SELECT (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::int AS used,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,
       (SELECT count(DISTINCT application_name) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE '{APPLICATION_PREFIX}%'
          AND application_name <> current_setting('application_name')) AS processes
""")  # noqa: S608 - a constant
_SELECT_COLLATION: Final = text("""
SELECT datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
FROM pg_database WHERE datname = current_database()
""")
_MAY_LIST_WAL: Final = text("SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')")
_SUM_WAL: Final = text("SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()")
_HAS_COLLATION_VERSIONS: Final = 150000
_OFF: Final = frozenset({"false", "off", "no", "0"})


@frozen_dataclass(kw_only=True)
class OldTransaction:
    """An open transaction of a session, or one that is `prepared` and has no process."""

    pid: int | None
    name: str
    role: str
    state: str
    age_seconds: float


@frozen_dataclass(kw_only=True)
class ReplicationSlot:
    """A slot: how much WAL it keeps, and how many transactions it holds VACUUM back."""

    name: str
    is_active: bool
    wal_status: str | None
    retained_bytes: int
    held_transactions: int


@frozen_dataclass(kw_only=True)
class Standby:
    """A standby whose feedback holds VACUUM back by so many transactions."""

    name: str
    held_transactions: int


@frozen_dataclass(kw_only=True)
class TableHealth:
    """A table, or one partition of it, with its indexes and TOAST; rows are estimates."""

    name: str
    size_bytes: int
    live_rows: int
    dead_rows: int
    vacuum_threshold_rows: float
    is_autovacuumed: bool


@frozen_dataclass(kw_only=True)
class Connections:
    """Connections to the server: used, allowed, and Heloise's other processes that hold some."""

    used: int
    limit: int
    processes: int


@frozen_dataclass(kw_only=True)
class PostgresqlHealth:
    """What the server says about itself; `wal_bytes` is None if the role may not see it."""

    settings: Mapping[str, str]
    has_collation_mismatch: bool
    oldest_transaction: OldTransaction | None
    hidden_sessions: int
    slots: Sequence[ReplicationSlot]
    standbys: Sequence[Standby]
    tables: Sequence[TableHealth]
    connections: Connections
    wal_bytes: int | None

    @property
    def is_durable(self) -> bool:
        """Whether a commit survives a crash of the machine (invariant 1)."""
        return self.settings["fsync"] == "on" and self.settings["synchronous_commit"] != "off"


async def load_postgresql_health(connection: AsyncConnection) -> PostgresqlHealth:
    """Measure the server, in a transaction; raise Unavailable if a statement takes too long."""
    await connection.execute(_BOUND_STATEMENTS)
    rows = await connection.execute(_SELECT_SETTINGS, {"names": list(_SETTINGS)})
    settings = {row.name: row.setting for row in rows}
    oldest = (await connection.execute(_SELECT_OLDEST)).mappings().one_or_none()
    slots = (await connection.execute(_SELECT_SLOTS)).mappings()
    standbys = (await connection.execute(_SELECT_STANDBYS)).mappings()
    return PostgresqlHealth(
        settings=settings,
        has_collation_mismatch=await _has_collation_mismatch(connection, settings),
        oldest_transaction=None if oldest is None else OldTransaction(**oldest),
        hidden_sessions=(await connection.execute(_COUNT_HIDDEN)).scalar_one(),
        slots=[ReplicationSlot(**slot) for slot in slots],
        standbys=[Standby(**standby) for standby in standbys],
        tables=await _load_tables(connection, settings),
        connections=await _load_connections(connection, settings),
        wal_bytes=await _load_wal_bytes(connection),
    )


async def _has_collation_mismatch(connection: AsyncConnection, settings: Mapping[str, str]) -> bool:
    if int(settings["server_version_num"]) < _HAS_COLLATION_VERSIONS:
        return False
    return bool((await connection.execute(_SELECT_COLLATION)).scalar_one())


async def _load_tables(
    connection: AsyncConnection, settings: Mapping[str, str]
) -> list[TableHealth]:
    rows = await connection.execute(_SELECT_TABLES, {"names": list(metadata.tables)})
    tables = []
    for row in rows:
        options = {**settings, **dict(option.split("=", 1) for option in row.options)}
        tables.append(
            TableHealth(
                name=row.name,
                size_bytes=row.size_bytes,
                live_rows=row.live_rows,
                dead_rows=row.dead_rows,
                vacuum_threshold_rows=float(options["autovacuum_vacuum_threshold"])
                + float(options["autovacuum_vacuum_scale_factor"]) * row.estimated_rows,
                is_autovacuumed=options.get("autovacuum_enabled", "true") not in _OFF,
            )
        )
    return tables


async def _load_connections(
    connection: AsyncConnection, settings: Mapping[str, str]
) -> Connections:
    row = (await connection.execute(_SELECT_CONNECTIONS)).one()
    reserved = ("superuser_reserved_connections", "reserved_connections")
    of_server = int(settings["max_connections"]) - sum(
        int(settings.get(name, "0")) for name in reserved
    )
    limits = [limit for limit in (row.of_database, row.of_role) if limit >= 0]  # -1: no limit
    return Connections(used=row.used, limit=min([of_server, *limits]), processes=row.processes)


async def _load_wal_bytes(connection: AsyncConnection) -> int | None:
    if not (await connection.execute(_MAY_LIST_WAL)).scalar_one():
        return None
    return int((await connection.execute(_SUM_WAL)).scalar_one())
