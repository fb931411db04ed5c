"""What a tenant may use: each limit says which it is, its value, and when it begins anew."""

from typing import Any, Final

import pytest

from app.auth.rate_limiter import RateLimiter
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

SANDBOX: Final = {"name": "s", "transport": "sandbox", "default_from": "a@example.com"}


async def make_limited_tenant(api: Api, **quota: int) -> Caller:
    """A tenant with these limits, and a profile."""
    acme = await api.tenant("acme")
    await acme.made("/profiles", SANDBOX)
    changed = await api.admin("PATCH", "/tenants/acme", {"quota": quota})
    assert changed.status_code == 200, changed.text
    return acme


def kind(answer: Any) -> tuple[int, str]:
    """Status and problem of an answer."""
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_a_quota_is_read_back(api: Api) -> None:
    """A change puts it in place as a whole; other changes leave it."""
    tenant_body = await api.admin.made(
        "/tenants", {"slug": "acme", "quota": {"profiles": 3}, "allowed_from": ["*@Example.com"]}
    )
    assert tenant_body["quota"]["profiles"] == 3
    assert tenant_body["quota"]["messages_per_day"] is None
    assert tenant_body["allowed_from"] == ["*@example.com"]
    await api.admin("PATCH", "/tenants/acme", {"name": "Acme"})
    await api.admin("PATCH", "/tenants/acme", {"quota": {"message_bytes": 2048}})
    read = await api.admin.read("/tenants/acme")
    assert {name for name, value in read["quota"].items() if value} == {"message_bytes"}
    await api.admin("PATCH", "/tenants/acme", {"quota": None, "allowed_from": None})
    read = await api.admin.read("/tenants/acme")
    assert not any(read["quota"].values())
    assert read["allowed_from"] == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("quota", "loc"),
    [
        ({"profiles": -1}, "profiles"),
        ({"messages_per_week": 3}, "messages_per_week"),
        ({"requests_per_second": 0}, "requests_per_second"),
        ({"message_bytes": 1}, "message_bytes"),
        ({"recipients_per_message": 1001}, "recipients_per_message"),
    ],
)
async def test_a_wrong_quota_is_refused(api: Api, quota: dict[str, int], loc: str) -> None:
    """422 names the limit."""
    answer = await api.admin("POST", "/tenants", {"slug": "acme", "quota": quota})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "quota", loc]


async def test_no_tenant_changes_its_own_quota(api: Api) -> None:
    """It is an admin's."""
    acme = await make_limited_tenant(api, profiles=1)
    assert kind(await acme("PATCH", "/tenants/acme", {"quota": {}})) == (403, "admin-only")


@pytest.mark.parametrize("name", ["messages_per_day", "messages_per_month"])
async def test_so_many_messages_in_a_time(api: Api, name: str) -> None:
    """429 with the seconds until it begins anew; what is refused is not stored."""
    acme = await make_limited_tenant(api, **{name: 2})
    for _ in range(2):
        await acme.made("/messages", MESSAGE)
    for _ in range(2):
        answer = await acme("POST", "/messages", MESSAGE)
        assert kind(answer) == (429, "sending-quota-exceeded")
    assert name in answer.json()["detail"]
    assert "2 messages" in answer.json()["detail"]
    most = {"messages_per_day": 86_400, "messages_per_month": 31 * 86_400}[name]
    assert 0 < int(answer.headers["Retry-After"]) <= most
    assert answer.headers["RateLimit-Policy"].startswith('"sending-quota-exceeded";q=2;w=')
    assert len((await acme.read("/messages"))["items"]) == 2


async def test_what_was_accepted_before_the_limit_counts_too(api: Api) -> None:
    """It is looked for when the limit is set."""
    acme = await make_limited_tenant(api)
    for _ in range(3):
        await acme.made("/messages", MESSAGE)
    await api.admin("PATCH", "/tenants/acme", {"quota": {"messages_per_day": 4}})
    await acme.made("/messages", MESSAGE)
    assert kind(await acme("POST", "/messages", MESSAGE)) == (429, "sending-quota-exceeded")
    await api.admin("PATCH", "/tenants/acme", {"quota": {"messages_per_day": 5}})
    await acme.made("/messages", MESSAGE)
    await api.admin("PATCH", "/tenants/acme", {"quota": {}})
    await acme.made("/messages", MESSAGE)
    await api.admin("PATCH", "/tenants/acme", {"quota": {"messages_per_day": 7}})
    await acme.made("/messages", MESSAGE)
    assert kind(await acme("POST", "/messages", MESSAGE)) == (429, "sending-quota-exceeded")


async def test_a_queue_of_so_many(api: Api) -> None:
    """429 says to look at the profile that does not send."""
    acme = await make_limited_tenant(api, queued_messages=2)
    for _ in range(2):
        await acme.made("/messages", MESSAGE)
    answer = await acme("POST", "/messages", MESSAGE)
    assert kind(answer) == (429, "queue-full")
    assert answer.headers["RateLimit-Policy"] == '"queue-full";q=2'
    await acme("DELETE", "/profiles/s?cancel_pending=true")
    await acme.made("/profiles", SANDBOX)
    await acme.made("/messages", MESSAGE)


async def test_so_many_bytes_are_stored(api: Api) -> None:
    """403; one that is small enough still goes."""
    acme = await make_limited_tenant(api)
    first = await acme.made("/messages", MESSAGE)
    size = len((await acme("GET", f"/messages/{first['id']}/raw")).content)
    limit = 2 * size + 2000
    await api.admin("PATCH", "/tenants/acme", {"quota": {"stored_bytes": limit}})
    large = await acme("POST", "/messages", MESSAGE | {"text": "x" * 5000})
    assert kind(large) == (403, "quota-exceeded")
    assert f"{limit} bytes" in large.json()["detail"]
    await acme.made("/messages", MESSAGE)


async def test_a_message_has_so_many_recipients(api: Api) -> None:
    """In all."""
    acme = await make_limited_tenant(api, recipients_per_message=2)
    two = MESSAGE | {"to": ["a@example.org"], "cc": ["b@example.org"]}
    await acme.made("/messages", two)
    answer = await acme("POST", "/messages", two | {"bcc": ["c@example.org"]})
    assert kind(answer) == (403, "quota-exceeded")
    assert "recipients_per_message" in answer.json()["detail"]


async def test_a_message_has_so_many_bytes(api: Api) -> None:
    """413 with the tenant's limit, where that is smaller than the service's."""
    acme = await make_limited_tenant(api, message_bytes=2000)
    await acme.made("/messages", MESSAGE)
    answer = await acme("POST", "/messages", MESSAGE | {"text": "x" * 3000})
    assert kind(answer) == (413, "message-too-large")
    assert "2000 bytes" in answer.json()["detail"]


async def test_a_tenant_has_so_many_profiles(api: Api) -> None:
    """403; a deleted one makes room."""
    acme = await make_limited_tenant(api, profiles=2)
    await acme.made("/profiles", PROFILE)
    answer = await acme("POST", "/profiles", PROFILE | {"name": "third"})
    assert kind(answer) == (403, "quota-exceeded")
    await acme("DELETE", "/profiles/transactional")
    await acme.made("/profiles", PROFILE | {"name": "third"})


async def test_so_many_requests_a_second(api: Api) -> None:
    """429, on every path and for all of its keys together; and a second later it is heard again."""
    api.replace_auth(request_limiter=RateLimiter(monotonic=api.monotonic))
    acme = await make_limited_tenant(api, requests_per_second=3)
    other = await api.tenant("other")
    second = await api.key(acme.tenant_id, ["messages:read"])
    for caller in (acme, second, acme):
        assert (await caller("GET", "/messages")).status_code == 200
    for answer in (
        await acme("GET", "/profiles"),
        await acme("POST", "/messages", MESSAGE),
        await second("GET", "/messages"),
    ):
        assert kind(answer) == (429, "too-many-requests")
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["RateLimit-Policy"] == '"too-many-requests";q=3;w=1'
    assert (await other("GET", "/messages")).status_code == 200
    assert (await api.admin_for("acme")("GET", "/messages")).status_code == 200
    api.monotonic.seconds += 1
    for _ in range(3):
        await acme.made("/messages", MESSAGE)
    assert (await acme("POST", "/messages", MESSAGE)).status_code == 429


async def test_a_message_that_is_refused_counts_as_one_request(api: Api) -> None:
    """The fast path passes it on, and does not count it again."""
    api.replace_auth(request_limiter=RateLimiter(monotonic=api.monotonic))
    acme = await make_limited_tenant(api, requests_per_second=2)
    for status in (422, 422, 429):
        assert (await acme("POST", "/messages", {})).status_code == status


async def test_a_tenant_reads_what_it_has_used(api: Api) -> None:
    """Of each limit that it has."""
    acme = await make_limited_tenant(
        api, messages_per_day=10, queued_messages=5, profiles=3, message_bytes=2048
    )
    await acme.made("/messages", MESSAGE)
    limits = {limit["limit"]: limit for limit in (await acme.read("/usage"))["limits"]}
    used = {name: (usage["used"], usage["value"]) for name, usage in limits.items()}
    assert used == {
        "messages_per_day": (1, 10),
        "queued_messages": (1, 5),
        "profiles": (1, 3),
        "message_bytes": (None, 2048),
    }
    assert limits["messages_per_day"]["resets_at"].endswith("T00:00:00Z")
    assert (await (await api.tenant("other")).read("/usage")) == {"limits": []}


async def test_a_tenant_sends_as_whom_it_may(api: Api, acme: Caller) -> None:
    """Whatever its profiles allow; its own admins cannot extend that."""
    await acme.made("/profiles", PROFILE | {"allowed_from": []})
    await api.admin("PATCH", "/tenants/acme", {"allowed_from": ["*@example.com", "*@*.acme.test"]})
    for sender in ("billing@example.com", "a@mail.acme.test"):
        await acme.made("/messages", MESSAGE | {"from": sender})
    for sender in ("ceo@example.net", "a@acme.test"):
        answer = await acme("POST", "/messages", MESSAGE | {"from": sender})
        assert kind(answer) == (403, "sender-not-allowed")
        assert "This tenant" in answer.json()["detail"]
