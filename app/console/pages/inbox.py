"""Show the mails that the inbox of `heloise dev` captured, and what a refused EHLO name does."""

from typing import Final

from starlette.responses import Response

from app.console.api_client import ApiError, Forward
from app.console.forms import read_list
from app.console.html_frame import respond_with_html
from app.console.page import Visit
from app.domain.types import Scope

# A profile of `heloise dev`, and an EHLO name that its inbox refuses.
PRACTICE_PROFILE: Final = "practice"
REFUSED_NAME: Final = "app.invalid"
PRACTICE_MESSAGE: Final = {
    "profile": PRACTICE_PROFILE,
    "to": ["ann@example.org"],
    "subject": "Practice: a refused EHLO name",
    "text": "This message waited until the profile had a name that the server accepts.",
}


async def list_mails(visit: Visit) -> Response:
    """List mails, newest first."""
    page, _ = await read_list(visit, "/inbox")
    has_practice = not visit.is_live and await can_practice(visit)
    return visit.render("inbox/inbox.html", page=page, can_practice=has_practice)


async def can_practice(visit: Visit) -> bool:
    """Whether the tenant has the practice profile, and the user may change it and send."""
    if not (visit.can(Scope.PROFILES_MANAGE) and visit.can(Scope.MESSAGES_SEND)):
        return False
    try:
        await visit.api.get(f"/profiles/{PRACTICE_PROFILE}")
    except ApiError:
        return False
    return True


async def show_mail(visit: Visit) -> Response:
    """Show a mail: its envelope, text, HTML, header fields and files."""
    return visit.render("inbox/mail.html", mail=await visit.api.get(_path(visit)))


async def show_html(visit: Visit) -> Response:
    """Show the HTML of a mail, for the frame of its page."""
    mail = await visit.api.get(_path(visit))
    return respond_with_html(mail["html"] or "", allow_remote=False)


async def show_source(visit: Visit) -> Forward:
    """Show a mail as it arrived, as plain text."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    return visit.api.forward(f"{_path(visit)}/raw", headers=headers)


async def download_mail(visit: Visit) -> Forward:
    """Download a mail as a file."""
    headers = {"content-disposition": 'attachment; filename="mail.eml"'}
    return visit.api.forward(f"{_path(visit)}/raw", headers=headers)


async def download_file(visit: Visit) -> Forward:
    """Download a file of a mail."""
    return visit.api.forward(f"{_path(visit)}/files/{visit.request.path_params['number']}")


async def refuse_ehlo_name(visit: Visit) -> Response:
    """Give a profile a name that the inbox refuses, and send a message, which then waits."""
    await visit.api.call("PATCH", f"/profiles/{PRACTICE_PROFILE}", body={"ehlo_name": REFUSED_NAME})
    message = await visit.api.call("POST", "/messages", body=PRACTICE_MESSAGE)
    notice = (
        f"The profile {PRACTICE_PROFILE} now says {REFUSED_NAME}. See below why this message waits;"
        " then open its profile, and verify it."
    )
    return visit.redirect(f"/messages/{message['id']}", notice)


def _path(visit: Visit) -> str:
    return f"/inbox/{visit.request.path_params['mail']}"


PAGES: Final = (
    ("GET", "/t/{tenant}/inbox", list_mails),
    ("POST", "/t/{tenant}/inbox/practice", refuse_ehlo_name),
    ("GET", "/t/{tenant}/inbox/{mail}", show_mail),
    ("GET", "/t/{tenant}/inbox/{mail}/html", show_html),
    ("GET", "/t/{tenant}/inbox/{mail}/source", show_source),
    ("GET", "/t/{tenant}/inbox/{mail}/download", download_mail),
    ("GET", "/t/{tenant}/inbox/{mail}/files/{number}", download_file),
)
TABS: Final = (("/inbox", "Inbox", Scope.MESSAGES_READ),)
