"""What to do about a profile's fault, in words for the one who manages the profile."""

from collections.abc import Mapping
from typing import Final

from app.domain.outcome import Outcome

HINTS: Final[Mapping[str, str]] = {
    "ehlo_rejected": "It refuses the EHLO name {name} ({source}): set `ehlo_name` to a full domain"
    " name that this server accepts.",
    "ehlo_unknown": "It knows no EHLO, without which there is neither TLS nor AUTH: check `host`.",
    "client_rejected": "It refuses this machine's address: have the address allowed there.",
    "banner_rejected": "It wants no connection from here: have this machine's address allowed.",
    "tls_required": "Set `tls` to starttls or implicit.",
    "authentication_required": "Set `auth.username` and `auth.password`.",
    "relay_denied": "It relays for known users alone: set `auth.username` and `auth.password`, or"
    " have this machine's address allowed there.",
    "sending_limit": "The account may send no more for now, so its messages wait: set `rate_limit`"
    " below what the server allows.",
    "auth_rejected": "It refuses the user name or the password: set `auth` anew.",
    "app_password_required": "Gmail takes no account's own password: set `auth.password` to an app"
    " password of the account; if it is one, it is wrong or was revoked.",
    "basic_auth_disabled": "Microsoft 365 takes no password here: have authenticated SMTP turned on"
    " for the mailbox and its organisation, or set `host` to a relay that takes one.",
    "auth_mechanism_unavailable": "Set `auth.mechanism` to one that the server offers, or `auto`.",
    "plaintext_auth_refused": "Set `tls` to starttls or implicit.",
    "credentials_unreadable": "Put the key that sealed them back into HELOISE_SECRET_KEYS, or set"
    " `auth` anew.",
    "tls_certificate_invalid": "Set `tls_ca` to the certificate of the server's authority where"
    " that is a private one.",
    "tls_name_mismatch": "Set `host` to a name that stands in the server's certificate.",
    "tls_certificate_expired": "Have the server's certificate renewed, and check this machine's"
    " clock.",
    "port_mismatch_starttls": "The port speaks plain text first: set `tls` to starttls, or `port`"
    " to one with TLS from the first byte, usually 465.",
    "starttls_stripped": "Somebody on the way to the server may be taking TLS away, and nothing"
    " was sent: check the network, and that `host` and `port` are a mail server's.",
    "tls_required_not_offered": "Set `port` to one that offers STARTTLS, or `tls` to what the"
    " server speaks.",
    "tls_failed": "Check `port` and `tls`: 587 goes with starttls, 465 with implicit.",
    "dns_failed": "Check `host`.",
    "address_not_allowed": "Set `host` to a public server.",
    "connect_refused": "Check `host` and `port`.",
    "connect_timeout": "Check `host` and `port`, and that a firewall lets the connection out.",
}

_STAGES: Final[Mapping[str, str]] = {"tls": "TLS", "dns": "DNS", "tcp": "TCP", "banner": "greeting"}


def reason(fault: Outcome, *, ehlo_name: str | None, ehlo_source: str | None) -> str:
    """One paragraph: what the server said, word for word, and what to change.

    The name and its source are those of the connection; None where it did not come to EHLO.
    """
    where = _STAGES.get(fault.stage.value, fault.stage.value.upper())
    if fault.reply is not None:
        found = f"At {where} the server said: {fault.reply}"
    else:
        found = f"At {where}: {fault.detail or fault.classification}"
    hint = HINTS.get(fault.classification)
    if hint is None:
        return found
    told = hint.format(name=ehlo_name or "it was given", source=_source(ehlo_source))
    return f"{found.rstrip('.')}. {told}"


def _source(ehlo_source: str | None) -> str:
    return f"from: {ehlo_source}" if ehlo_source else "its source is unknown"
