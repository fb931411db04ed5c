"""Show profiles, verify and change them."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from app.console.api_client import ApiError
from app.console.forms import CHANGED, INVALID, Form, assign_errors, has_changed, read_list
from app.console.page import Visit
from app.console.pages import profile_form as forms
from app.domain.types import Scope

CREATE: Final = "/new-profile"


async def list_profiles(visit: Visit) -> Response:
    """List the profiles with their state and what waits for them."""
    page, _ = await read_list(visit, "/profiles")
    return visit.render("profiles/list.html", page=page, queue=await _load_queue(visit))


async def show_profile(visit: Visit) -> Response:
    """Show a profile with its health."""
    return await _render_profile(visit)


async def verify_profile(visit: Visit) -> Response:
    """Verify a profile, and show the stages."""
    body = {name: visit.form.get(name, "").strip() or None for name in ("recipient", "sender")}
    try:
        report = await visit.api.call("POST", f"{_path(visit)}/verify", body=body)
    except ApiError as error:
        errors = error.field_errors
        refusal = None if errors else error.detail
        return await _render_profile(visit, status=error.status, errors=errors, refusal=refusal)
    return await _render_profile(visit, report=report)


async def lead_to_profile(visit: Visit) -> Response:
    """Lead from the result of verify, loaded again, to the profile."""
    return visit.redirect(_path(visit))


async def use_ehlo_name(visit: Visit) -> Response:
    """Set the EHLO name."""
    name = visit.form.get("ehlo_name", "")
    return await _change(
        visit,
        "PATCH",
        body={"ehlo_name": name},
        notice=f"The EHLO name is now {name}. Messages that wait go out with it.",
    )


async def pause_profile(visit: Visit) -> Response:
    """Pause a profile."""
    return await _change(
        visit, "POST", "/pause", notice="The profile is paused: its messages wait."
    )


async def resume_profile(visit: Visit) -> Response:
    """Resume a profile, or try its failing server at once."""
    return await _change(
        visit, "POST", "/resume", notice="The profile is active. Heloise tries its server at once."
    )


async def send_test(visit: Visit) -> Response:
    """Send a test message, and lead to its page."""
    profile = await visit.api.get(_path(visit))
    body = {
        "profile": profile["id"],
        "to": [visit.form.get("to", "").strip()],
        "subject": f"Test of the profile {profile['name']}",
        "text": f"Heloise sent this message through the profile {profile['name']}.",
    }
    if sender := visit.form.get("from", "").strip():
        body["from"] = sender
    try:
        message = await visit.api.call("POST", "/messages", body=body)
    except ApiError as error:
        return await _render_profile(
            visit,
            status=error.status,
            errors=assign_errors(error.field_errors, ["to"]),
            problem=error.detail,
        )
    return visit.redirect(f"/messages/{message['id']}", "Heloise accepted the test message.")


async def show_new_profile(visit: Visit) -> Response:
    """Show the form of a new profile."""
    return _render_form(visit, None, Form.show(forms.FIELDS).values)


async def create_profile(visit: Visit) -> Response:
    """Create a profile."""
    try:
        body = {
            name: value
            for name, value in forms.parse(visit.form).items()
            if value is not None and value != {}
        }
        profile = await visit.api.call("POST", "/profiles", body=body)
    except (forms.FormError, ApiError) as error:
        return _render_form(visit, None, forms.keep(visit.form), error)
    return visit.redirect(f"/profiles/{profile['id']}", "The profile is ready. Verify it.")


async def show_changes(visit: Visit) -> Response:
    """Show the form of a profile."""
    profile = await visit.api.get(_path(visit))
    return _render_form(visit, profile, forms.fill(profile))


async def change_profile(visit: Visit) -> Response:
    """Change the fields of a profile that differ from what the form showed."""
    profile = await visit.api.get(_path(visit))
    if has_changed(visit.form.get("updated_at", ""), profile):
        return _render_form(visit, profile, forms.keep(visit.form), problem=CHANGED)
    try:
        changes = forms.diff(forms.parse(forms.fill(profile)), forms.parse(visit.form))
        await visit.api.call("PATCH", _path(visit), body=changes)
    except (forms.FormError, ApiError) as error:
        return _render_form(visit, profile, forms.keep(visit.form), error)
    return visit.redirect(f"/profiles/{profile['id']}", "The changes are saved.")


async def ask_deletion(visit: Visit) -> Response:
    """Ask whether to delete a profile, with the number of messages that wait."""
    return await _render_deletion(visit)


async def delete_profile(visit: Visit) -> Response:
    """Delete a profile; its waiting messages only where the form says so."""
    params = {"cancel_pending": visit.form.get("cancel_pending", "false")}
    try:
        await visit.api.call("DELETE", _path(visit), params)
    except ApiError as error:
        return await _render_deletion(visit, status=error.status, problem=error.detail)
    return visit.redirect("/profiles", "The profile is deleted.")


def _path(visit: Visit) -> str:
    return f"/profiles/{visit.request.path_params['profile']}"


async def _load_queue(visit: Visit, profile: str | None = None) -> Mapping[str, Any]:
    """Return what waits, by profile id; empty for a key that may not read messages."""
    if not visit.can(Scope.MESSAGES_READ):
        return {}
    queue = await visit.api.get("/queue", {"profile": profile, "limit": 200})
    return {item["profile_id"]: item for item in queue["items"]}


async def _render_profile(
    visit: Visit,
    *,
    status: int = 200,
    report: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] = {},
    problem: str | None = None,
    refusal: str | None = None,
) -> Response:
    profile = await visit.api.get(_path(visit))
    queue = await _load_queue(visit, profile["id"])
    return visit.render(
        "profiles/profile.html",
        status=status,
        profile=profile,
        waiting=queue.get(profile["id"]),
        base=visit.link(f"/profiles/{profile['id']}"),
        report=report,
        typed=visit.form,
        errors=errors,
        problem=None if errors else problem,
        refusal=refusal,
    )


def _render_form(
    visit: Visit,
    profile: Mapping[str, Any] | None,
    values: Mapping[str, str],
    error: forms.FormError | ApiError | None = None,
    *,
    problem: str | None = None,
) -> Response:
    errors = {} if error is None else forms.find_errors(error)
    status = error.status if isinstance(error, ApiError) else INVALID
    if isinstance(error, ApiError) and not errors:
        problem = error.detail
    fields = (*forms.FIELDS, forms.MORE)
    form = Form(
        fields,
        {field.name: values.get(field.name, "") for field in fields},
        errors,
        problem,
        200 if error is None and problem is None else status,
        values.get("updated_at") or (profile or {}).get("updated_at", ""),
    )
    return visit.render(
        "profiles/form.html",
        status=form.status,
        profile=profile,
        form=form,
        server=forms.SERVER,
        sending=forms.SENDING,
        transport=[forms.TRANSPORT],
        more=[forms.MORE],
        rare=forms.RARE,
    )


async def _render_deletion(
    visit: Visit, *, status: int = 200, problem: str | None = None
) -> Response:
    profile = await visit.api.get(_path(visit))
    queue = await _load_queue(visit, profile["id"])
    return visit.render(
        "profiles/delete.html",
        status=status,
        profile=profile,
        waiting=queue.get(profile["id"], {}).get("messages", 0),
        problem=problem,
    )


async def _change(
    visit: Visit, method: str, action: str = "", *, notice: str, body: object = None
) -> Response:
    profile = await visit.api.call(method, f"{_path(visit)}{action}", body=body)
    return visit.redirect(f"/profiles/{profile['id']}", notice)


_PROFILE: Final = "/t/{tenant}/profiles/{profile}"
PAGES: Final = (
    ("GET", "/t/{tenant}/profiles", list_profiles),
    ("GET", f"/t/{{tenant}}{CREATE}", show_new_profile),
    ("POST", f"/t/{{tenant}}{CREATE}", create_profile),
    ("GET", _PROFILE, show_profile),
    ("GET", f"{_PROFILE}/verify", lead_to_profile),
    ("POST", f"{_PROFILE}/verify", verify_profile),
    ("POST", f"{_PROFILE}/ehlo-name", use_ehlo_name),
    ("POST", f"{_PROFILE}/pause", pause_profile),
    ("POST", f"{_PROFILE}/resume", resume_profile),
    ("GET", f"{_PROFILE}/test", lead_to_profile),
    ("POST", f"{_PROFILE}/test", send_test),
    ("GET", f"{_PROFILE}/edit", show_changes),
    ("POST", f"{_PROFILE}/edit", change_profile),
    ("GET", f"{_PROFILE}/delete", ask_deletion),
    ("POST", f"{_PROFILE}/delete", delete_profile),
)
TABS: Final = (("/profiles", "Profiles", Scope.PROFILES_READ),)
