"""Every type of problem: its status, its title, what to do about it, and what it may say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What `/problems/{slug}` stands for; `example` is a `detail` as one reads it."""

    status: int
    title: str
    remedy: str
    example: str


PROBLEMS: Final[Mapping[str, ProblemType]] = {
    "invalid-request": ProblemType(
        422,
        "Invalid request",
        "Mend each field that `errors` names and send the request again.",
        "body.to.0: 'ann' has no @; write name@example.com",
    ),
    "duplicate-header": ProblemType(
        400,
        "Header repeated",
        "Send the header that `detail` names once; look whether a proxy or a library adds another.",
        "The request has two headers Authorization; send one.",
    ),
    "invalid-json": ProblemType(
        422,
        "Invalid JSON",
        "Send one JSON object in UTF-8; `errors` says where reading it stopped.",
        "The body is not JSON: Expecting ',' delimiter at character 17.",
    ),
    "json-too-large": ProblemType(
        422,
        "Too much JSON",
        "Send less in one request, and nest it less.",
        "The body holds more than 100000 JSON values, which no request needs: send less in one.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "Idempotency key reused",
        "Use a new key for each request that is another; the same only to repeat one as it was.",
        "The Idempotency-Key 'order-42' was used for another request: use a new one for a new"
        " message.",
    ),
    "tenant-required": ProblemType(
        422,
        "Tenant required",
        "With an admin key, name the tenant to act for in the header Heloise-Tenant.",
        "With an admin key, set the header Heloise-Tenant to the id or slug of a tenant.",
    ),
    "template-failed": ProblemType(
        422,
        "Template failed",
        "Give the variables that `detail` names, or mend the template where it says.",
        "'receipt', html: line 1: 'name' is undefined; give it in variables",
    ),
    "unauthenticated": ProblemType(
        401,
        "Authentication required",
        "Send `Authorization: Bearer <key>` with a key that is neither revoked nor expired.",
        "This needs a key: send the header `Authorization: Bearer <key>`.",
    ),
    "scope-missing": ProblemType(
        403,
        "Scope missing",
        "Use a key that has the scope, or have one made.",
        "This key lacks the scope messages:send; it has messages:read.",
    ),
    "admin-only": ProblemType(
        403,
        "For admin keys only",
        "Use an admin key (HELOISE_ADMIN_KEY).",
        "This operation needs an admin key; this is a tenant's key.",
    ),
    "network-not-allowed": ProblemType(
        403,
        "Not from here",
        "Use the key from a network that it is bound to, or have one made that is not.",
        "This key is for use from 192.0.2.0/24, and the request came from 198.51.100.7. Behind a"
        " proxy, HELOISE_TRUSTED_PROXIES is to name it.",
    ),
    "key-is-bound": ProblemType(
        403,
        "Key bound to profiles",
        "Use a key that is not bound to profiles.",
        "This key is bound to profiles, and this is about all of them.",
    ),
    "scope-exceeds-caller": ProblemType(
        403,
        "Wider than this key",
        "Ask for no more than the key that asks has itself, or use an admin key.",
        "This key makes, rotates and ends no key that is wider than itself: it lacks the scope"
        " profiles:manage.",
    ),
    "sender-not-allowed": ProblemType(
        403,
        "Sender not allowed",
        "Send from an address that the allowed_from of the profile, and of the key, matches; or"
        " extend that list.",
        "The profile 'transactional' does not send as eve@example.net. It allows *@example.com:"
        " use such an address in `from`, or have this one added to its allowed_from.",
    ),
    "recipient-not-allowed": ProblemType(
        403,
        "Recipient not allowed",
        "Have the domain added to allowed_recipient_domains, or set redirect_all_to.",
        "ann@example.org is not sent to: only example.com are (allowed_recipient_domains of the"
        " tenant, or of the service). Have its domain added, or set redirect_all_to to get yourself"
        " what is for others.",
    ),
    "quota-exceeded": ProblemType(
        403,
        "Quota exceeded",
        "Take away what is not needed, or have the limit that `detail` names raised.",
        "The tenant may have 10 profiles (profiles), and has 10: delete one, or have the limit"
        " raised.",
    ),
    "not-found": ProblemType(
        404,
        "Not found",
        "Check the path against /docs.",
        "There is nothing at /mesages. The API is described at /docs.",
    ),
    "tenant-not-found": ProblemType(
        404,
        "Tenant not found",
        "Check the id or slug; GET /tenants lists them.",
        "There is no tenant 'acme' here.",
    ),
    "key-not-found": ProblemType(
        404,
        "Key not found",
        "Check the id; GET /keys lists them.",
        "There is no key 'key_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "profile-not-found": ProblemType(
        404,
        "Profile not found",
        "Check the id or name; GET /profiles lists them.",
        "There is no profile 'transactional' here.",
    ),
    "message-not-found": ProblemType(
        404,
        "Message not found",
        "Check the id; GET /messages lists them.",
        "There is no message 'msg_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "suppression-not-found": ProblemType(
        404,
        "Suppression not found",
        "Check the id; GET /suppressions lists them.",
        "There is no suppression 'sup_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "template-not-found": ProblemType(
        404,
        "Template not found",
        "Check the id or name; GET /templates lists them.",
        "There is no template 'receipt' here.",
    ),
    "template-version-not-found": ProblemType(
        404,
        "Version not found",
        "Check the number; GET /templates/{template}/versions lists them.",
        "There is no template-version 'receipt 7' here.",
    ),
    "event-not-found": ProblemType(
        404,
        "Event not found",
        "Check the id; events are kept for HELOISE_EVENT_RETENTION_DAYS.",
        "There is no event 'evt_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "webhook-not-found": ProblemType(
        404,
        "Webhook not found",
        "Check the id; GET /webhooks lists them.",
        "There is no webhook 'whk_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "mailbox-not-found": ProblemType(
        404,
        "Mailbox not found",
        "Check the id; GET /mailboxes lists them.",
        "There is no mailbox 'mbx_0198c5a2d3f07b6e8a4c1d2e3f405162' here.",
    ),
    "domain-not-found": ProblemType(
        404,
        "Domain not found",
        "Check the name; GET /domains lists them.",
        "There is no domain 'example.com' here.",
    ),
    "problem-not-found": ProblemType(
        404,
        "Problem type not found",
        "GET /problems lists all types.",
        "There is no problem 'out-of-stamps' here.",
    ),
    "method-not-allowed": ProblemType(
        405,
        "Method not allowed",
        "Use one of the methods that the header Allow names.",
        "PUT is no method of /messages; its methods are GET and POST.",
    ),
    "key-inactive": ProblemType(
        409,
        "Key ended",
        "Create a new key instead.",
        "The key is revoked or expired and cannot be rotated; create a new key.",
    ),
    "idempotency-key-in-flight": ProblemType(
        409,
        "Being worked on",
        "Wait for the answer to the first request, or send this one again a little later.",
        "A request with the Idempotency-Key 'order-42' is being worked on; send this one again a"
        " little later.",
    ),
    "request-timeout": ProblemType(
        408,
        "Too slow",
        "Send the request again, over a connection that is faster.",
        "The body came more slowly than 10000 bytes a second, stopped coming, or took more than"
        " 300 seconds. Nothing was written; send the request again.",
    ),
    "tenant-exists": ProblemType(
        409,
        "Slug taken",
        "Choose another slug.",
        "There is a tenant 'acme' already; choose another slug.",
    ),
    "tenant-not-empty": ProblemType(
        409,
        "Tenant not empty",
        "Delete the tenant's profiles first.",
        "The tenant 'acme' has profiles or unfinished messages; delete its profiles first.",
    ),
    "suppression-exists": ProblemType(
        409,
        "Suppressed already",
        "Nothing is to be done; to change it, delete it first.",
        "ann@example.org is suppressed already; delete that first to change it.",
    ),
    "template-exists": ProblemType(
        409,
        "Name taken",
        "Choose another name, or change the template that has it.",
        "There is a template 'receipt' already; choose another name.",
    ),
    "webhook-exists": ProblemType(
        409,
        "Name taken",
        "Choose another name, or change the webhook that has it.",
        "There is a webhook 'orders' already; choose another name.",
    ),
    "mailbox-exists": ProblemType(
        409,
        "Name taken",
        "Choose another name, or change the mailbox that has it.",
        "There is a mailbox 'bounces' already; choose another name.",
    ),
    "domain-exists": ProblemType(
        409,
        "Domain exists",
        "Read it, or have its keys replaced.",
        "There is example.com already; read it, or rotate it.",
    ),
    "rotation-pending": ProblemType(
        409,
        "Rotation pending",
        "Add the records of the new keys to the DNS, and check the domain.",
        "example.com has a key whose record was not found yet (h7k2m9q4e): add that to the DNS, and"
        " check the domain.",
    ),
    "profile-exists": ProblemType(
        409,
        "Name taken",
        "Choose another name, or change the profile that has it.",
        "There is a profile 'transactional' already; choose another name.",
    ),
    "profile-has-pending-messages": ProblemType(
        409,
        "Unfinished messages",
        "Wait until they are sent, or delete with ?cancel_pending=true.",
        "The profile has unfinished messages; delete it with ?cancel_pending=true to cancel them.",
    ),
    "message-in-transmission": ProblemType(
        409,
        "Being sent",
        "Read the message again when its status is no longer sending.",
        "The message is being sent just now; read it again when its status has changed.",
    ),
    "message-not-scheduled": ProblemType(
        409,
        "Not scheduled",
        "Cancel it instead, if it is still to be sent, and send another.",
        "Only a message whose time has not come can be changed; this one is not scheduled.",
    ),
    "nothing-to-cancel": ProblemType(
        409,
        "Nothing to cancel",
        "Read the message to see what became of each recipient.",
        "Nobody is left to whom the message is still to be sent; GET it to see what became of each"
        " recipient.",
    ),
    "nothing-to-retry": ProblemType(
        409,
        "Nothing to retry",
        "Retry a message of which a recipient bounced, expired or was cancelled.",
        "No recipient failed: each one has the message or may still get it.",
    ),
    "recipient-not-uncertain": ProblemType(
        409,
        "Not uncertain",
        "Name recipients whose status is uncertain, or leave `recipients` out for all of them.",
        "ann@example.org is no recipient of this message whose outcome is uncertain.",
    ),
    "nothing-to-verify": ProblemType(
        409,
        "Nothing to verify",
        "Verify a profile whose transport is smtp.",
        "A sandbox has no server that could be verified.",
    ),
    "content-wiped": ProblemType(
        410,
        "Content wiped",
        "Read what became of the message instead; its content is not to be had any more.",
        "The message's content was wiped at 2026-01-15T09:30:02Z. What became of it is still told"
        " by GET /messages/{id}.",
    ),
    "content-sensitive": ProblemType(
        410,
        "Content withheld",
        "Read what became of the message instead; send it without `sensitive` to read it back.",
        "The message is sensitive: its content is given to its server alone, and to nobody who asks"
        " here.",
    ),
    "message-too-large": ProblemType(
        413,
        "Message too large",
        "Make the message smaller, or link to what is large.",
        "The message has 31457280 bytes or more; the limit is 26214400 bytes, encoding included."
        " Make it smaller, or link to what is large.",
    ),
    "body-too-large": ProblemType(
        413,
        "Request too large",
        "Send a smaller body.",
        "The request's body has more bytes than the limit of 53477376.",
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
        "Wait as long as Retry-After says, or have requests_per_second raised.",
        "The tenant may make 100 requests a second (requests_per_second); wait as long as"
        " Retry-After says.",
    ),
    "sending-quota-exceeded": ProblemType(
        429,
        "Quota used up",
        "Wait until the day or the month is over, or have the limit raised.",
        "The tenant may send 10000 messages in this time (messages_per_day), and has; from"
        " 2026-01-16T00:00:00Z on it may send again.",
    ),
    "queue-full": ProblemType(
        429,
        "Queue full",
        "Mend the profile that does not send, or wait; or have queued_messages raised.",
        "The tenant may have 5000 messages that are not finished (queued_messages), and has; look"
        " whether a profile is failing or paused, or wait.",
    ),
    "too-many-auth-failures": ProblemType(
        429,
        "Too many wrong keys",
        "Wait as long as Retry-After says, and use a key that opens something.",
        "This key opens nothing, and more than 20 a minute of that kind came from here"
        " (HELOISE_AUTH_FAILURES_PER_MINUTE). Check the key, and wait as long as Retry-After says.",
    ),
    "too-many-verifications": ProblemType(
        429,
        "Too many verifies",
        "Wait as long as Retry-After says, or have HELOISE_VERIFY_PER_MINUTE raised.",
        "A tenant may have 10 profiles or domains verified in a minute"
        " (HELOISE_VERIFY_PER_MINUTE); wait as"
        " long as Retry-After says.",
    ),
    "internal-error": ProblemType(
        500,
        "Internal error",
        "Send the request again later; if it fails again, report the request_id.",
        "Something went wrong here, not in your request. Report the request_id if it lasts.",
    ),
    "database-unavailable": ProblemType(
        503,
        "Database unavailable",
        "Wait as long as Retry-After says and send the request again; nothing was written.",
        "The database cannot be used just now. Nothing was written; try again.",
    ),
    "commit-unknown": ProblemType(
        503,
        "Commit unknown",
        "Read what is there before you send the request again: it may have been done.",
        "The database was lost while it wrote. Whether it had written is not known: read what"
        " is there before you try again.",
    ),
    "overloaded": ProblemType(
        503,
        "Overloaded",
        "Wait as long as Retry-After says and send the request again; nothing was written.",
        "More messages wait to be stored than fit into memory, or the service is stopping."
        " Nothing was written; try again.",
    ),
    "signing-key-unreadable": ProblemType(
        503,
        "Signing key unreadable",
        "Have the key that sealed it added to HELOISE_SECRET_KEYS, or delete the domain.",
        "A DKIM key of this tenant was sealed under a key that is not in HELOISE_SECRET_KEYS: have"
        " that added. Nothing was written.",
    ),
    "not-ready": ProblemType(
        503,
        "Not ready",
        "Mend what `detail` names; until then requests should go to another replica.",
        "The database's schema is at 0001 and not at 0002: run `heloise migrate`.",
    ),
}
