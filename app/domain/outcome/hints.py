"""Map a profile's faults to hints for its owner."""

from collections.abc import Mapping
from typing import Final

from app.domain.outcome.outcome import Outcome

HINTS: Final[Mapping[str, str]] = {
    "ehlo_rejected": "The server refuses the EHLO name {name} ({source}): set `ehlo_name` to a"
    " fully qualified domain name that this server accepts.",
    "ehlo_unknown": "The server does not support EHLO, which TLS and AUTH need: check `host`.",
    "ehlo_out_of_sequence": "The server refuses EHLO after STARTTLS, where RFC 3207 section 4.2"
    " requires it: report this to the server's operator, or set `tls` to implicit and `port` to"
    " 465.",
    "client_rejected": "The server refuses this machine's address: ask its operator to allow the"
    " address.",
    "banner_rejected": "The server refuses connections from this machine: ask its operator to"
    " allow the address.",
    "tls_required": "Set `tls` to starttls or implicit.",
    "authentication_required": "Set `auth.username` and `auth.password`.",
    "relay_denied": "The server relays only for authenticated users: set `auth.username` and"
    " `auth.password`, or ask its operator to allow this machine's address.",
    "sending_limit": "The account exceeded the server's sending limit, so messages wait: set"
    " `rate_limit` below that limit.",
    "auth_rejected": "The server refuses the user name or the password: set `auth` again.",
    "app_password_required": "Gmail does not accept the account's own password: set"
    " `auth.password` to an app password. If it is one, it is wrong or revoked.",
    "basic_auth_disabled": "Microsoft 365 does not accept a password here: enable authenticated"
    " SMTP for the mailbox and its organization. Where passwords are disabled, set"
    " `auth.mechanism` to oauth2, or set `host` to a relay that accepts a password.",
    "auth_mechanism_unavailable": "Set `auth.mechanism` to one that the server offers, or `auto`.",
    "plaintext_auth_refused": "Set `tls` to starttls or implicit.",
    "auth_server_unproven": "The server did not prove that it knows the password: check `host` and"
    " `port`, and do not change `auth.mechanism` before you know which server this is.",
    "oauth_token_unavailable": "Check `auth.token_url`, and that this machine can reach it."
    " Heloise retries.",
    "oauth_token_refused": "Set `auth.client_id` and its secret, key or refresh token again, and"
    " check `auth.scope`. The token server's reply says what is wrong.",
    "oauth_token_rejected": "The server does not accept the token for `auth.username`: check"
    " `auth.scope`, that the token belongs to this mailbox, and that the client has the permission"
    " to send by SMTP.",
    "credentials_unreadable": "Add the key that encrypted them to HELOISE_SECRET_KEYS, or set"
    " `auth` again. If they are not bound to their destination, run `heloise reseal`.",
    "tls_certificate_invalid": "Set `tls_ca` to the certificate of the server's private authority,"
    " or of the intermediate authority that the server does not send.",
    "tls_name_mismatch": "Set `host` to a name in the server's certificate, or keep `host` and set"
    " `tls_server_name`.",
    "tls_certificate_expired": "Renew the server's certificate, and check this machine's clock.",
    "tls_certificate_not_yet_valid": "Check this machine's clock. If it is right, the server's"
    " certificate is not valid yet: replace it.",
    "tls_pin_mismatch": "If the server's key was replaced on purpose, set `tls_pins` to the new"
    " key. Otherwise someone may be intercepting the connection. Nothing was sent.",
    "tls_client_certificate_refused": "Set `client_certificate` and `client_key` to a pair that"
    " this server trusts.",
    "tls_version_too_old": "Upgrade the server's TLS, or set `tls_min_version` to a version that"
    " it supports.",
    "port_mismatch_implicit_tls": "The port speaks TLS from the first byte: set `tls` to implicit,"
    " or `port` to one that speaks plain text first, usually 587.",
    "port_mismatch_starttls": "The port speaks plain text first: set `tls` to starttls, or `port`"
    " to one with TLS from the first byte, usually 465.",
    "starttls_stripped": "Something between here and the server may be removing TLS. Nothing was"
    " sent: check the network, and that `host` and `port` belong to a mail server.",
    "tls_required_not_offered": "Set `port` to one that offers STARTTLS, or `tls` to a mode that"
    " the server supports.",
    "tls_failed": "Check `port` and `tls`: 587 goes with starttls, 465 with implicit.",
    "dns_not_found": "Set `host` to a name that exists in the DNS: check the spelling.",
    "dns_failed": "The host's DNS is temporarily broken or refuses this machine: check `host` and"
    " HELOISE_DNS_SERVERS.",
    "dns_timeout": "The DNS does not answer: check this machine's network and HELOISE_DNS_SERVERS.",
    "address_not_allowed": "Set `host` to a public server. For an internal server, the operator"
    " sets HELOISE_ALLOWED_NETWORKS, or HELOISE_ALLOW_PRIVATE_HOSTS=true for all.",
    "port_not_allowed": "Set `port` to one that the operator allows (HELOISE_ALLOWED_PORTS).",
    "connect_refused": "Check `host` and `port`.",
    "timeout": "The server does not reply: check `host`, `port` and `tls`. Some servers delay"
    " unknown clients.",
    "connection_lost": "The server closed the connection without a reply: check `host`, `port` and"
    " `tls`, and that it allows this machine's address. Some servers do so if they dislike the"
    " `ehlo_name`.",
    "protocol_error": "This is not a working mail server: check `host` and `port`.",
    "service_unavailable": "The server temporarily accepts no mail. Heloise retries.",
    "auth_deferred": "The server temporarily cannot check the login. Heloise retries.",
    "tls_rejected": "The server offers STARTTLS and then refuses it: ask its operator to repair"
    " TLS, or set `tls` to a mode that works.",
    "sender_rejected": "The server refuses this sender: set `default_from`, or `from` of the"
    " message, to an address that the account may use.",
    "connect_timeout": "Check `host` and `port`, and that firewalls allow the connection.",
}

_STAGES: Final[Mapping[str, str]] = {"tls": "TLS", "dns": "DNS", "tcp": "TCP", "banner": "greeting"}


def explain(fault: Outcome, *, ehlo_name: str | None, ehlo_source: str | None) -> str:
    """Write a paragraph: the server's exact words, and what to change.

    Name and source are the connection's; None if it did not reach EHLO.
    """
    reply_text = describe(fault)
    advice = suggest(fault, ehlo_name=ehlo_name, ehlo_source=ehlo_source)
    return reply_text if advice is None else f"{reply_text.rstrip('.')}. {advice}"


def describe(fault: Outcome) -> str:
    """Name the stage, and quote the server, or describe the fault."""
    stage = _STAGES.get(fault.stage.value, fault.stage.value.upper())
    if fault.reply is not None:
        detail = f" ({fault.detail})" if fault.detail else ""
        return f"At {stage}, the server replied: {fault.reply}{detail}"
    return f"At {stage}: {fault.detail or fault.classification}"


def suggest(fault: Outcome, *, ehlo_name: str | None, ehlo_source: str | None) -> str | None:
    """Suggest what to change; None if only the server's owner can change it."""
    template = HINTS.get(fault.classification)
    if template is None:
        return None
    source = f"from: {ehlo_source}" if ehlo_source else "its source is unknown"
    return template.format(name=ehlo_name or "that Heloise sent", source=source)
