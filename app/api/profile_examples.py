"""Profiles to copy from: what `/docs` offers, and what an answer looks like."""

from typing import Any, Final

CREATE: Final[dict[str, Any]] = {
    "transactional": {
        "summary": "A server with STARTTLS, user and password",
        "value": {
            "name": "transactional",
            "host": "smtp.example.com",
            "port": 587,
            "tls": "starttls",
            "ehlo_name": "mail.example.com",
            "auth": {"username": "billing", "password": "<the password>"},
            "default_from": "Billing <billing@example.com>",
            "allowed_from": ["*@example.com"],
            "rate_limit": {"messages": 100, "per_seconds": 60},
        },
    },
    "gmail_relay": {
        "summary": "Google Workspace: the SMTP relay, which knows you by your address",
        "description": "Google's relay refuses `EHLO localhost`: `ehlo_name` must be yours.",
        "value": {
            "name": "gmail-relay",
            "host": "smtp-relay.gmail.com",
            "port": 587,
            "tls": "starttls",
            "ehlo_name": "mail.example.com",
            "default_from": "Example <hello@example.com>",
        },
    },
    "microsoft_365": {
        "summary": "Microsoft 365: a mailbox with SMTP AUTH",
        "value": {
            "name": "microsoft-365",
            "host": "smtp.office365.com",
            "port": 587,
            "tls": "starttls",
            "ehlo_name": "mail.example.com",
            "auth": {
                "mechanism": "login",
                "username": "hello@example.com",
                "password": "<the password>",
            },
            "default_from": "hello@example.com",
            "allowed_from": ["hello@example.com"],
        },
    },
    "sandbox": {
        "summary": "A sandbox, which sends nothing",
        "value": {"name": "sandbox", "transport": "sandbox", "default_from": "test@example.com"},
    },
}

UPDATE: Final[dict[str, Any]] = {
    "ehlo_name": {
        "summary": "Another EHLO name; what waits goes out under it",
        "value": {"ehlo_name": "mx.example.com"},
    },
    "password": {
        "summary": "A new password",
        "value": {"auth": {"password": "<the new password>"}},
    },
    "no_rate_limit": {"summary": "No rate limit", "value": {"rate_limit": None}},
}

PROFILE: Final[dict[str, Any]] = {
    "id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "name": "transactional",
    "transport": "smtp",
    "host": "smtp.example.com",
    "port": 587,
    "tls": "starttls",
    "tls_ca": None,
    "client_certificate": None,
    "has_client_key": False,
    "ehlo_name": "mail.example.com",
    "effective_ehlo": {"name": "mail.example.com", "source": "profile", "warnings": []},
    "source_address": None,
    "auth": {
        "mechanism": "auto",
        "username": "billing",
        "has_password": True,
        "allow_plaintext_auth": False,
    },
    "default_from": "Billing <billing@example.com>",
    "allowed_from": ["*@example.com"],
    "max_connections": 10,
    "max_messages_per_connection": 1000,
    "concurrency": 10,
    "rate_limit": {"messages": 100, "recipients": None, "per_seconds": 60, "burst": None},
    "timeouts": {"connect": 30.0, "command": 300.0, "data": 600.0},
    "retry": {
        "first_seconds": 60.0,
        "factor": 2.0,
        "cap_seconds": 14400.0,
        "max_age_seconds": None,
    },
    "fallback_profile": None,
    "fallback_after_seconds": 600,
    "is_default": True,
    "state": "active",
    "paused_at": None,
    "failing_since": None,
    "failing_code": None,
    "reason": None,
    "next_probe_at": None,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
