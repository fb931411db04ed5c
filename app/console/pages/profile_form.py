"""Convert profiles to a form, and a form to a request body.

Common settings have a field each, named by their path in the body; all others are JSON in the
field `advanced`. No field shows a secret; an empty one leaves the secret as it is.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from app.console.api_client import ApiError
from app.console.forms import (
    Field,
    assign_errors,
    list_choices,
    look_up,
    parse_json,
    put,
)
from app.domain.types import TlsMode, Transport

SERVER: Final = (
    Field("name", "Name", hint="Unique; letters, digits, “.”, “_” and “-”."),
    Field("host", "Server", hint="For example smtp.example.com."),
    Field("port", "Port", "number", hint="587 with starttls, 465 with implicit.", default=587),
    Field("tls", "TLS", options=list_choices(TlsMode), default=TlsMode.STARTTLS),
    Field(
        "ehlo_name",
        "EHLO name",
        hint="A domain name of yours, such as mail.example.com. Empty: the tenant's or the"
        " service's.",
    ),
    Field("auth.username", "User name"),
)
SENDING: Final = (
    Field("default_from", "Default sender", hint="For example Billing <billing@example.com>."),
    Field(
        "allowed_from",
        "Allowed senders",
        "lines",
        hint="One per line, for example *@example.com. Empty: any.",
        default=(),
    ),
    Field("rate_limit.messages", "Rate limit: messages", "number", hint="Empty: no limit."),
    Field("rate_limit.per_seconds", "Rate limit: per seconds", "number"),
    Field("max_connections", "Connections at most", "number"),
)
TRANSPORT: Final = Field(
    "transport",
    "Transport",
    hint="A sandbox accepts every message and sends none.",
    options=list_choices(Transport),
    default=Transport.SMTP,
)
FIELDS: Final = (*SERVER, *SENDING, TRANSPORT)
ADVANCED: Final = "advanced"
MORE: Final = Field(
    ADVANCED,
    "All other settings, as JSON",
    "textarea",
    hint="As in the API. Settings that you leave out stay; null removes a value.",
)
SECRETS: Final = (
    "auth.password",
    "auth.client_secret",
    "auth.private_key",
    "auth.refresh_token",
    "client_key",
)
# Fields of a part of the form that is closed at first.
RARE: Final = (TRANSPORT.name, ADVANCED, *SECRETS[1:])
_RATE_LIMIT: Final = ("messages", "recipients", "per_seconds", "burst")
_RAMP: Final = ("start", "factor", "every", "until")
# The names of the settings in `advanced`, and of their parts.
_MORE: Final[Mapping[str, tuple[str, ...]]] = {
    "auth": (
        "mechanism",
        "allow_plaintext_auth",
        "grant",
        "token_url",
        "client_id",
        "scope",
        "subject",
    ),
    "rate_limit": ("recipients", "burst"),
    "ramp": _RAMP,
    "destinations": (),
    **dict.fromkeys(
        (
            "max_messages_per_connection",
            "timeouts",
            "retry",
            "tls_min_version",
            "tls_server_name",
            "tls_ca",
            "tls_pins",
            "client_certificate",
            "source_address",
            "fallback_profile",
            "fallback_after_seconds",
            "is_default",
        ),
        (),
    ),
}


class FormError(Exception):
    """A form that is no request body; `field_errors` are by field."""

    def __init__(self, field_errors: Mapping[str, str]) -> None:
        super().__init__(str(field_errors))
        self.field_errors = field_errors


def fill(profile: Mapping[str, Any]) -> dict[str, str]:
    """Return what the form of a profile shows."""
    values = {item.name: item.format_value(look_up(profile, item.name)) for item in FIELDS}
    more = {name: _pick(profile[name], parts) for name, parts in _MORE.items()}
    more["destinations"] = [
        destination
        | {"rate_limit": _pick(destination["rate_limit"], _RATE_LIMIT)}
        | {"ramp": _pick(destination["ramp"], _RAMP)}
        for destination in (
            _pick(
                destination,
                ("match", "rate_limit", "max_connections", "max_recipients_per_message", "ramp"),
            )
            for destination in profile["destinations"]
        )
    ]
    if more["rate_limit"] is None:
        del more["rate_limit"]
    return {**values, ADVANCED: json.dumps(more, indent=2, ensure_ascii=False)}


def parse(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the body that a form stands for; raises FormError if `advanced` is no object."""
    body = _parse_advanced(form.get(ADVANCED, ""))
    for item in FIELDS:
        if item.name in form:
            put(body, item.name, item.parse_text(form[item.name]))
    for name in SECRETS:
        if form.get(name):
            put(body, name, form[name])
    rate_limit = body.get("rate_limit")
    if isinstance(rate_limit, dict) and not any(rate_limit.values()):
        body["rate_limit"] = None
    return body


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `after` that `before` does not have, as a merge patch (RFC 7396)."""
    changes: dict[str, Any] = {}
    for name, value in after.items():
        former = before.get(name)
        if isinstance(value, dict) and isinstance(former, dict):
            if parts := diff(former, value):
                changes[name] = parts
        elif value != former or (value is None and name not in before):
            changes[name] = value
    return changes


def keep(form: Mapping[str, str]) -> dict[str, str]:
    """Return what a form shows again after an error: what was typed, without secrets."""
    values = {name: text for name, text in form.items() if name not in SECRETS}
    try:
        more = _parse_advanced(values.get(ADVANCED, ""))
    except FormError:
        return values
    places = [(more, "client_key")]
    if isinstance(more.get("auth"), dict):
        places += [(more["auth"], name.partition(".")[2]) for name in SECRETS if "." in name]
    for place, name in places:
        place.pop(name, None)
    # As ASCII, since JSON may hold surrogates that no page can.
    return {**values, ADVANCED: json.dumps(more, indent=2) if more else ""}


def find_errors(error: FormError | ApiError) -> dict[str, str]:
    """Return the errors by field of the form; those of other settings are of `advanced`."""
    names = [*(item.name for item in FIELDS), *SECRETS]
    return assign_errors(error.field_errors, names, default=ADVANCED)


def _parse_advanced(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text) if text.strip() else {}
    except ValueError as error:
        raise FormError({ADVANCED: f"Not JSON: {error}."}) from None
    if not isinstance(value, dict):
        raise FormError({ADVANCED: 'Write a JSON object, such as {"is_default": true}.'})
    return value


def _pick(value: Any, parts: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON
    """Return these parts of an object, or the whole value if there are none."""
    return {part: value[part] for part in parts} if parts and value is not None else value
