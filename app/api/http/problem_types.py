"""Define every problem type: status, title, remedy and an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.errors import NotFound


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem as `/problems/{slug}` shows it; `example` is a sample `detail`."""

    status: int
    title: str
    remedy: str
    example: str


def _missing(noun: str, name: str, remedy: str, *, title: str = "") -> ProblemType:
    title = title or f"{noun.replace('-', ' ').capitalize()} not found"
    return ProblemType(404, title, remedy, NotFound(noun, name).detail)


def _taken(noun: str, name: str) -> ProblemType:
    remedy = f"Choose another name, or update the existing {noun}."
    example = f"A {noun} {name!r} exists already; choose another name."
    return ProblemType(409, "Name taken", remedy, example)


ID: Final = "0198c5a2d3f07b6e8a4c1d2e3f405162"
PROBLEMS: Final[Mapping[str, ProblemType]] = {
    "invalid-request": ProblemType(
        422,
        "Invalid request",
        "Correct each field in `errors` and send the request again.",
        "body.to.0: 'ann' has no @; write name@example.com",
    ),
    "duplicate-header": ProblemType(
        400,
        "Duplicate header",
        "Send the header in `detail` once. Check whether a proxy or library adds a second one.",
        "The request has the header Authorization twice; send it once.",
    ),
    "invalid-json": ProblemType(
        422,
        "Invalid JSON",
        "Send one JSON object in UTF-8. `detail` says where the parser stopped.",
        "The body is not JSON: Expecting ',' delimiter at character 17.",
    ),
    "json-too-large": ProblemType(
        422,
        "JSON too large",
        "Send less in one request, and nest it less.",
        "The body has more than 100000 JSON values; send less in one request.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "Idempotency key reused",
        "Use a new key for each new request. Reuse a key only to repeat a request unchanged.",
        "The Idempotency-Key 'order-42' was used for a different request: use a new key for a new"
        " message.",
    ),
    "tenant-required": ProblemType(
        422,
        "Tenant required",
        "With an admin key, set the header Heloise-Tenant.",
        "With an admin key, set the header Heloise-Tenant to the id or slug of a tenant.",
    ),
    "template-failed": ProblemType(
        422,
        "Template rendering failed",
        "Set the variables that `detail` names, or correct the template there.",
        "'receipt', html: line 1: 'name' is undefined; set it in variables",
    ),
    "unauthenticated": ProblemType(
        401,
        "Authentication required",
        "Send `Authorization: Bearer <key>` with a key that is neither revoked nor expired.",
        "This request needs a key: send the header `Authorization: Bearer <key>`.",
    ),
    "scope-missing": ProblemType(
        403,
        "Missing scope",
        "Use a key with this scope.",
        "This key lacks the scope messages:send; it has messages:read. Use a key with this scope.",
    ),
    "admin-only": ProblemType(
        403,
        "Admin key required",
        "Use an admin key (HELOISE_ADMIN_KEY).",
        "This operation needs an admin key; this is a tenant's key.",
    ),
    "network-not-allowed": ProblemType(
        403,
        "Network not allowed",
        "Use the key from one of its networks, or create a key without `networks`.",
        "This key works only from 192.0.2.0/24, and the request came from 198.51.100.7. Behind a"
        " proxy, add the proxy to HELOISE_TRUSTED_PROXIES.",
    ),
    "signature-invalid": ProblemType(
        403,
        "Invalid signature",
        "Compare the settings of the provider webhook with the provider's: secret, public key or"
        " topic.",
        "The signature does not match the secret of this provider webhook: set `secret` to"
        " Mailgun's HTTP webhook signing key. Heloise changed nothing.",
    ),
    "key-is-bound": ProblemType(
        403,
        "Key bound to profiles",
        "Use a key that is not bound to profiles.",
        "This key is bound to profiles; this operation concerns all profiles.",
    ),
    "scope-exceeds-caller": ProblemType(
        403,
        "Scope exceeds caller",
        "Request only rights that your key has, or use an admin key.",
        "A key cannot create, rotate or revoke a key that may do more than itself: it lacks the"
        " scope profiles:manage. Request less, or use another key.",
    ),
    "sender-not-allowed": ProblemType(
        403,
        "Sender not allowed",
        "Send from an address in `allowed_from` of the profile, the key and the tenant, or extend"
        " those lists.",
        "The profile 'transactional' does not allow the sender eve@example.net. It allows"
        " *@example.com: use such an address in `from`, or add this one to its allowed_from.",
    ),
    "recipient-not-allowed": ProblemType(
        403,
        "Recipient not allowed",
        "Ask the operator to add the domain to allowed_recipient_domains, or to set"
        " redirect_all_to.",
        "The recipient ann@example.org is not allowed: allowed_recipient_domains of the tenant or"
        " the service allows only example.com. Add its domain there, or set redirect_all_to to"
        " receive such messages yourself.",
    ),
    "quota-exceeded": ProblemType(
        403,
        "Quota exceeded",
        "Delete what you do not need, or ask the operator to raise the limit in `detail`.",
        "The tenant may have 10 profiles (profiles) and has 10: delete one, or raise the limit.",
    ),
    "not-found": ProblemType(
        404,
        "Not found",
        "Check the path against /docs.",
        "There is nothing at /mesages. See /docs for the API.",
    ),
    "tenant-not-found": _missing(
        "tenant", "acme", "Check the id or slug; GET /tenants lists all tenants."
    ),
    "key-not-found": _missing("key", f"key_{ID}", "Check the id; GET /keys lists the keys."),
    "profile-not-found": _missing(
        "profile", "transactional", "Check the id or name; GET /profiles lists the profiles."
    ),
    "message-not-found": _missing(
        "message", f"msg_{ID}", "Check the id; GET /messages lists the messages."
    ),
    "suppression-not-found": _missing(
        "suppression", f"sup_{ID}", "Check the id; GET /suppressions lists the suppressions."
    ),
    "submission-not-found": _missing(
        "submission",
        f"sub_{ID}",
        "Check the id; GET /submissions lists the sessions. Heloise keeps sessions for"
        " HELOISE_SUBMISSION_LOG_DAYS.",
        title="SMTP session not found",
    ),
    "template-not-found": _missing(
        "template", "receipt", "Check the id or name; GET /templates lists the templates."
    ),
    "template-version-not-found": _missing(
        "template-version",
        "receipt 7",
        "Check the number; GET /templates/{template}/versions lists the versions.",
    ),
    "event-not-found": _missing(
        "event", f"evt_{ID}", "Check the id. Heloise keeps events for HELOISE_EVENT_RETENTION_DAYS."
    ),
    "webhook-not-found": _missing(
        "webhook", f"whk_{ID}", "Check the id; GET /webhooks lists the webhooks."
    ),
    "mailbox-not-found": _missing(
        "mailbox", f"mbx_{ID}", "Check the id; GET /mailboxes lists the mailboxes."
    ),
    "provider-webhook-not-found": _missing(
        "provider-webhook",
        f"pwh_{ID}",
        "Check the id; GET /provider-webhooks lists the provider webhooks.",
    ),
    "provider-not-found": ProblemType(
        404,
        "Provider not found",
        "Post to the URL of a provider webhook, as its creation showed it.",
        "Heloise reads no webhooks of 'acme'; use one of ses, sendgrid, postmark, mailgun, brevo.",
    ),
    "domain-not-found": _missing(
        "domain", "example.com", "Check the name; GET /domains lists the domains."
    ),
    "console-session-not-found": _missing(
        "console-session",
        f"ses_{ID}",
        "Check the id; GET /console-sessions lists the sessions.",
        title="Session not found",
    ),
    "problem-not-found": _missing(
        "problem", "out-of-stamps", "GET /problems lists all types.", title="Problem type not found"
    ),
    "method-not-allowed": ProblemType(
        405,
        "Method not allowed",
        "Use a method from the header Allow.",
        "/messages does not allow PUT; use GET, POST.",
    ),
    "key-inactive": ProblemType(
        409,
        "Key inactive",
        "Create a new key instead.",
        "The key is revoked or expired and cannot be rotated; create a new key.",
    ),
    "idempotency-key-in-flight": ProblemType(
        409,
        "Request in progress",
        "Wait for the response to the first request, or send this one again later.",
        "An earlier request with this key is still in progress; send this one again later.",
    ),
    "request-timeout": ProblemType(
        408,
        "Request timeout",
        "Send the request again over a faster connection.",
        "The body was slower than 10000 bytes a second, stopped, or took more than 300 seconds."
        " Nothing was written; send the request again.",
    ),
    "tenant-exists": ProblemType(
        409,
        "Slug taken",
        "Choose another slug.",
        "A tenant 'acme' exists already; choose another slug.",
    ),
    "tenant-not-empty": ProblemType(
        409,
        "Tenant not empty",
        "Delete the tenant's profiles first.",
        "The tenant 'acme' has profiles or unfinished messages; delete its profiles first.",
    ),
    "suppression-exists": ProblemType(
        409,
        "Suppression exists",
        "Nothing to do. To change the suppression, delete it first.",
        "ann@example.org is suppressed already; to change the suppression, delete it first.",
    ),
    "template-exists": _taken("template", "receipt"),
    "webhook-exists": _taken("webhook", "orders"),
    "mailbox-exists": _taken("mailbox", "bounces"),
    "provider-webhook-exists": _taken("provider webhook", "ses"),
    "domain-exists": ProblemType(
        409,
        "Domain exists",
        "Get the domain, or rotate its keys.",
        "The domain example.com exists already; get it, or rotate its keys.",
    ),
    "rotation-pending": ProblemType(
        409,
        "Rotation pending",
        "Add the DNS records of the new keys, and check the domain.",
        "example.com has a pending key (h7k2m9q4e): add its record to the DNS, and check the"
        " domain.",
    ),
    "profile-exists": _taken("profile", "transactional"),
    "profile-has-pending-messages": ProblemType(
        409,
        "Unfinished messages",
        "Wait until they are finished, or delete with ?cancel_pending=true.",
        "The profile has unfinished messages; wait, or delete it with ?cancel_pending=true to"
        " cancel them.",
    ),
    "message-in-transmission": ProblemType(
        409,
        "Message in transmission",
        "Wait until the status is no longer `sending`, and repeat the request.",
        "Heloise is sending the message; repeat the request when its status has changed.",
    ),
    "message-not-scheduled": ProblemType(
        409,
        "Message not scheduled",
        "Cancel the message if it is not sent yet, and send a new one.",
        "This message is not scheduled. Cancel it if it still waits, and send a new one.",
    ),
    "nothing-to-cancel": ProblemType(
        409,
        "Nothing to cancel",
        "Get the message to see the status of each recipient.",
        "No recipient is waiting for the message; GET it to see the status of each recipient.",
    ),
    "nothing-to-retry": ProblemType(
        409,
        "Nothing to retry",
        "Retry a message with a bounced, expired or cancelled recipient.",
        "No recipient failed. You can retry only bounced, expired and cancelled recipients.",
    ),
    "recipient-not-uncertain": ProblemType(
        409,
        "Recipient not uncertain",
        "List only recipients whose status is `uncertain`, or leave out `recipients` to resolve"
        " all of"
        " them.",
        "ann@example.org is not an uncertain recipient of this message. Write addresses whose"
        " status is uncertain, or leave out `recipients`.",
    ),
    "nothing-to-verify": ProblemType(
        409,
        "Nothing to verify",
        "Verify a profile with the transport smtp.",
        "A sandbox has no server to verify.",
    ),
    "content-wiped": ProblemType(
        410,
        "Content deleted",
        "The content no longer exists. GET /messages/{id} still returns the rest.",
        "Heloise deleted the message's content at 2026-01-15T09:30:02Z. GET /messages/{id} still"
        " returns the rest.",
    ),
    "content-sensitive": ProblemType(
        410,
        "Content withheld",
        "GET /messages/{id} returns the rest. Send messages without `sensitive` to keep their"
        " content readable.",
        "The message is sensitive, so Heloise shows its content to nobody. GET /messages/{id}"
        " returns the rest.",
    ),
    "message-too-large": ProblemType(
        413,
        "Message too large",
        "Make the message smaller, or link to large files.",
        "The message has 31457280 bytes or more; the limit is 26214400 bytes, encoding included."
        " Make it smaller, or link to large files.",
    ),
    "body-too-large": ProblemType(
        413,
        "Request too large",
        "Send a smaller body.",
        "The request body exceeds the limit of 53477376 bytes.",
    ),
    "unsupported-media-type": ProblemType(
        415,
        "Unsupported media type",
        "Send JSON with the header `Content-Type: application/json`.",
        "The body is text/plain; send JSON with the header `Content-Type: application/json`.",
    ),
    "too-many-requests": ProblemType(
        429,
        "Too many requests",
        "Wait for Retry-After, or ask the operator to raise requests_per_second.",
        "The tenant may make 100 requests a second (requests_per_second); wait for Retry-After.",
    ),
    "sending-quota-exceeded": ProblemType(
        429,
        "Sending quota exceeded",
        "Wait for the next day or month, or ask the operator to raise the limit.",
        "The tenant has sent its 10000 messages of this period (messages_per_day) and may send"
        " again from 2026-01-16T00:00:00Z.",
    ),
    "queue-full": ProblemType(
        429,
        "Queue full",
        "Fix failing profiles, wait, or ask the operator to raise queued_messages.",
        "The tenant may have 5000 unfinished messages (queued_messages) and has 5000: check for"
        " failing or paused profiles, or wait.",
    ),
    "too-many-auth-failures": ProblemType(
        429,
        "Too many authentication failures",
        "Wait for Retry-After, and use a valid key.",
        "This key is not valid, and this address sent more than 20 invalid keys in a minute"
        " (HELOISE_AUTH_FAILURES_PER_MINUTE). Check the key, and wait for Retry-After.",
    ),
    "too-many-verifications": ProblemType(
        429,
        "Too many verifications",
        "Wait for Retry-After, or ask the operator to raise HELOISE_VERIFY_PER_MINUTE.",
        "A tenant may verify 10 profiles or domains a minute (HELOISE_VERIFY_PER_MINUTE); wait for"
        " Retry-After.",
    ),
    "internal-error": ProblemType(
        500,
        "Internal server error",
        "Send the request again later. If it fails again, report the request_id.",
        "The service failed; your request is not the cause. If this persists, report the"
        " request_id.",
    ),
    "database-unavailable": ProblemType(
        503,
        "Database unavailable",
        "Wait for Retry-After and send the request again. Nothing was written.",
        "The database is not available. Nothing was written; try again.",
    ),
    "commit-unknown": ProblemType(
        503,
        "Commit outcome unknown",
        "Check the current state before you send the request again: the change may be stored.",
        "The connection to the database broke during the commit, so the change may be stored or"
        " not: check before you try again.",
    ),
    "overloaded": ProblemType(
        503,
        "Service overloaded",
        "Wait for Retry-After and send the request again. Nothing was written.",
        "The service has too many messages in memory, or is stopping. Nothing was written; try"
        " again.",
    ),
    "provider-unreachable": ProblemType(
        503,
        "Provider unreachable",
        "Allow connections to SNS on port 443. SNS posts the message again.",
        "Heloise cannot reach SNS: no response within 6 seconds. SNS posts the message again.",
    ),
    "signing-key-unreadable": ProblemType(
        503,
        "Signing key unreadable",
        "Ask the operator to add the secret key that encrypted the signing key to"
        " HELOISE_SECRET_KEYS, or delete the"
        " domain.",
        "HELOISE_SECRET_KEYS lacks the key that encrypted a DKIM key of this tenant; add it."
        " Nothing was written.",
    ),
    "not-ready": ProblemType(
        503,
        "Service not ready",
        "Fix what `detail` describes. Until then, send requests to another replica.",
        "The database schema is at 0001, not at 0002: run `heloise migrate`.",
    ),
}
