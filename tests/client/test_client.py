"""The client over a live service: sync and async alike, and sending once whatever is lost."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Final

import httpx2
import pytest

from app.client import ApiError, AsyncHeloise, Heloise, NoAnswerError, calls, clients
from tests.e2e.conftest import heloise, server, start, watched
from tests.support.harness import Heloise as Service
from tests.support.harness import Tenant, until
from tests.support.servers.smtp_server import SmtpServer

__all__ = ["heloise", "server", "start", "watched"]

# What a client does depends on the API, and that on no database.
pytestmark = pytest.mark.one_database

ANN: Final = "ann@example.org"


def address_of(service: Service) -> str:
    """Where it is served."""
    return str(service.http.base_url)


def key_of(tenant: Tenant) -> str:
    """The tenant's key."""
    return tenant.headers["Authorization"].removeprefix("Bearer ")


class Losing(httpx2.BaseTransport):
    """Loses the first answers, once the service has given them, or says others instead."""

    def __init__(self, *lost: httpx2.Response | None) -> None:
        self._inner = httpx2.HTTPTransport()
        self._lost = list(lost)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._inner.handle_request(request)
        if not self._lost:
            return answer
        answer.read()
        answer.close()
        if (instead := self._lost.pop(0)) is not None:
            return instead
        raise httpx2.ReadError("the connection was lost")

    def close(self) -> None:
        self._inner.close()


async def test_a_message_from_sending_to_its_end(heloise: Service, server: SmtpServer) -> None:
    """Sent, followed, listed; what happened is told."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    async with AsyncHeloise(address_of(heloise), key_of(acme)) as client:
        sent = await client.send(to=[ANN], subject="Hi", text="x", from_="main@example.com")
        assert (sent["status"], sent["from"]) == ("queued", "main@example.com")

        async def done() -> bool | None:
            return (await client.message(sent["id"]))["status"] == "sent" or None

        await until(done)
        assert [each["id"] async for each in client.iterate(client.messages)] == [sent["id"]]
        assert [attempt["verdict"] for attempt in await client.attempts(sent["id"])] == [
            "delivered"
        ]
        story = [each["type"] async for each in client.iterate(client.events, message=sent["id"])]
        assert story == ["message.queued", "recipient.sent", "message.sent"]


async def test_the_same_without_asyncio(heloise: Service, server: SmtpServer) -> None:
    """In a thread of its own, as whoever has no loop would."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)

    def work() -> list[Any]:
        with Heloise(address_of(heloise), key_of(acme)) as client:
            results = client.send_batch([{"to": [ANN], "text": str(n)} for n in range(3)] + [{}])
            made = client.suppress("eve@example.org", tag="news")
            assert [each["id"] for each in client.iterate(client.suppressions)] == [made["id"]]
            client.unsuppress(made["id"])
            assert client.suppressions()["items"] == []
            return [(result["status"], result["message"] is not None) for result in results]

    assert await asyncio.to_thread(work) == [(202, True)] * 3 + [(422, False)]


async def test_what_the_service_refuses_is_told(heloise: Service) -> None:
    """With the problem's name, its words and its fields; nothing is asked twice."""
    acme = await heloise.tenant()
    async with AsyncHeloise(address_of(heloise), key_of(acme)) as client:
        with pytest.raises(ApiError) as caught:
            await client.send(to=["nonsense"], text="x", profile="none")
        assert (caught.value.status, caught.value.slug) == (422, "invalid-request")
        assert caught.value.errors[0]["loc"] == ["body", "to", 0]
        with pytest.raises(ApiError, match="There is no message"):
            await client.message("msg_1")


@pytest.mark.parametrize(
    "lost",
    [
        (None, None),
        (httpx2.Response(503, headers={"Retry-After": "7"}), None),
        # A date is held to be as long as anything: half a minute.
        (httpx2.Response(503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}), None),
        (httpx2.Response(502), httpx2.Response(504)),
    ],
)
async def test_an_answer_that_is_lost_sends_nothing_twice(
    heloise: Service, server: SmtpServer, lost: tuple[httpx2.Response | None, ...]
) -> None:
    """It is asked again with the same key, after a while, or as long as the service says."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    waited = list[float]()

    def work() -> str:
        transport = Losing(*lost)
        settings = {"transport": transport, "wait": waited.append}
        with Heloise(address_of(heloise), key_of(acme), **settings) as client:
            return client.send(to=[ANN], text="x")["id"]

    message = await asyncio.to_thread(work)
    await acme.message(message, status="sent")
    assert len((await acme.read("/messages"))["items"]) == 1
    assert len(server.messages) == 1
    assert len(waited) == 2
    assert 0 < waited[1] < 3
    asked = lost[0].headers.get("Retry-After") if lost[0] is not None else None
    assert waited[0] < 3 if asked is None else waited[0] == (7 if asked == "7" else 30)


async def test_what_might_be_done_twice_is_not_asked_twice(heloise: Service) -> None:
    """And where nothing answers that is told, with the key to try again by."""
    acme = await heloise.tenant()

    def work() -> None:
        settings: dict[str, Any] = {"wait": lambda _: None, "retries": 3}
        url, key = address_of(heloise), key_of(acme)
        with (
            Heloise(url, key, transport=Losing(None), **settings) as client,
            pytest.raises(NoAnswerError),
        ):
            client.suppress(ANN)
        with Heloise(url, key, **settings) as client:
            assert len(client.suppressions()["items"]) == 1
        with (
            Heloise("http://127.0.0.1:1", key, **settings) as client,
            pytest.raises(NoAnswerError) as caught,
        ):
            client.send(to=[ANN], text="x", idempotency_key="mine")
        assert caught.value.idempotency_key == "mine"

    await asyncio.to_thread(work)


async def test_an_admin_acts_for_a_tenant(heloise: Service) -> None:
    """By its name."""
    await heloise.tenant("acme")
    key = heloise.admin.headers["Authorization"].removeprefix("Bearer ")
    async with AsyncHeloise(address_of(heloise), key, tenant="acme") as client:
        assert (await client.messages())["items"] == []


def test_both_clients_can_ask_everything() -> None:
    """Every call is a method of each, with its own words."""
    made = {
        name: call
        for name, call in inspect.getmembers(calls, inspect.isfunction)
        if call.__module__ == calls.__name__ and not name.startswith("_")
    }
    assert len(made) >= 13
    for client in (clients.Heloise, clients.AsyncHeloise):
        for name, call in made.items():
            method: Callable[..., Any] = getattr(client, name)
            assert method.__doc__ == call.__doc__
