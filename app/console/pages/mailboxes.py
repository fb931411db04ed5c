"""Show the mailboxes that Heloise reads reports from, and change them."""

from typing import Final

from app.console.forms import Field, list_choices
from app.console.resource import EditableResource
from app.domain.inbound.mailbox import MailboxTls
from app.domain.types import Scope

FIELDS: Final = (
    Field("name", "Name", is_required=True),
    Field("host", "IMAP server", hint="A host name or an IP address.", is_required=True),
    Field("port", "Port", "number", is_required=True, default=993),
    Field("tls", "TLS", options=list_choices(MailboxTls), default=MailboxTls.IMPLICIT),
    Field("username", "User name", is_required=True),
    Field(
        "password",
        "Password",
        "password",
        hint="Heloise stores it encrypted. Leave it empty to keep it, if you keep the server.",
    ),
    Field("folder", "Folder", is_required=True, default="INBOX"),
    Field("poll_seconds", "Seconds between two readings", "number", is_required=True, default=60),
    Field(
        "delete_reports",
        "Delete reports after reading them",
        "checkbox",
        hint="Heloise never deletes other mail.",
    ),
    Field("enabled", "Read the mailbox", "checkbox", default=True),
    Field(
        "tls_ca",
        "CA certificates (PEM)",
        "textarea",
        hint="Trusted instead of the public ones. Empty: the public ones.",
    ),
)
MAILBOXES: Final = EditableResource(
    path="/mailboxes",
    noun="mailbox",
    template="mailboxes.html",
    fields=FIELDS,
    notice="Heloise reads {name}.",
    choose_fields=lambda _: FIELDS,
    hint="Heloise reads bounces and complaints from an IMAP folder.",
)
PAGES: Final = MAILBOXES.list_routes()
TABS: Final = (("/mailboxes", "Mailboxes", Scope.SUPPRESSIONS_MANAGE),)
