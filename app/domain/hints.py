"""What to do about a profile's fault, in words for the one who manages the profile."""

from collections.abc import Mapping
from typing import Final

from app.domain.outcome import Outcome

HINTS: Final[Mapping[str, str]] = {
    "ehlo_rejected": "It refuses the EHLO name {name} ({source}): set `ehlo_name` to a full domain"
    " name that this server accepts.",
    "ehlo_unknown": "It knows no EHLO, without which there is neither TLS nor AUTH: check `host`.",
    "ehlo_out_of_sequence": "It takes no EHLO here, though EHLO has to come again after STARTTLS"
    " (RFC 3207 section 4.2): have the server mended, or set `tls` to implicit and `port` to 465.",
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
    " for the mailbox and its organisation, and log in by `auth.mechanism` oauth2 where passwords"
    " are off for good; or set `host` to a relay that takes one.",
    "auth_mechanism_unavailable": "Set `auth.mechanism` to one that the server offers, or `auto`.",
    "plaintext_auth_refused": "Set `tls` to starttls or implicit.",
    "auth_server_unproven": "Whoever answers there does not know the password: check `host` and"
    " `port`, and set no other `auth.mechanism` before you know who it is.",
    "oauth_token_unavailable": "Check `auth.token_url`, and that this machine may reach it; it is"
    " tried again by itself.",
    "oauth_token_refused": "Set `auth.client_id` and its secret, key or refresh token anew, and"
    " check `auth.scope`: the token server's own words say what it dislikes.",
    "oauth_token_rejected": "It takes the token for none of `auth.username`'s: check `auth.scope`,"
    " that the mailbox is the one which the token speaks for, and that the client was granted the"
    " right to send by SMTP.",
    "credentials_unreadable": "Put the key that sealed them back into HELOISE_SECRET_KEYS, or set"
    " `auth` anew; run `heloise reseal` if they are not bound to where they are sent.",
    "tls_certificate_invalid": "Set `tls_ca` to the certificate of the server's authority where"
    " that is a private one, or of the intermediate one that the server does not show.",
    "tls_name_mismatch": "Set `host` to a name that stands in the server's certificate, or, where"
    " the server is to be reached by another, `tls_server_name`.",
    "tls_certificate_expired": "Have the server's certificate renewed, and check this machine's"
    " clock.",
    "tls_certificate_not_yet_valid": "Check this machine's clock; where it is right, the server's"
    " certificate was put in too early.",
    "tls_pin_mismatch": "Where the server's key was changed on purpose, set `tls_pins` to the new"
    " one's; else somebody stands between, and nothing was sent.",
    "tls_client_certificate_refused": "Set `client_certificate` and `client_key` to ones that this"
    " server knows.",
    "tls_version_too_old": "Have the server's TLS renewed, or set `tls_min_version` to one that it"
    " speaks.",
    "port_mismatch_implicit_tls": "The port speaks TLS from the first byte: set `tls` to implicit,"
    " or `port` to one that speaks plain text first, usually 587.",
    "port_mismatch_starttls": "The port speaks plain text first: set `tls` to starttls, or `port`"
    " to one with TLS from the first byte, usually 465.",
    "starttls_stripped": "Somebody on the way to the server may be taking TLS away, and nothing"
    " was sent: check the network, and that `host` and `port` are a mail server's.",
    "tls_required_not_offered": "Set `port` to one that offers STARTTLS, or `tls` to what the"
    " server speaks.",
    "tls_failed": "Check `port` and `tls`: 587 goes with starttls, 465 with implicit.",
    "dns_not_found": "Set `host` to a name that the DNS knows: check how it is spelt.",
    "dns_failed": "Its DNS is broken for now, or refuses this machine: check `host` and"
    " HELOISE_DNS_SERVERS.",
    "dns_timeout": "The DNS does not answer: check this machine's network, and"
    " HELOISE_DNS_SERVERS.",
    "address_not_allowed": "Set `host` to a public server; mail to servers inside is sent where the"
    " operator allows it (HELOISE_ALLOWED_NETWORKS, or HELOISE_ALLOW_PRIVATE_HOSTS=true for all).",
    "port_not_allowed": "Set `port` to one that the operator allows (HELOISE_ALLOWED_PORTS).",
    "connect_refused": "Check `host` and `port`.",
    "timeout": "It is silent where it should speak: check `host`, `port` and `tls`; some servers"
    " keep those waiting whom they do not know.",
    "connection_lost": "It hung up without a word: check `host`, `port` and `tls`, and that it"
    " takes connections from this machine's address; some hang up on an `ehlo_name` that they do"
    " not like.",
    "protocol_error": "What answers there is no mail server, or a broken one: check `host` and"
    " `port`.",
    "service_unavailable": "It takes nothing for now, and is tried again by itself.",
    "auth_deferred": "It could not check the login for now, and is tried again by itself.",
    "tls_rejected": "It offers STARTTLS and refuses it: have the server's TLS looked at, or set"
    " `tls` to what works there.",
    "sender_rejected": "It takes no mail from this sender: set `default_from`, or `from` of the"
    " message, to an address that the account may send as.",
    "connect_timeout": "Check `host` and `port`, and that a firewall lets the connection out.",
}

_STAGES: Final[Mapping[str, str]] = {"tls": "TLS", "dns": "DNS", "tcp": "TCP", "banner": "greeting"}


def reason(fault: Outcome, *, ehlo_name: str | None, ehlo_source: str | None) -> str:
    """One paragraph: what the server said, word for word, and what to change.

    The name and its source are those of the connection; None where it did not come to EHLO.
    """
    found = said(fault)
    told = hint(fault, ehlo_name=ehlo_name, ehlo_source=ehlo_source)
    return found if told is None else f"{found.rstrip('.')}. {told}"


def said(fault: Outcome) -> str:
    """Where it went wrong, and the server's words for it, or ours where it had none."""
    where = _STAGES.get(fault.stage.value, fault.stage.value.upper())
    if fault.reply is not None:
        told = f" ({fault.detail})" if fault.detail else ""
        return f"At {where} the server said: {fault.reply}{told}"
    return f"At {where}: {fault.detail or fault.classification}"


def hint(fault: Outcome, *, ehlo_name: str | None, ehlo_source: str | None) -> str | None:
    """What to change; None where nobody but the server's owner can change anything."""
    told = HINTS.get(fault.classification)
    if told is None:
        return None
    return told.format(name=ehlo_name or "it was given", source=_source(ehlo_source))


def _source(ehlo_source: str | None) -> str:
    return f"from: {ehlo_source}" if ehlo_source else "its source is unknown"
