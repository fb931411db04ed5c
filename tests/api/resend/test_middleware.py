"""Where the Resend-compatible API is, and the form of its errors."""

from dataclasses import replace
from typing import Any

import pytest

from tests.api.resend.conftest import EMAIL, ResendCaller, check_error, resend_of
from tests.support.api_client import Api, Caller, bearer

pytestmark = pytest.mark.one_database


def use(api: Api, **settings: Any) -> None:
    """Serve with other settings."""
    api.services = api.app.state.services = replace(api.services, **settings)


@pytest.mark.parametrize("path", ["/resend/emails", "/resend//emails", "//resend/emails"])
async def test_the_prefix_with_any_slashes(acme: Caller, profile: Any, path: str) -> None:
    """Some SDKs add a slash to a base URL that ends with one."""
    assert profile
    answer = await acme("POST", f"http://127.0.0.1:{acme.http.base_url.port}{path}", EMAIL)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["resend.example.com", "RESEND.example.com:8000"])
async def test_a_host_name_of_its_own(api: Api, resend: ResendCaller, host: str) -> None:
    """Its root is the API, and the native API is not there; elsewhere nothing changes."""
    use(api, resend_host="resend.example.com")
    native = Caller(resend.http, resend.headers)
    headers = {"Host": host}
    assert (await native("POST", "/emails", EMAIL, headers=headers)).status_code == 200
    doubled = f"http://127.0.0.1:{resend.http.base_url.port}//emails"
    assert (await native("POST", doubled, EMAIL, headers=headers)).status_code == 200
    assert (await resend("GET", "/emails", headers=headers)).status_code == 200
    check_error(await native("GET", "/messages", headers=headers), 404, "not_found")
    assert (await native("GET", "/messages")).status_code == 200
    assert (await native("GET", "/emails")).json()["type"] == "/problems/not-found"


async def test_a_port_of_its_own(api: Api, resend: ResendCaller) -> None:
    """The port that the connection came to decides, not the Host field."""
    use(api, resend_port=resend.http.base_url.port)
    native = Caller(resend.http, resend.headers)
    assert (await native("GET", "/emails", headers={"Host": "x"})).status_code == 200
    check_error(await native("GET", "/messages"), 404, "not_found")


async def test_errors_of_keys(api: Api, resend: ResendCaller) -> None:
    """No key, a wrong one, one without the scope, one that is bound."""
    nobody = resend_of(api.nobody)
    check_error(await nobody("GET", "/emails"), 401, "missing_api_key")
    check_error(await nobody("POST", "/emails", EMAIL), 401, "missing_api_key")
    stranger = ResendCaller(api.http, bearer("re_123"))
    check_error(await stranger("POST", "/emails", EMAIL), 403, "invalid_api_key")
    sender = resend_of(await api.key(resend.tenant_id, ["messages:send"]))
    message = check_error(await sender("GET", "/emails"), 401, "restricted_api_key")
    assert "messages:read" in message
    abroad = resend_of(await api.key(resend.tenant_id, ["messages:read"], networks=["192.0.2.1"]))
    check_error(await abroad("GET", "/emails"), 403, "invalid_api_key")


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"from": None}, "missing_required_field", "Missing `from` field."),
        ({"to": None}, "missing_required_field", "Missing `to` field."),
        ({"to": []}, "missing_required_field", "Missing `to` field."),
        ({"html": None}, "missing_required_field", "text: set text, html or both"),
        ({"from": "nobody"}, "validation_error", "from: "),
        ({"to": ["ann@example.org", "nobody"]}, "validation_error", "to.1: "),
        ({"subjetc": "Hi"}, "validation_error", "subjetc: unknown field: did you mean 'subject'?"),
        ({"scheduled_at": "tomorrow"}, "validation_error", "scheduled_at: write a time with an"),
        ({"scheduled_at": "in 400 days"}, "validation_error", "scheduled_at: write a time within"),
        ({"tags": [{"name": "a b", "value": "c"}]}, "validation_error", "tags.0.name: "),
        (
            {"tags": [{"name": "a", "value": "b"}] * 2},
            "validation_error",
            "tags.1.name: another tag has this name",
        ),
        ({"headers": {"Date": "now"}}, "validation_error", "headers.Date: Heloise or a server"),
        ({"template": {"id": "x"}}, "validation_error", "the template sets subject"),
    ],
)
async def test_errors_of_fields(
    resend: ResendCaller, fields: dict[str, Any], name: str, message: str
) -> None:
    """In Resend's names of the fields, with what to write instead."""
    error = await resend.refuse(422, name, **fields)
    assert error.startswith(message) or message in error


async def test_errors_of_senders(resend: ResendCaller) -> None:
    """A sender that no profile allows."""
    await resend.refuse(403, "validation_error", **{"from": "eve@elsewhere.example"})


async def test_errors_of_requests(resend: ResendCaller) -> None:
    """Paths, methods, bodies and ids that there are not."""
    for method, path, status, name in (
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/emails/x/share", 404, "not_found"),
        ("GET", "/emails/x", 404, "not_found"),
        ("PUT", "/emails", 405, "method_not_allowed"),
        ("GET", "/emails/%00", 404, "not_found"),
    ):
        check_error(await resend(method, path), status, name)
    send = {"Content-Type": "application/json"}
    for content in (b"{", b"[" * 200, b"[]"):
        answer = await resend("POST", "/emails", content=content, headers=send)
        check_error(answer, 422, "validation_error")
    answer = await resend("POST", "/emails", headers=send)
    assert check_error(answer, 422, "missing_required_field") == "send a JSON object as the body"
    answer = await resend("POST", "/emails", content=b"x", headers={"Content-Type": "text/plain"})
    check_error(answer, 415, "validation_error")
    answer = await resend("POST", "/emails", EMAIL | {"text": "x" * 100_000})
    check_error(answer, 413, "validation_error")
    answer = await resend("POST", "/emails", EMAIL | {"text": "x" * 1_300_000})
    check_error(answer, 413, "validation_error")
    answer = await resend("GET", "/emails", content=b"{}", headers=send)
    assert answer.status_code == 200


async def test_errors_of_limits_and_of_the_service(api: Api, resend: ResendCaller) -> None:
    """Too many requests, a service that is not ready, and one that fails."""
    await api.admin("PATCH", f"/tenants/{resend.tenant_id}", {"quota": {"requests_per_second": 1}})
    api.monotonic.seconds += 60
    answers = [await resend("GET", "/emails") for _ in range(3)]
    check_error(answers[-1], 429, "rate_limit_exceeded")
    assert answers[-1].headers.keys() >= {
        *("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    }
    api.replace_auth(schema_fault=lambda: "the schema is old")
    answer = await resend("GET", "/emails")
    check_error(answer, 503, "service_unavailable")
    assert answer.headers["retry-after"] == "5"
