"""The error of a failed post, which may repeat what the receiver sent."""

import httpx2
import pytest

from app.domain.events import Event, EventType, Position
from app.webhooks.signed_post import MAX_ERROR_CHARACTERS, Poster
from tests.support.rows import NOW, a_webhook

SECRET = "whsec_" + "A" * 32
EVENT = Event(
    id="evt_1",
    position=Position(0, 1),
    type=EventType.PROFILE_PAUSED,
    created_at=NOW,
    profile_id="prf_1",
    profile_name="main",
    message_id=None,
    message=None,
    recipient=None,
    data={},
)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("no\nroute\x1b[31m\0", "no route\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"),
        ("x" * 100_000, "x" * MAX_ERROR_CHARACTERS),
        ("", "ConnectError"),
    ],
)
async def test_the_error_of_a_post_is_short_and_printable(text: str, error: str) -> None:
    """Whatever the network says, as it is stored with the delivery and the webhook."""

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError(text, request=request)

    poster = Poster(httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)))
    response = await poster.post(a_webhook("ten_1"), EVENT, None, secrets=[SECRET], now=NOW)
    await poster.close()
    assert response.error == response.reason == error
