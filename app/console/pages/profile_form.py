"""Convert profiles to a form, and a form to a request body.

Common settings have a field each, named by their path in the body; all others are JSON in the
field `advanced`. No field shows a secret; an empty one leaves the secret as it is.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.console.forms import parse_json, parse_number
from app.domain.types import TlsMode, Transport

CHOICES: Final = {
    "transport": [(transport.value, transport.value) for transport in Transport],
    "tls": [(mode.value, mode.value) for mode in TlsMode],
}
ADVANCED: Final = "advanced"
NEW: Final[Mapping[str, str]] = {"transport": "smtp", "port": "587", "tls": "starttls"}
SECRETS: Final = (
    "auth.password",
    "auth.client_secret",
    "auth.private_key",
    "auth.refresh_token",
    "client_key",
)
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


def _parse_text(text: str) -> str | None:
    return text.strip() or None


def _parse_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


FIELDS: Final[Mapping[str, Callable[[str], Any]]] = {
    "name": _parse_text,
    "transport": _parse_text,
    "host": _parse_text,
    "port": parse_number,
    "tls": _parse_text,
    "ehlo_name": _parse_text,
    "auth.username": _parse_text,
    "default_from": _parse_text,
    "allowed_from": _parse_lines,
    "rate_limit.messages": parse_number,
    "rate_limit.per_seconds": parse_number,
    "max_connections": parse_number,
}


def fill(profile: Mapping[str, Any]) -> dict[str, str]:
    """Return what the form of a profile shows."""
    values = {name: _format(_look_up(profile, name)) for name in FIELDS}
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
    for name, parse_value in FIELDS.items():
        if name in form:
            _put(body, name, parse_value(form[name]))
    for name in SECRETS:
        if form.get(name):
            _put(body, name, form[name])
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


def assign_errors(field_errors: Mapping[str, str]) -> dict[str, str]:
    """Return the errors by field of the form; those of other settings are of `advanced`."""
    errors: dict[str, list[str]] = {}
    for path, text in field_errors.items():
        field = next((name for name in (*FIELDS, *SECRETS) if _is_within(path, name)), ADVANCED)
        whole = text if field != ADVANCED or path in {ADVANCED, ""} else f"{path}: {text}"
        errors.setdefault(field, []).append(whole)
    return {field: " ".join(texts) for field, texts in errors.items()}


def _is_within(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


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


def _look_up(profile: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    value: Any = profile
    for part in name.split("."):
        value = None if value is None else value[part]
    return value


def _put(body: dict[str, Any], name: str, value: object) -> None:
    place, _, part = name.rpartition(".")
    if not place:
        body[part] = value
        return
    if not isinstance(body.get(place), dict):
        body[place] = {}
    body[place][part] = value


def _format(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return "\n".join(value)
    return "" if value is None else str(value)
