"""Any number of messages as JSON Lines: what was accepted is told as it goes, and sent once."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import pytest

from tests.support.api_client import PROFILE, Caller

LINE: Final = {"to": ["ann@example.org"], "text": "x", "tags": ["upload"]}


async def upload(
    acme: Caller, lines: Iterable[Any], *, chunk_bytes: int = 1000, **headers: str
) -> list[Any]:
    """The lines of the answer to lines, which come in pieces."""
    content = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), chunk_bytes):
            yield content[start : start + chunk_bytes]

    answer = await acme(
        "POST",
        "/messages/upload",
        content=pieces(),
        headers={"Content-Type": "application/jsonl", **headers},
    )
    assert answer.status_code == 202, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def count(acme: Caller) -> int:
    """How many were accepted."""
    body = {"action": "cancel", "filter": {"tag": "upload"}}
    return int((await acme("POST", "/messages/actions", body)).json()["matched"])


async def test_more_than_a_request_may_hold(acme: Caller) -> None:
    """The body is bounded by nothing, a line is; progress is told after each group."""
    await acme.made("/profiles", PROFILE)
    lines = [LINE | {"text": "x" * 3000} for _ in range(500)]  # 1.5 MB; a body has 1.2
    answer = await upload(acme, lines, chunk_bytes=100_000)
    assert [part["lines"] for part in answer] == [200, 400, 500, 500]
    assert answer[-1] == {"lines": 500, "accepted": 500, "refused": 0, "is_done": True}
    assert await count(acme) == 500


async def test_an_invalid_line_is_reported_by_its_number(acme: Caller) -> None:
    """As an editor counts them. Its neighbours are accepted; empty lines are none."""
    await acme.made("/profiles", PROFILE)
    answer = await upload(acme, [LINE, b"", {"to": []}, b"{", b"[1]", LINE, b"\xff"], chunk_bytes=7)
    status_by_line = {part["line"]: part["problem"]["status"] for part in answer if "line" in part}
    assert status_by_line == {3: 422, 4: 422, 5: 422, 7: 422}
    assert answer[-1] == {"lines": 6, "accepted": 2, "refused": 4, "is_done": True}
    assert await count(acme) == 2


@pytest.mark.one_database
async def test_refusals_are_shown_up_to_a_number(acme: Caller) -> None:
    """So that the answer fits where nobody reads it yet; they are counted all the same."""
    answer = await upload(acme, [{}] * 450)
    assert len([part for part in answer if "line" in part]) == 200
    assert answer[-1]["refused"] == 450


async def test_the_same_lines_again_send_nothing_twice(acme: Caller) -> None:
    """With a key: what was refused is tried again, and what is new is accepted."""
    await acme.made("/profiles", PROFILE)
    key = {"Idempotency-Key": "january"}
    lines = [LINE | {"metadata": {"n": str(n)}} for n in range(5)]
    await upload(acme, lines[:3], **key)
    answer = await upload(acme, lines, **key)
    assert answer[-1] == {"lines": 5, "accepted": 5, "refused": 0, "is_done": True}
    assert await count(acme) == 5


async def test_a_line_that_does_not_end_is_not_held(acme: Caller) -> None:
    """It ends the upload; what came before it was accepted."""
    await acme.made("/profiles", PROFILE)
    answer = await upload(acme, [*[LINE] * 200, b"x" * 2_000_000], chunk_bytes=65_536)
    assert answer[-1]["is_done"] is False
    assert answer[-1]["problem"]["type"] == "/problems/body-too-large"
    assert await count(acme) == 200


@pytest.mark.one_database
async def test_another_type_is_refused(acme: Caller) -> None:
    """With what to write."""
    answer = await acme("POST", "/messages/upload", LINE)
    assert (answer.status_code, "application/jsonl" in answer.json()["detail"]) == (415, True)
