"""Which requests may read from a standby: those that the page for operators lists, and no other."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.db.replica import Replica
from tests.api.auth.test_isolation import STREAM, objects, operations, parameters
from tests.project.pages import tables
from tests.support.api_client import Caller
from tests.support.terminal import ROOT

__all__ = ["objects"]

PAGE = (ROOT / "docs/operations/high-availability.md").read_text()
[LISTED] = [table[1:] for table in tables(PAGE) if table[0] == ["operation", "request"]]


@pytest.mark.one_database
async def test_only_listed_operations_read_from_a_standby(
    acme: Caller,
    document: dict[str, Any],
    objects: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each operation that reads is asked for what there is; searches and filters read alike."""
    reads = 0
    original = Replica.read

    async def read(
        replica: Replica, work: Callable[[AsyncConnection], Awaitable[Any]], **named: Any
    ) -> Any:
        nonlocal reads
        reads += 1
        return await original(replica, work, **named)

    monkeypatch.setattr(Replica, "read", read)
    found = set()
    for method, path, operation in operations(document):
        if method != "GET" or path == STREAM or not parameters(path) <= objects.keys():
            continue
        before = reads
        address = path.format(**{name: objects[name][0] for name in parameters(path)})
        await acme("GET", address)
        if reads > before:
            found.add((f"`{operation['operationId']}`", f"`GET {path}`"))
    listed = {(operation, request.partition(",")[0]) for operation, request in LISTED}
    assert found == listed
    before = reads
    await acme.read("/messages?subject=receipt")
    assert reads > before
