"""Show templates: edit drafts, preview, publish, and send tests."""

from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.forms import Field, Form
from app.console.html_frame import respond_with_html
from app.console.page import Visit
from app.console.resource import Resource
from app.domain.types import Scope

VERSIONS_SHOWN: Final = 20
SAVED: Final = "The draft is saved. Publish it to send it."
FIELDS: Final = (
    Field(
        "name",
        "Name",
        hint="Messages and other templates name it, such as receipt.",
        is_required=True,
    ),
    Field("subject", "Subject", hint="Jinja, as in all parts: Your receipt {{ number }}"),
    Field("html", "HTML", "textarea", hint="Heloise escapes variables. Alternative: MJML."),
    Field("mjml", "MJML", "textarea", hint="Heloise turns it into HTML. Alternative: HTML."),
    Field("text", "Text", "textarea", hint="Empty: Heloise derives it from the HTML."),
    Field(
        "inline_css", "Copy the rules of <style> into the elements too", "checkbox", default=True
    ),
    Field(
        "locales",
        "Languages",
        "json",
        hint='Parts by language: {"de": {"subject": "…", "html": "…"}}. Missing parts of de-AT'
        " come from de, then from the parts above.",
    ),
    Field("variables_schema", "Schema of the variables", "json", hint="A JSON Schema."),
)
PREVIEW: Final = (
    Field("variables", "Variables", "json", hint='JSON: {"name": "Ann", "number": 42}'),
    Field("locale", "Language", hint="For example de-AT. Empty: the parts without a language."),
    Field("version", "Version", "number", hint="Empty: the latest, which may be a draft."),
)
TEST: Final = (
    Field("to", "To", "lines", hint="At most ten addresses, one per line.", is_required=True),
    Field("from", "From", hint="Empty: the default of the profile."),
    Field("profile", "Profile", hint="Empty: the default profile."),
    *PREVIEW,
)


TEMPLATES: Final = Resource(
    path="/templates",
    noun="template",
    template="templates/list.html",
    fields=FIELDS,
    has_page=True,
    notice=SAVED,
    submit="Save draft",
)


async def show(visit: Visit, error: ApiError | None = None) -> Response:
    """Show a template and its versions."""
    path = TEMPLATES.find_path(visit)
    template = await visit.api.get(path)
    versions = await visit.api.get(f"{path}/versions", {"limit": VERSIONS_SHOWN})
    return visit.render(
        "templates/template.html",
        error=error,
        template=template,
        versions=versions["items"],
    )


async def show_edit(visit: Visit) -> Response:
    """Show the latest version as a form."""
    return _render_edit(visit, Form.show(FIELDS, await _load_latest(visit)))


async def edit(visit: Visit) -> Response:
    """Save the draft."""
    form = Form.read(FIELDS, visit.form)
    form.require_current(await _load_latest(visit))
    await form.send(visit.api, "PATCH", TEMPLATES.find_path(visit))
    if form.problem:
        return _render_edit(visit, form)
    return visit.redirect(TEMPLATES.find_path(visit), SAVED)


async def _load_latest(visit: Visit) -> dict[str, Any]:
    """Load the latest version, with the name of the template."""
    path = TEMPLATES.find_path(visit)
    template = await visit.api.get(path)
    [latest] = (await visit.api.get(f"{path}/versions", {"limit": 1}))["items"]
    locales = {
        language: {name: part for name, part in parts.items() if part is not None}
        for language, parts in latest["locales"].items()
    }
    return {
        **latest,
        "name": template["name"],
        "locales": locales or None,
        "updated_at": max(template["updated_at"], latest["updated_at"]),
    }


def _render_edit(visit: Visit, form: Form) -> Response:
    return form.render(
        visit,
        title="Edit the draft",
        submit="Save draft",
        hint="The published version does not change. A new name applies at once.",
        back=visit.link(TEMPLATES.find_path(visit)),
    )


async def publish(visit: Visit) -> Response:
    """Publish a version."""
    form = Form.read([Field("version", "Version", "number")], visit.form)
    try:
        template = await visit.api.call(
            "POST", f"{TEMPLATES.find_path(visit)}/publish", body=form.build_body()
        )
    except ApiError as error:
        return await show(visit, error)
    return visit.redirect(
        f"/templates/{template['id']}", f"New messages use version {template['published']}."
    )


async def preview(visit: Visit) -> Response:
    """Render a version with the variables of the URL."""
    path, query = TEMPLATES.find_path(visit), visit.request.query_params
    template = await visit.api.get(path)
    form = Form.read(PREVIEW, query)
    rendered = None
    if "variables" in query:
        rendered = await form.send(visit.api, "POST", f"{path}/preview")
    return visit.render(
        "templates/preview.html",
        status=form.status,
        template=template,
        form=form,
        rendered=rendered,
        document=visit.link(f"{path}/preview/document", **form.values),
        test=visit.link(f"{path}/test", **form.values),
    )


async def show_document(visit: Visit) -> Response:
    """Serve the HTML of a preview, for its frame."""
    form = Form.read(PREVIEW, visit.request.query_params)
    rendered = await visit.api.call(
        "POST", f"{TEMPLATES.find_path(visit)}/preview", body=form.build_body()
    )
    return respond_with_html(rendered["html"] or "", allow_remote=False)


async def show_test(visit: Visit) -> Response:
    """Show the form of a test message."""
    return await _render_test(visit, Form.read(TEST, visit.request.query_params))


async def send_test(visit: Visit) -> Response:
    """Send a version as a test message."""
    form = Form.read(TEST, visit.form)
    message = await form.send(visit.api, "POST", f"{TEMPLATES.find_path(visit)}/test")
    if form.problem:
        return await _render_test(visit, form)
    return visit.redirect(f"/messages/{message['id']}", "Heloise sends the test message.")


async def _render_test(visit: Visit, form: Form) -> Response:
    template = await visit.api.get(TEMPLATES.find_path(visit))
    return form.render(
        visit,
        title=f"Send a test of {template['name']}",
        submit="Send",
        back=visit.link(TEMPLATES.find_path(visit)),
    )


PAGES: Final = (
    *TEMPLATES.list_routes(),
    TEMPLATES.route("GET", "", show),
    TEMPLATES.route("GET", "/edit", show_edit),
    TEMPLATES.route("POST", "/edit", edit),
    TEMPLATES.route("POST", "/publish", publish),
    TEMPLATES.route("GET", "/preview", preview),
    TEMPLATES.route("GET", "/preview/document", show_document),
    TEMPLATES.route("GET", "/test", show_test),
    TEMPLATES.route("POST", "/test", send_test),
)
TABS: Final = (("/templates", "Templates", Scope.TEMPLATES_MANAGE),)
