"""Define the OpenAPI examples of verify."""

from typing import Any, Final

EXAMPLE: Final[dict[str, Any]] = {
    "transactional": {
        "summary": "With a recipient, to test MAIL and RCPT too",
        "value": {"recipient": "postmaster@example.org"},
    },
    "no_recipient": {"summary": "Up to AUTH", "value": {}},
}
UNSAVED: Final[dict[str, Any]] = {
    "transactional": {
        "summary": "An unsaved profile",
        "value": {
            "host": "smtp.example.com",
            "port": 587,
            "tls": "starttls",
            "ehlo_name": "mail.example.com",
            "auth": {"username": "billing", "password": "<the password>"},
            "sender": "billing@example.com",
            "recipient": "postmaster@example.org",
        },
    }
}

_NOTHING: Final[dict[str, Any]] = {
    "code": None,
    "hint": None,
    "transcript": [],
    "addresses": [],
    "ehlo_name": None,
    "ehlo_source": None,
    "greeting": None,
    "extensions": [],
    "tls_version": None,
    "tls_cipher": None,
    "certificate": None,
    "mechanisms_offered": [],
    "mechanism": None,
}

WHY: Final = "the server accepts it; it is the PTR name of our address and resolves to our address"
SET_NAME: Final = f"Set `ehlo_name` to relay.example.com: {WHY}."

NONE_ACCEPTED: Final = (
    "smtp.example.org accepts none of the names that Heloise tried. example.com, mail.example.com:"
    " it finds no address of the name in the DNS: add an A or AAAA record. [192.0.2.1]: it wants a"
    " fully qualified domain name. Ask the operator of smtp.example.org which EHLO name the server"
    " accepts from 192.0.2.1, and set `ehlo_name` to it. Or ask for permission to use example.com."
)

# A server that refuses the name, cut short: the stages between are left out.
VERIFIED: Final[dict[str, Any]] = {
    "ok": False,
    "code": "ehlo_rejected",
    "hint": SET_NAME,
    "duration_ms": 712.4,
    "ehlo": {"name": "mail.example.com", "source": "profile", "warnings": []},
    "stages": [
        _NOTHING
        | {
            "stage": "tcp",
            "status": "ok",
            "duration_ms": 12.3,
            "detail": "connected to each address",
            "addresses": [{"address": "192.0.2.25", "duration_ms": 12.1, "error": None}],
        },
        _NOTHING
        | {
            "stage": "ehlo",
            "status": "failed",
            "duration_ms": 13.0,
            "detail": "At EHLO, the server replied: 504 5.5.2 <mail.example.com>: Helo command"
            " rejected",
            "code": "ehlo_rejected",
            "hint": SET_NAME,
            "transcript": [
                {"ms": 25.2, "by": "client", "text": "EHLO mail.example.com"},
                {
                    "ms": 38.2,
                    "by": "server",
                    "text": "504 5.5.2 <mail.example.com>: Helo command rejected",
                },
            ],
            "ehlo_name": "mail.example.com",
            "ehlo_source": "profile",
        },
        _NOTHING
        | {
            "stage": "auth",
            "status": "skipped",
            "duration_ms": 0.0,
            "detail": "not reached: failed at ehlo",
        },
    ],
    "advice": [
        {
            "check": "name_resolves",
            "status": "failed",
            "detail": "mail.example.com has no A or AAAA record; add one",
            "reason": "RFC 5321 section 2.3.5",
        }
    ],
    "ehlo_diagnosis": {
        "names": [
            {
                "name": "example.com",
                "source": "sender_domain",
                "accepted": False,
                "at": "ehlo",
                "reply": "504 5.5.2 <example.com>: Helo command rejected",
            },
            {
                "name": "mail.example.com",
                "source": "profile",
                "accepted": False,
                "at": "ehlo",
                "reply": "504 5.5.2 <mail.example.com>: Helo command rejected",
            },
            {
                "name": "relay.example.com",
                "source": "pointer",
                "accepted": True,
                "at": "ehlo",
                "reply": None,
            },
        ],
        "recommendation": {
            "name": "relay.example.com",
            "reason": WHY,
        },
        "detail": "",
    },
}
