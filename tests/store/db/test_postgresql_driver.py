"""Connections to PostgreSQL: what the URL asks for holds for each of them."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.errors import SettingsError, Unavailable
from app.store.db import postgresql_driver
from app.store.db.database import Database
from app.store.db.url import PostgresqlUrl, parse_database_url
from tests.support.database.postgresql import Server
from tests.support.processes.ports import unused_port
from tests.support.servers.mute import mute
from tests.support.waiting import until

pytestmark = pytest.mark.postgresql


async def test_parameters_of_the_url_hold(postgresql: Server) -> None:
    """The first of several hosts does not answer, and the next one does."""
    url = await asyncio.to_thread(postgresql.empty)
    address, _, rest = url.partition("@")
    query = (
        "connect_timeout=30&application_name=canary&options=-c%20work_mem%3D5MB"
        "&sslmode=prefer&channel_binding=prefer&keepalives_idle=30&tcp_user_timeout=9000"
    )
    database = Database(f"{address}@127.0.0.1:1,{rest}?{query}")
    async with database.transaction() as connection:
        for name, value in (("application_name", "canary"), ("work_mem", "5MB")):
            assert (await connection.execute(text(f"SHOW {name}"))).scalar_one() == value
    await database.close()


@pytest.mark.parametrize("query", ["sslnegotiation=perhaps", "ssl_min_protocol_version=TLSv9"])
async def test_an_error_of_asyncpg_in_the_url_is_reported(postgresql: Server, query: str) -> None:
    """As a setting that is wrong."""
    url = await asyncio.to_thread(postgresql.empty)
    database = Database(f"{url}?sslmode=require&{query}")
    with pytest.raises(SettingsError, match="HELOISE_DATABASE_URL: "):
        async with database.reading():
            pass
    await database.close()


async def test_a_host_that_does_not_answer_costs_its_share_of_the_time(postgresql: Server) -> None:
    """The next host gets the rest, and is tried first from now on."""
    url = await asyncio.to_thread(postgresql.empty)
    address, _, rest = url.partition("@")
    port = unused_port()
    with mute("127.0.0.1", port):
        parsed = parse_database_url(f"{address}@127.0.0.1:{port},{rest}")
        assert isinstance(parsed, PostgresqlUrl)
        silent, sound = parsed.dsns
        connection = await postgresql_driver.connect(parsed, connect_seconds=4)
        assert parsed.dsns == [sound, silent]
        connection.terminate()


async def test_no_server_that_fits_is_a_server_that_is_away(postgresql: Server) -> None:
    """As in the middle of a failover, when every server is a standby."""
    url = await asyncio.to_thread(postgresql.empty)
    database = Database(f"{url}?target_session_attrs=standby")
    with pytest.raises(Unavailable):
        async with database.reading():
            pass
    await database.close()


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgresql: Server) -> None:
    """Heloise closes the connection, and cancels nothing: that could end a commit's wait."""
    url = await asyncio.to_thread(postgresql.empty)
    database, other = Database(url, answer_seconds=0.5), Database(url)
    running = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
    )
    with pytest.raises(Unavailable):
        async with database.reading() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    async def is_over() -> bool | None:
        async with other.reading() as connection:
            return (await connection.execute(running)).scalar_one() == 0 or None

    await until(is_over)
    await database.close()
    await other.close()
