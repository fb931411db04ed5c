"""Show the mailboxes that Heloise reads reports from, and change them."""

from typing import Any, Final

from app.console.forms import Field, Form, list_choices, read_list
from app.console.page import Visit
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


async def list_mailboxes(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List mailboxes, when each was last read, and what failed."""
    page, _ = await read_list(visit, "/mailboxes")
    template = "inbound/mailboxes_list.html" if visit.is_live else "inbound/mailboxes.html"
    return visit.render(template, page=page)


async def show_new(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new mailbox."""
    return _render_new(visit, Form.show(FIELDS))


async def create(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a mailbox."""
    form = Form.read(FIELDS, visit.form)
    made = await form.send(visit.api, "POST", "/mailboxes")
    if form.problem:
        return _render_new(visit, form)
    return visit.redirect("/mailboxes", f"Heloise reads {made['name']}.")


def _render_new(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit,
        title="Create a mailbox",
        submit="Create",
        hint="Heloise reads bounces and complaints from an IMAP folder.",
        back=visit.link("/mailboxes"),
    )


async def show_edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a mailbox as a form."""
    return _render_edit(visit, Form.show(FIELDS, await visit.api.get(_find_path(visit))))


async def edit(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Change a mailbox."""
    form = Form.read(FIELDS, visit.form)
    form.require_current(await visit.api.get(_find_path(visit)))
    await form.send(visit.api, "PATCH", _find_path(visit))
    if form.problem:
        return _render_edit(visit, form)
    return visit.redirect("/mailboxes", "The mailbox is changed.")


def _render_edit(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit, title="Edit the mailbox", submit="Save", back=visit.link("/mailboxes")
    )


async def delete(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a mailbox; its mail stays on the server."""
    await visit.api.call("DELETE", _find_path(visit))
    return visit.redirect("/mailboxes", "The mailbox is deleted.")


def _find_path(visit: Visit) -> str:
    return f"/mailboxes/{visit.request.path_params['mailbox']}"


PAGES: Final = (
    ("GET", "/t/{tenant}/mailboxes", list_mailboxes),
    ("GET", "/t/{tenant}/mailboxes/new", show_new),
    ("POST", "/t/{tenant}/mailboxes/new", create),
    ("GET", "/t/{tenant}/mailboxes/{mailbox}", show_edit),
    ("POST", "/t/{tenant}/mailboxes/{mailbox}", edit),
    ("POST", "/t/{tenant}/mailboxes/{mailbox}/delete", delete),
)
TABS: Final = (("/mailboxes", "Mailboxes", Scope.SUPPRESSIONS_MANAGE),)
