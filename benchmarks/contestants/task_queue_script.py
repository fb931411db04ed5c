"""Runs in an environment of its own: FastAPI and a task queue, as a user without Heloise has them.

Arguments: the queue's kind, the role (`prepare`, `api`, `worker`), the URL of its PostgreSQL or
Redis, the port of the API and that of the SMTP server. `POST /messages` validates and queues a
message; a worker builds it and sends it over SMTP connections that it keeps.
"""

import asyncio
import smtplib
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Annotated, Any

import aiosmtplib
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, EmailStr, Field

CONNECTIONS = 10
Content = dict[str, Any]
Enqueue = Callable[[Content], Awaitable[object]]


class Message(BaseModel):
    """The body of the benchmark, validated as FastAPI's users do."""

    sender: Annotated[EmailStr, Field(alias="from")]
    to: list[EmailStr]
    subject: str
    text: str
    html: str


class Accepted(BaseModel):
    """The response."""

    to: list[str]
    subject: str
    status: str


def build_mail(content: Content) -> EmailMessage:
    """Build the mail of a queued message."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = (
        content["sender"],
        ", ".join(content["to"]),
        content["subject"],
    )
    mail["Message-ID"] = make_msgid(domain="example.com")
    mail.set_content(content["text"])
    mail.add_alternative(content["html"], subtype="html")
    return mail


class Pool:
    """Connections of aiosmtplib that are kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, content: Content) -> None:
        """Send over an idle connection, or over a new one."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = aiosmtplib.SMTP(hostname="127.0.0.1", port=self._port, start_tls=False)
            await connection.connect()
        await connection.send_message(build_mail(content))
        self._idle.append(connection)


def serve(enqueueing: AbstractAsyncContextManager[Enqueue], port: int) -> None:
    """Serve the API, which queues each message and answers once that is stored."""
    enqueue: Enqueue

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal enqueue
        async with enqueueing as enqueue:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/messages", status_code=202)
    async def send(message: Message) -> Accepted:
        await enqueue(message.model_dump())
        return Accepted(to=message.to, subject=message.subject, status="queued")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning")


def run_procrastinate(role: str, url: str, port: int, smtp_port: int) -> None:
    """Queue in PostgreSQL."""
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    pool = Pool(smtp_port)

    @app.task(name="send")
    async def send(content: Content) -> None:
        await pool.send(content)

    async def work(*, is_first: bool) -> None:
        async with app.open_async():
            if is_first:
                await app.schema_manager.apply_schema_async()
            else:
                await app.run_worker_async(concurrency=CONNECTIONS, wait=True)

    @asynccontextmanager
    async def enqueueing() -> AsyncIterator[Enqueue]:
        async with app.open_async():
            yield lambda content: send.defer_async(content=content)

    if role == "api":
        serve(enqueueing(), port)
    else:
        asyncio.run(work(is_first=role == "prepare"))


def run_arq(role: str, url: str, port: int, smtp_port: int) -> None:
    """Queue in Redis."""
    import arq
    from arq.connections import RedisSettings

    settings, pool = RedisSettings.from_dsn(url), Pool(smtp_port)

    async def send(_: object, content: Content) -> None:
        await pool.send(content)

    @asynccontextmanager
    async def enqueueing() -> AsyncIterator[Enqueue]:
        redis = await arq.create_pool(settings)
        yield lambda content: redis.enqueue_job("send", content)

    async def work() -> None:
        worker = arq.Worker(
            functions=[arq.func(send, name="send")],
            redis_settings=settings,
            max_jobs=CONNECTIONS,
            keep_result=0,
            poll_delay=0.02,
            handle_signals=False,
        )
        await worker.async_run()

    if role == "api":
        serve(enqueueing(), port)
    elif role == "worker":
        asyncio.run(work())


def run_saq(role: str, url: str, port: int, smtp_port: int) -> None:
    """Queue in Redis."""
    import saq

    pool = Pool(smtp_port)

    async def send(_: object, *, content: Content) -> None:
        await pool.send(content)

    @asynccontextmanager
    async def enqueueing() -> AsyncIterator[Enqueue]:
        queue = saq.Queue.from_url(url)
        await queue.connect()
        yield lambda content: queue.enqueue("send", content=content, ttl=-1)

    async def work() -> None:
        worker = saq.Worker(
            saq.Queue.from_url(url), functions=[("send", send)], concurrency=CONNECTIONS
        )
        await worker.start()

    if role == "api":
        serve(enqueueing(), port)
    elif role == "worker":
        asyncio.run(work())


def run_celery(role: str, url: str, port: int, smtp_port: int) -> None:
    """Queue in Redis; Celery's processes and threads have no event loop, so smtplib sends."""
    import celery

    app = celery.Celery(broker=url)
    app.conf.update(task_ignore_result=True, task_acks_late=True, worker_hijack_root_logger=False)
    own = threading.local()  # each process or thread keeps a connection

    @app.task(name="send")
    def send(content: Content) -> None:
        if not hasattr(own, "connection"):
            own.connection = smtplib.SMTP("127.0.0.1", smtp_port)
        own.connection.send_message(build_mail(content))

    @asynccontextmanager
    async def enqueueing() -> AsyncIterator[Enqueue]:
        yield lambda content: asyncio.to_thread(send.delay, content)

    if role == "api":
        serve(enqueueing(), port)
    elif role == "worker":
        app.worker_main(["worker", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"])


KINDS = {
    "procrastinate": run_procrastinate,
    "arq": run_arq,
    "saq": run_saq,
    "Celery": run_celery,
}

if __name__ == "__main__":
    kind, role, url, port, smtp_port = sys.argv[1:]
    KINDS[kind](role, url, int(port), int(smtp_port))
