"""Show suppressed addresses and patterns, and change, import and export them."""

from typing import Final

from starlette.responses import Response

from app.console.api_client import ApiError, Forward
from app.console.forms import ANY, Field, list_choices
from app.console.page import Visit
from app.console.resource import Resource
from app.domain.types import Scope, SuppressionReason

REASONS: Final = list_choices(SuppressionReason)
HEADER: Final = "address,tag,reason,detail\n"


SUPPRESSIONS: Final = Resource(
    path="/suppressions",
    noun="suppression",
    template="suppressions/list.html",
    filters=(
        Field("recipient", "Covers the address"),
        Field("address", "Exactly this address or pattern"),
        Field("tag", "Tag"),
        Field("reason", "Reason", options=[ANY, *REASONS]),
    ),
    fields=(
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
    ),
    notice="Heloise sends nothing more to {address}.",
    title="Add a suppression",
    submit="Suppress",
    hint="Heloise sends nothing more to what it covers, not even waiting messages.",
)


async def show_import(visit: Visit) -> Response:
    """Show the form for a list to import."""
    return visit.render("suppressions/import.html", content=HEADER, result=None, problem=None)


async def import_list(visit: Visit) -> Response:
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


async def export(visit: Visit) -> Forward:
    """Download all suppressions."""
    return visit.api.forward("/suppressions/export")


PAGES: Final = (
    *SUPPRESSIONS.list_routes(),
    ("GET", "/t/{tenant}/suppressions/import", show_import),
    ("POST", "/t/{tenant}/suppressions/import", import_list),
    ("GET", "/t/{tenant}/suppressions/export", export),
)
TABS: Final = (("/suppressions", "Suppressions", Scope.SUPPRESSIONS_MANAGE),)
