"""`python -m benchmarks.rendering`: a message rendered, beside the standard library's two ways.

The contestants take turns, round by round; of each the best round counts, for whatever else the
machine does can only make one slower. Ratios are to Heloise's own.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime
from functools import partial
from timeit import Timer
from typing import Final

from app.accept.build import prepare_message
from app.accept.draft import Draft
from app.accept.policy import AcceptPolicy
from app.domain.mime.build import Attachment, Content, render
from app.domain.types import MessageSource, NamedAddress, Origin, Profile
from app.store.secrets.encryption import Vault

ROUNDS: Final = 9
ROUND_SECONDS: Final = 0.1
NOW: Final = datetime.now(UTC)
SENDER: Final = NamedAddress("billing@example.com", "Billing")
RECIPIENT: Final = NamedAddress("ann@example.org", "Ann")
SUBJECT: Final = "Your receipt"
TEXT: Final = "Thanks for your order. The receipt is below.\n" * 20
PAGE: Final = "<p>Thanks for your order, Zoë. The receipt is below.</p>\n" * 20
FILE: Final = Attachment(
    filename="receipt.pdf", content_type="application/pdf", content=bytes(range(256)) * 4096
)
PROFILE: Final = Profile(id="prf_1", tenant_id="ten_1", name="main", created_at=NOW, updated_at=NOW)
VAULT: Final = Vault([bytes(32)])


def content(times: int = 1, attachments: tuple[Attachment, ...] = ()) -> Content:
    """A receipt of 2 KB, or of so many times as much."""
    return Content(
        sender=SENDER,
        to=(RECIPIENT,),
        subject=SUBJECT,
        text=TEXT * times,
        html=PAGE * times,
        attachments=attachments,
        message_id="<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>",
        date=NOW,
    )


def by_email_message(draft: Content) -> bytes:
    """The standard library as its documentation shows it."""
    message = EmailMessage(policy.SMTP)
    _address(message, draft)
    message.set_content(draft.text)
    message.add_alternative(draft.html, subtype="html")
    for attachment in draft.attachments:
        maintype, subtype = attachment.content_type.split("/")
        message.add_attachment(
            attachment.content, maintype=maintype, subtype=subtype, filename=attachment.filename
        )
    return message.as_bytes()


def by_mime_text(draft: Content) -> bytes:
    """The standard library's older classes."""
    message = MIMEMultipart("alternative")
    message.attach(MIMEText(draft.text or "", "plain", "utf-8"))
    message.attach(MIMEText(draft.html or "", "html", "utf-8"))
    if draft.attachments:
        body, message = message, MIMEMultipart("mixed")
        message.attach(body)
    for attachment in draft.attachments:
        file = MIMEApplication(attachment.content, attachment.content_type.split("/")[1])
        file.add_header("Content-Disposition", "attachment", filename=attachment.filename)
        message.attach(file)
    _address(message, draft)
    return message.as_bytes()


def _address(message: EmailMessage | MIMEMultipart, draft: Content) -> None:
    message["Date"] = format_datetime(draft.date)
    message["From"] = f"{draft.sender.name} <{draft.sender.address}>"
    message["To"] = ", ".join(f"{address.name} <{address.address}>" for address in draft.to)
    message["Subject"] = draft.subject
    message["Message-ID"] = draft.message_id


def accept(content: Content) -> bytes:
    """All that is done with a request's message before it is written: checks, ids, rendering."""
    message_draft = Draft(
        sender=content.sender,
        to=content.to,
        subject=content.subject,
        text=content.text,
        html=content.html,
        headers={},
        metadata={},
    )
    message = prepare_message(
        message_draft,
        profile=PROFILE,
        policy=AcceptPolicy(
            origin=Origin(MessageSource.API, "key_0198c5a2d3f07b6e8a4c1d2e3f405162"),
            now=NOW,
            max_message_bytes=100_000_000,
            max_age_seconds=86_400,
            seal_content=VAULT.seal_content,
        ),
    )
    return message.mime


Renderer = Callable[[Content], bytes]

RENDERERS: Final[Mapping[str, Renderer]] = {
    "Heloise": render,
    "EmailMessage": by_email_message,
    "MIMEText": by_mime_text,
}
CASES: Final[Mapping[str, tuple[Content, Mapping[str, Renderer]]]] = {
    "2 KB of text and HTML": (content(), {**RENDERERS, "Heloise, accept's checks too": accept}),
    "200 KB of text and HTML": (content(times=100), RENDERERS),
    "2 KB and a file of 1 MB": (content(attachments=(FILE,)), RENDERERS),
}


def best_us(draft: Content, renderers: Mapping[str, Renderer]) -> dict[str, float]:
    """How many microseconds each needs, in its best round."""
    timers = {name: Timer(partial(run, draft)) for name, run in renderers.items()}
    turns = {
        name: max(1, round(ROUND_SECONDS / timer.timeit(3) * 3)) for name, timer in timers.items()
    }
    best = dict.fromkeys(timers, float("inf"))
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            best[name] = min(best[name], timer.timeit(turns[name]) / turns[name] * 1e6)
    return best


def main() -> None:
    """Measure every case and print it as Markdown."""
    print(f"Python {sys.version.split()[0]}; best of {ROUNDS} rounds in turn")
    for title, (draft, renderers) in CASES.items():
        best = best_us(draft, renderers)
        print(f"\n| {title} | µs | ratio |\n|---|---:|---:|")
        for name, us in best.items():
            print(f"| {name} | {us:,.1f} | {us / best['Heloise']:.1f} |")


if __name__ == "__main__":
    main()
