"""/healthz and /readyz."""

from dataclasses import replace

from tests.api.client import Api


async def test_alive(api: Api) -> None:
    """Without a key, whatever the database does."""
    assert await api.nobody.read("/healthz") == {"status": "ok"}


async def test_ready(api: Api) -> None:
    """Where there is no reason against it."""
    assert await api.nobody.read("/readyz") == {"status": "ready"}


async def test_not_ready_says_why(api: Api) -> None:
    """503 with every reason."""

    async def reasons() -> list[str]:
        return ["The schema is not at head: run `heloise migrate`.", "It rains."]

    api.app.state.services = replace(api.services, readiness=reasons)
    answer = await api.nobody("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/not-ready"
    assert answer.json()["detail"] == (
        "The schema is not at head: run `heloise migrate`. It rains."
    )
    assert answer.headers["Retry-After"]
