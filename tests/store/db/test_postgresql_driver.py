"""Connections to PostgreSQL: what the URL asks for holds for each of them."""

import asyncio

import pytest
from sqlalchemy import text

from app.domain.errors import SettingsError
from app.store.db.engine import Database
from tests.support.database.postgresql import Server

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
