"""Show signing domains with their DNS records, check them, and rotate their DKIM keys."""

from typing import Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.forms import Field
from app.console.page import Visit
from app.console.resource import Resource
from app.domain.mime.dkim import DkimKeyStatus
from app.domain.types import Scope

DOMAINS: Final = Resource(
    path="/domains",
    noun="domain",
    template="domains/list.html",
    fields=(
        Field(
            "domain",
            "Domain",
            hint="The domain of the From address, such as example.com. Its keys also sign for"
            " subdomains that have no keys of their own.",
            is_required=True,
        ),
    ),
    has_page=True,
    notice="Add these records to the DNS, then check.",
    title="Create a signing domain",
    submit="Create keys",
    hint="Heloise creates two DKIM keys. It signs with a key once you have added its record to the"
    " DNS.",
)


async def show(visit: Visit, error: ApiError | None = None) -> Response:
    """Show a domain: the records to add, and what the last check found."""
    domain = await visit.api.get(DOMAINS.find_path(visit))
    return visit.render("domains/domain.html", error=error, domain=domain)


async def check(visit: Visit) -> Response:
    """Look up the records of a domain."""
    try:
        domain = await visit.api.call("POST", f"{DOMAINS.find_path(visit)}/check")
    except ApiError as error:
        return await show(visit, error)
    keys = [key for key in domain["keys"] if key["status"] != DkimKeyStatus.RETIRED]
    good = sum(key["problem"] is None for key in keys)
    return visit.redirect(
        f"/domains/{domain['id']}", f"The DNS has {good} of {len(keys)} records as wanted."
    )


async def rotate(visit: Visit) -> Response:
    """Create new keys, which replace the current ones once their records are found."""
    try:
        domain = await visit.api.call("POST", f"{DOMAINS.find_path(visit)}/rotate")
    except ApiError as error:
        return await show(visit, error)
    return visit.redirect(
        f"/domains/{domain['id']}",
        "Add the records of the new keys to the DNS, then check. The current keys sign until then.",
    )


PAGES: Final = (
    *DOMAINS.list_routes(),
    DOMAINS.route("GET", "", show),
    DOMAINS.route("POST", "/check", check),
    DOMAINS.route("POST", "/rotate", rotate),
)
TABS: Final = (("/domains", "Domains", Scope.PROFILES_READ),)
