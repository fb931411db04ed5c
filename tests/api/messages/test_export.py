"""All messages of a filter as a file: what is read one by one, in one go."""

import csv
import io
import json

from tests.support.api_client import PROFILE, Caller


async def test_as_json_lines_and_as_csv(acme: Caller) -> None:
    """More than a page holds; in CSV a recipient a line, and nothing that is reckoned with."""
    await acme.made("/profiles", PROFILE)
    body = {"to": ["ann@example.org"], "cc": ["bob@example.org"], "text": "x", "tags": ["a", "b"]}
    messages = [body | {"subject": f"={n}"} for n in range(250)]
    await acme.made("/messages/batch", {"messages": messages})
    await acme.made("/messages", {"to": ["eve@example.org"], "text": "x"})
    answer = await acme("GET", "/messages/export?tag=a")
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == 250
    assert lines[0] == await acme.read(f"/messages/{lines[0]['id']}")
    assert [message["id"] for message in lines] == sorted((e["id"] for e in lines), reverse=True)
    answer = await acme("GET", "/messages/export?tag=a&format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 500
    assert [row["recipient"] for row in rows[:2]] == ["ann@example.org", "bob@example.org"]
    assert (rows[0]["subject"], rows[0]["tags"]) == ("'=249", "a b")
    assert {row["recipient_status"] for row in rows} == {"queued"}
    assert (await acme("GET", "/messages/export?profile=none")).status_code == 404
    assert (await acme("GET", "/messages/export?format=xml")).status_code == 422
