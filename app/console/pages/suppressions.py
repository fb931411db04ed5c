"""Show suppressed addresses and patterns, and change, import and export them."""

from typing import Any, Final

from app.console.api_client import ApiError
from app.console.forms import ANY, Field, Form, list_choices, read_list
from app.console.page import Visit
from app.domain.types import Scope, SuppressionReason

REASONS: Final = list_choices(SuppressionReason)
FILTERS: Final = (
    Field("recipient", "Covers the address"),
    Field("address", "Exactly this address or pattern"),
    Field("tag", "Tag"),
    Field("reason", "Reason", options=[ANY, *REASONS]),
)
FIELDS: Final = (
    Field(
        "address",
        "Address or pattern",
        hint="ann@example.org, *@example.com for all of a domain, or *.example.com for its"
        " subdomains.",
        is_required=True,
    ),
    Field("tag", "Tag", hint="Only messages with this tag. Empty: all messages."),
    Field("reason", "Reason", options=REASONS, default=SuppressionReason.MANUAL),
    Field("detail", "Note"),
)
HEADER: Final = "address,tag,reason,detail\n"


async def list_suppressions(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List suppressions with the API's filters."""
    page, filters = await read_list(visit, "/suppressions", FILTERS)
    return visit.render("suppressions/list.html", status=filters.status, page=page, filters=filters)


async def show_new(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new suppression."""
    return _render_new(visit, Form.show(FIELDS))


async def create(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Suppress an address or a pattern."""
    form = Form.read(FIELDS, visit.form)
    made = await form.send(visit.api, "POST", "/suppressions")
    if form.problem:
        return _render_new(visit, form)
    return visit.redirect("/suppressions", f"Heloise sends nothing more to {made['address']}.")


def _render_new(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit,
        title="Add a suppression",
        submit="Suppress",
        hint="Heloise sends nothing more to what it covers, not even waiting messages.",
        back=visit.link("/suppressions"),
    )


async def delete(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a suppression."""
    await visit.api.call("DELETE", f"/suppressions/{visit.request.path_params['suppression']}")
    return visit.redirect("/suppressions", "The suppression is deleted.")


async def show_import(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form for a list to import."""
    return visit.render("suppressions/import.html", content=HEADER, result=None, problem=None)


async def import_list(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Import a pasted list, or a file that the browser read; show its invalid lines."""
    content, result, problem, status = visit.form.get("content", ""), None, None, 422
    try:
        result = await visit.api.call(
            "POST",
            "/suppressions/import",
            body=content.encode(),
            headers={"content-type": "text/csv"},
        )
    except ApiError as error:
        problem, status = error.detail, error.status
    else:
        if not result["invalid"]:
            notice = f"{result['created']} created, {result['existing']} existed already."
            return visit.redirect("/suppressions", notice)
    return visit.render(
        "suppressions/import.html", status=status, content=content, result=result, problem=problem
    )


async def export(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Download all suppressions."""
    return visit.api.forward("/suppressions/export")


PAGES: Final = (
    ("GET", "/t/{tenant}/suppressions", list_suppressions),
    ("GET", "/t/{tenant}/suppressions/new", show_new),
    ("POST", "/t/{tenant}/suppressions/new", create),
    ("GET", "/t/{tenant}/suppressions/import", show_import),
    ("POST", "/t/{tenant}/suppressions/import", import_list),
    ("GET", "/t/{tenant}/suppressions/export", export),
    ("POST", "/t/{tenant}/suppressions/{suppression}/delete", delete),
)
TABS: Final = (("/suppressions", "Suppressions", Scope.SUPPRESSIONS_MANAGE),)
