"""Define the OpenAPI examples of messages."""

from typing import Any, Final

CREATE: Final[dict[str, Any]] = {
    "least": {
        "summary": "Minimal: the default profile and its default sender",
        "value": {"to": ["ann@example.org"], "subject": "Hello", "text": "It works."},
    },
    "template": {
        "summary": "From a published template",
        "value": {
            "to": ["ann@example.org"],
            "template": "receipt",
            "variables": {"name": "Ann", "number": 42},
            "locale": "de-AT",
        },
    },
    "full": {
        "summary": "All fields",
        "value": {
            "profile": "transactional",
            "from": "Billing <billing@example.com>",
            "to": ["ann@example.org", {"email": "bob@example.org", "name": "Bob"}],
            "cc": ["Carol <carol@example.org>"],
            "bcc": ["archive@example.com"],
            "reply_to": ["support@example.com"],
            "subject": "Your receipt",
            "text": "Thanks.",
            "html": '<p>Thanks. <img src="cid:logo@example.com"></p>',
            "attachments": [
                {"filename": "receipt.pdf", "content": "JVBERi0xLjcK"},
                {
                    "filename": "logo.png",
                    "content_type": "image/png",
                    "content": "iVBORw0KGgo=",
                    "content_id": "logo@example.com",
                },
            ],
            "headers": {"X-Campaign": "spring"},
            "tags": ["receipt"],
            "metadata": {"order": "42"},
            "send_at": None,
            "expires_at": None,
            "priority": "normal",
            "guarantee": "at_least_once",
            "sensitive": False,
        },
    },
}

RESOLVE: Final[dict[str, Any]] = {
    "sent": {
        "summary": "The server's log shows that all recipients got it",
        "value": {"as": "sent"},
    },
    "retry": {
        "summary": "Send it once more to one recipient",
        "value": {"recipients": ["ann@example.org"], "as": "retry"},
    },
}

MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "status": "sent",
    "profile": "transactional",
    "profile_id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "from": "Billing <billing@example.com>",
    "subject": "Your receipt",
    "recipients": [
        {
            "address": "ann@example.org",
            "name": "",
            "kind": "to",
            "status": "sent",
            "attempts": 1,
            "next_attempt_at": None,
            "last_reply": {
                "code": 250,
                "enhanced_code": "2.0.0",
                "text": "Ok: queued as 4XyZ",
                "classification": "delivered",
            },
            "sent_to": None,
            "report": None,
            "waiting": None,
        }
    ],
    "message_id_header": "<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>",
    "size_bytes": 1234,
    "tags": ["receipt"],
    "metadata": {"order": "42"},
    "priority": "normal",
    "guarantee": "at_least_once",
    "sensitive": False,
    "content_wiped_at": None,
    "created_at": "2026-01-15T09:30:00Z",
    "send_at": None,
    "expires_at": "2026-01-18T09:30:00Z",
    "updated_at": "2026-01-15T09:30:01Z",
    "finished_at": "2026-01-15T09:30:01Z",
    "retry_of": None,
    "source": "api",
    "key_id": "key_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "request_id": "req_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "client_address": "192.0.2.10",
    "waiting": None,
}

QUEUED: Final[dict[str, Any]] = MESSAGE | {
    "status": "queued",
    "recipients": [
        MESSAGE["recipients"][0] | {"status": "queued", "attempts": 0, "last_reply": None}
    ],
    "updated_at": MESSAGE["created_at"],
    "finished_at": None,
}

RAW: Final = (
    "From: Billing <billing@example.com>\r\nTo: ann@example.org\r\nSubject: Your receipt\r\n"
    "Date: Thu, 15 Jan 2026 09:30:00 +0000\r\n"
    "Message-ID: <0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: text/plain; charset="utf-8"\r\n\r\nThanks.\r\n'
)

ATTEMPT: Final[dict[str, Any]] = {
    "id": "att_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "profile_id": "prf_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "started_at": "2026-01-15T09:30:00Z",
    "duration_ms": 182.4,
    "host": "smtp.example.com",
    "port": 587,
    "remote_address": "192.0.2.25",
    "ehlo_name": "mail.example.com",
    "ehlo_source": "profile",
    "tls_version": "TLSv1.3",
    "tls_cipher": "TLS_AES_256_GCM_SHA384",
    "auth_mechanism": "plain",
    "stage": "dot",
    "scope": None,
    "verdict": "delivered",
    "classification": "delivered",
    "reply_code": 250,
    "reply_enhanced_code": "2.0.0",
    "reply_text": "Ok: queued as 4XyZ",
    "detail": None,
    "outcome_unknown": False,
    "provider_message_id": None,
    "recipients": [
        {
            "address": "ann@example.org",
            "stage": "dot",
            "verdict": "delivered",
            "classification": "delivered",
            "reply_code": 250,
            "reply_enhanced_code": "2.0.0",
            "reply_text": "Ok: queued as 4XyZ",
        }
    ],
    "transcript": [
        {"ms": 31.2, "stage": "mail", "by": "client", "text": "MAIL FROM:<billing@example.com>"},
        {"ms": 45.9, "stage": "mail", "by": "server", "text": "250 2.1.0 Ok"},
    ],
}

RETRIED: Final[dict[str, Any]] = QUEUED | {
    "id": "msg_0198c5a2d3f07b6e8a4c1d2e3f405163",
    "retry_of": MESSAGE["id"],
}
RESCHEDULE: Final[dict[str, Any]] = {
    "now": {"summary": "Send it now", "value": {"send_at": None}},
}
RETRY: Final[dict[str, Any]] = {
    "all": {"summary": "All failed recipients", "value": {}},
    "some": {"summary": "One recipient", "value": {"recipients": ["ann@example.org"]}},
}

BATCH: Final[dict[str, Any]] = {
    "two": {
        "summary": "Two messages through the default profile",
        "value": {
            "messages": [
                {"to": ["ann@example.org"], "subject": "Hello Ann", "text": "It works."},
                {"to": ["bob@example.org"], "subject": "Hello Bob", "text": "It works."},
            ]
        },
    },
}
BATCHED: Final[dict[str, Any]] = {
    "results": [
        {"status": 202, "message": QUEUED, "problem": None},
        {
            "status": 422,
            "message": None,
            "problem": {
                "type": "/problems/invalid-request",
                "title": "Invalid request",
                "status": 422,
                "detail": "body.to: name at least one recipient in to, cc or bcc",
                "instance": "/messages/batch",
                "request_id": "req_0198c5a2d3f07b6e8a4c1d2e3f405162",
                "errors": [
                    {
                        "loc": ["body", "to"],
                        "msg": "add at least one recipient in to, cc or bcc",
                        "type": "missing",
                    }
                ],
            },
        },
    ]
}
