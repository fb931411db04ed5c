"""How many messages a second `POST /messages` accepts, each durable before its answer."""

import asyncio
import json
from pathlib import Path
from typing import Final

from benchmarks.floors import BODY
from benchmarks.load import Load, post, put_load
from benchmarks.service import Tenant, serving_plain_api

CONNECTIONS: Final = 32
ACCEPTED: Final = 202
CONTENT: Final = json.dumps(BODY).encode()


def accept(tenant: Tenant, messages: int) -> Load:
    """Put this many messages into the queue; raises RuntimeError if one is not accepted."""
    return _loaded(f"{tenant.url}/messages", CONTENT, messages, tenant.headers)


def accept_floor(folder: Path, messages: int) -> Load:
    """The same requests to FastAPI and pydantic alone."""
    with serving_plain_api(folder) as url:
        _loaded(f"{url}/messages", CONTENT, messages // 10, {})  # the first ones find it cold
        return _loaded(f"{url}/messages", CONTENT, messages, {})


def _loaded(url: str, content: bytes, requests: int, headers: dict[str, str]) -> Load:
    request = post(url, content, **headers)
    load = asyncio.run(put_load(url, request, requests=requests, connections=CONNECTIONS))
    if set(load.statuses) != {ACCEPTED}:
        raise RuntimeError(f"{url} answered {dict(load.statuses)}")
    return load
