"""What a FastAPI user writes: the async ORM, a session and a commit for each request.

It inserts what it was given and renders nothing. SQLite is as durable as Heloise's: WAL and FULL.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import Depends, FastAPI, Response
from sqlalchemy import JSON, DateTime, event, make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.store.db.url import sqlite_path
from benchmarks.contestants.plain_api import Answer, Message

VARIABLE: Final = "NAIVE_DATABASE_URL"


class Base(DeclarativeBase):
    """The tables."""


class Stored(Base):
    """A message."""

    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(primary_key=True)
    sender: Mapped[str]
    recipients: Mapped[list[str]] = mapped_column(JSON)
    subject: Mapped[str]
    text: Mapped[str]
    html: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def _engine() -> AsyncEngine:
    database_url = os.environ[VARIABLE]
    driver = "postgresql+asyncpg" if sqlite_path(database_url) is None else "sqlite+aiosqlite"
    engine_url = make_url(database_url).set(drivername=driver)
    engine = create_async_engine(engine_url, pool_size=10, max_overflow=10)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine.sync_engine, "connect")
        def be_durable(connection: Any, _: object) -> None:  # noqa: ANN401 - it has no public type
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA busy_timeout = 30000")
            cursor.close()

    return engine


def api() -> FastAPI:
    """The app, on the database of the environment."""
    engine = _engine()
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    app = FastAPI(lifespan=lifespan)

    @app.post("/messages", status_code=202)
    async def send(
        message: Message, response: Response, db: Annotated[AsyncSession, Depends(session)]
    ) -> Answer:
        stored = Stored(
            id=uuid4().hex,
            sender=message.sender,
            recipients=list(message.to),
            subject=message.subject,
            text=message.text,
            html=message.html,
            status="queued",
            created_at=datetime.now(UTC),
        )
        db.add(stored)
        await db.commit()
        response.headers["Location"] = f"/messages/{stored.id}"
        return Answer(
            id=stored.id, to=stored.recipients, subject=stored.subject, status=stored.status
        )

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
