"""Finding messages by their Message-ID, words of the subject and metadata; counting recipients."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.api.messages import routes as messages
from tests.api.inbound.test_bounces import mail, post_mail
from tests.support.api_client import MESSAGE, PROFILE, Api, Caller


@pytest.fixture
async def acme(api: Api) -> Caller:
    """A tenant with a profile."""
    acme = await api.tenant("acme")
    await acme.made("/profiles", PROFILE | {"is_default": True})
    return acme


async def send(acme: Caller, **fields: Any) -> Any:
    """A message that was accepted."""
    return await acme.made("/messages", MESSAGE | fields)


async def find_subjects(acme: Caller, query: str) -> list[str]:
    """The subjects of what a list shows, newest first."""
    return [item["subject"] for item in (await acme.read(f"/messages?{query}"))["items"]]


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("receipt", ["Ihre Quittung / Receipt", "Your receipt for January"]),
        ("RECEIPT jan", ["Your receipt for January"]),
        ("january your", ["Your receipt for January"]),
        ("quit", ["Ihre Quittung / Receipt"]),
        ("eceipt", []),
        ("grüsse", ["Grüße aus Köln"]),
        ("GRÜSSE köln", ["Grüße aus Köln"]),
        ("ｒｅｃｅｉｐｔ", ["Ihre Quittung / Receipt", "Your receipt for January"]),
        ("日本語", ["日本語 の件名"]),
        (
            "%",
            [
                "日本語 の件名",
                "Grüße aus Köln",
                "Ihre Quittung / Receipt",
                "Your receipt for January",
            ],
        ),
    ],
)
async def test_by_words_of_the_subject(acme: Caller, query: str, subjects: list[str]) -> None:
    """All of them, in any order, case and script; the beginning of a word is enough."""
    for subject in (
        "Your receipt for January",
        "Ihre Quittung / Receipt",
        "Grüße aus Köln",
        "日本語 の件名",
    ):
        await send(acme, subject=subject)
    answer = await acme("GET", "/messages", params={"subject": query})
    assert [item["subject"] for item in answer.json()["items"]] == subjects


async def test_by_metadata(acme: Caller) -> None:
    """By key and value, or by the key alone; by several at once; together with other filters."""
    await send(acme, subject="one", metadata={"order": "42", "shop": "a:b"}, tags=["x"])
    await send(acme, subject="two", metadata={"order": "42"})
    await send(acme, subject="three", metadata={"order": "7"}, tags=["x"])
    assert await find_subjects(acme, "metadata=order:42") == ["two", "one"]
    assert await find_subjects(acme, "metadata=order:42&metadata=shop:a:b") == ["one"]
    assert await find_subjects(acme, "metadata=order:42&tag=x&subject=on") == ["one"]
    assert await find_subjects(acme, "metadata=order:4") == []
    assert await find_subjects(acme, "metadata=order") == ["three", "two", "one"]
    assert await find_subjects(acme, "metadata=shop") == ["one"]
    assert await find_subjects(acme, "metadata=sho") == []


async def test_by_ids(acme: Caller) -> None:
    """Those of the list that are the tenant's; with other filters, those that match both."""
    first, second, _ = [await send(acme, subject=text) for text in ("one", "two", "three")]
    both = f"id={first['id']}&id={second['id']}&id=msg_unknown"
    assert await find_subjects(acme, both) == ["two", "one"]
    assert await find_subjects(acme, f"{both}&subject=on") == ["one"]
    assert await find_subjects(acme, f"id={first['id']}&recipient=ann@example.org") == ["one"]
    body = {"action": "cancel", "filter": {"id": [first["id"], second["id"]]}}
    counted = (await acme("POST", "/messages/actions", body)).json()
    assert counted["matched"] == 2


async def test_a_search_goes_on_where_it_ended(
    acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be short, or empty, and have another after it: all are found, once."""
    monkeypatch.setattr(messages, "MAX_SEARCHED", 3)
    for number in range(10):
        await send(acme, subject=f"even {number}" if number % 4 == 0 else f"odd {number}")
    subjects, sizes, cursor = [], [], ""
    while cursor is not None:
        page = await acme.read(f"/messages?subject=even&limit=2{cursor and f'&cursor={cursor}'}")
        subjects += [item["subject"] for item in page["items"]]
        sizes.append(len(page["items"]))
        cursor = page["next_cursor"]
    assert subjects == ["even 8", "even 4", "even 0"]
    assert len(sizes) >= 3


async def test_by_message_id(api: Api, acme: Caller) -> None:
    """The one that was made here, one that the caller gave, and another try at a message."""
    first = await send(acme, subject="first")
    header = first["message_id_header"]
    await acme(
        "POST",
        "/messages/raw?to=ann@example.org",
        content=b"From: billing@example.com\r\nSubject: raw\r\nMessage-ID: <42@x.y>\r\n\r\nHi.\r\n",
        headers={"Content-Type": "message/rfc822"},
    )
    await acme("POST", f"/messages/{first['id']}/cancel")
    await acme.made(f"/messages/{first['id']}/retry", {})

    async def by(caller: Caller, text: str) -> list[Any]:
        answer = await caller("GET", "/messages", params={"message_id": text})
        return [item["subject"] for item in answer.json()["items"]]

    assert await by(acme, header) == ["first", "first"]
    assert await by(acme, header.strip("<>")) == ["first", "first"]
    assert await by(acme, "<42@x.y>") == ["raw"]
    assert await by(acme, "<43@x.y>") == []
    assert await by(await api.tenant("other"), header) == []
    exported = await acme("GET", "/messages/export", params={"message_id": "42@x.y"})
    assert exported.text.count("\n") == 1


def counts(answer: Any) -> dict[str | None, int]:
    """How many recipients each group has."""
    return {group["key"]: group["recipients"] for group in answer["groups"]}


async def test_recipients_are_counted(acme: Caller) -> None:
    """By profile, tag, domain, hour and day, and all together."""
    await acme.made("/profiles", PROFILE | {"name": "news"})
    first = await send(acme, to=["ann@example.org", "bob@Example.NET"], tags=["receipt", "eu"])
    await send(acme, profile="news", tags=["eu"])
    await acme("POST", f"/messages/{first['id']}/cancel")
    assert counts(await acme.read("/stats")) == {None: 3}
    assert counts(await acme.read("/stats?by=profile")) == {"transactional": 2, "news": 1}
    assert counts(await acme.read("/stats?by=tag")) == {"eu": 3, "receipt": 2}
    by_domain = await acme.read("/stats?by=domain")
    assert counts(by_domain) == {"example.org": 2, "example.net": 1}
    [group] = [group for group in by_domain["groups"] if group["key"] == "example.org"]
    assert (group["statuses"]["queued"], group["statuses"]["cancelled"]) == (1, 1)
    now = datetime.now(UTC)
    days = {f"{now:%Y-%m-%d}T00:00:00Z", f"{now - timedelta(minutes=5):%Y-%m-%d}T00:00:00Z"}
    assert counts(await acme.read("/stats?by=day")).keys() <= days
    [hour] = (await acme.read("/stats?by=hour"))["groups"][-1:]
    assert hour["key"].endswith(":00:00Z")
    assert counts(await acme.read("/stats?by=domain&tag=receipt&profile=news")) == {}
    assert counts(await acme.read("/stats?tag=receipt")) == {None: 2}


async def test_what_came_back_is_counted(acme: Caller) -> None:
    """Beside where the recipients stand."""
    message = await send(acme)
    await post_mail(acme, mail("gmail", message))
    [group] = (await acme.read("/stats"))["groups"]
    assert group["reports"]["bounced_later"] == 1
    assert group["statuses"]["queued"] == 1


async def test_a_bound_key_counts_its_profiles_alone(api: Api, acme: Caller) -> None:
    """What another profile sends is none of its business."""
    news = await acme.made("/profiles", PROFILE | {"name": "news"})
    await send(acme)
    bound = await api.key(acme.tenant_id, ["messages:read"], profiles=[news["id"]])
    assert counts(await bound.read("/stats")) == {}
    assert counts(await acme.read("/stats")) == {None: 1}


@pytest.mark.parametrize(
    "query",
    [
        "created_after=2026-02-01T00:00:00Z&created_before=2026-01-01T00:00:00Z",
        "created_after=2024-01-01T00:00:00Z&created_before=2026-01-01T00:00:00Z",
    ],
)
async def test_a_time_that_is_none_is_refused(acme: Caller, query: str) -> None:
    """And it is said what to give."""
    answer = await acme("GET", f"/stats?{query}")
    assert answer.status_code == 422
    assert "366 days" in answer.text
