"""Show signing domains with their DNS records, check them, and rotate their DKIM keys."""

from typing import Any, Final

from app.console.api_client import ApiError
from app.console.forms import Field, Form, read_list
from app.console.page import Visit
from app.domain.mime.dkim import DkimKeyStatus
from app.domain.types import Scope

FIELDS: Final = (
    Field(
        "domain",
        "Domain",
        hint="The domain of the From address, such as example.com. Its keys also sign for"
        " subdomains that have no keys of their own.",
        is_required=True,
    ),
)


async def list_domains(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """List domains and the state of their keys."""
    page, _ = await read_list(visit, "/domains")
    return visit.render("domains/list.html", page=page)


async def show_new(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Show the form of a new domain."""
    return _render_new(visit, Form.show(FIELDS))


async def create(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create a domain with its keys."""
    form = Form.read(FIELDS, visit.form)
    made = await form.send(visit.api, "POST", "/domains")
    if form.problem:
        return _render_new(visit, form)
    return visit.redirect(f"/domains/{made['id']}", "Add these records to the DNS, then check.")


def _render_new(visit: Visit, form: Form) -> Any:  # noqa: ANN401 - an ASGI response
    return form.render(
        visit,
        title="Create a signing domain",
        submit="Create keys",
        hint="Heloise creates two DKIM keys. It signs with a key once you have added its record to"
        " the DNS.",
        back=visit.link("/domains"),
    )


async def show(visit: Visit, error: ApiError | None = None) -> Any:  # noqa: ANN401 - an ASGI response
    """Show a domain: the records to add, and what the last check found."""
    domain = await visit.api.get(_find_path(visit))
    return visit.render(
        "domains/domain.html",
        status=error.status if error else 200,
        problem=error and error.detail,
        domain=domain,
    )


async def check(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Look up the records of a domain."""
    try:
        domain = await visit.api.call("POST", f"{_find_path(visit)}/check")
    except ApiError as error:
        return await show(visit, error)
    keys = [key for key in domain["keys"] if key["status"] != DkimKeyStatus.RETIRED]
    good = sum(key["problem"] is None for key in keys)
    return visit.redirect(
        f"/domains/{domain['id']}", f"The DNS has {good} of {len(keys)} records as wanted."
    )


async def rotate(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Create new keys, which replace the current ones once their records are found."""
    try:
        domain = await visit.api.call("POST", f"{_find_path(visit)}/rotate")
    except ApiError as error:
        return await show(visit, error)
    return visit.redirect(
        f"/domains/{domain['id']}",
        "Add the records of the new keys to the DNS, then check. The current keys sign until then.",
    )


async def delete(visit: Visit) -> Any:  # noqa: ANN401 - an ASGI response
    """Delete a domain and its keys."""
    await visit.api.call("DELETE", _find_path(visit))
    return visit.redirect("/domains", "The domain is deleted.")


def _find_path(visit: Visit) -> str:
    return f"/domains/{visit.request.path_params['domain']}"


PAGES: Final = (
    ("GET", "/t/{tenant}/domains", list_domains),
    ("GET", "/t/{tenant}/domains/new", show_new),
    ("POST", "/t/{tenant}/domains/new", create),
    ("GET", "/t/{tenant}/domains/{domain}", show),
    ("POST", "/t/{tenant}/domains/{domain}/check", check),
    ("POST", "/t/{tenant}/domains/{domain}/rotate", rotate),
    ("POST", "/t/{tenant}/domains/{domain}/delete", delete),
)
TABS: Final = (("/domains", "Domains", Scope.PROFILES_READ),)
