"""Django's mail goes out through a running service, as it went through SMTP before."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage as Part
from email.message import MIMEPart
from email.mime.image import MIMEImage
from typing import Any, Final

import django
import pytest
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection
from django.test import override_settings

from clients.python.tests.conftest import Service
from heloise_client import ApiError, Heloise, UnreachableError
from heloise_client.django import UnsupportedError, build_body

BACKEND: Final = "heloise_client.django.EmailBackend"
ANN: Final = "ann@example.org"
BOB: Final = "Bob <bob@example.org>"
PNG: Final = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    """Django with settings of its own, once."""
    if not settings.configured:
        settings.configure(USE_TZ=True, TIME_ZONE="Europe/Berlin")
        django.setup()


@pytest.fixture(autouse=True)
def project(service: Service) -> Iterator[None]:
    """The settings that a project makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "EMAIL_BACKEND", BACKEND, raising=False)
        patch.setattr(settings, "DEFAULT_FROM_EMAIL", "shop@mail.dev.example", raising=False)
        patch.setattr(settings, "HELOISE", {"URL": service.url, "KEY": service.key}, raising=False)
        yield


def _message(**fields: Any) -> EmailMultiAlternatives:
    attributes = {name: fields.pop(name) for name in list(fields) if name not in CONSTRUCTOR}
    message = EmailMultiAlternatives(**{"subject": "Hello", "body": "Text", "to": [ANN]} | fields)
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


CONSTRUCTOR: Final = {
    *("subject", "body", "from_email", "to", "cc", "bcc", "reply_to"),
    *("attachments", "headers", "alternatives", "connection"),
}


def _parse_content(heloise: Heloise, message: Any) -> Any:
    """The content that Heloise sends, parsed."""
    content = heloise.get_raw_message(message.anymail_status.message_id)
    return message_from_bytes(content, policy=policy.default)


def test_send_mail_sends(heloise: Heloise) -> None:
    """Django's shortest way, and its count."""
    html = "<p>HTML</p>"
    assert mail.send_mail("Django's", "Text", None, [ANN, BOB], html_message=html) == 1
    [sent] = heloise.list_messages(subject="Django's")
    assert sent["from"] == "shop@mail.dev.example"
    assert [recipient["address"] for recipient in sent["recipients"]] == [ANN, "bob@example.org"]


def test_many_messages_use_one_connection(heloise: Heloise) -> None:
    """`send_mass_mail`, and a connection that the program opens and closes."""
    many = [("Mass", f"{number}", None, [ANN]) for number in range(3)]
    assert mail.send_mass_mail(many) == 3
    assert len(list(heloise.list_messages(subject="Mass"))) == 3
    with get_connection() as connection:
        assert connection.open() is False
        assert connection.send_messages([_message(), _message(to=[])]) == 1
        assert _message(connection=connection).send() == 1


def test_everything_that_django_has_arrives(heloise: Heloise) -> None:
    """Copies, Reply-To, headers, alternatives, files and inline images."""
    message = _message(
        subject="Grüße",
        from_email="Shop <shop@mail.dev.example>",
        to=["Ann <ann@example.org>"],
        cc=["cc@example.org"],
        bcc=["bcc@example.org"],
        reply_to=["help@example.com"],
        headers={"X-Campaign": "spring", "Sender": "robot@mail.dev.example"},
    )
    message.attach_alternative('<img src="cid:logo">', "text/html")
    message.attach("receipt.pdf", b"%PDF", "application/pdf")
    message.attach("notes.txt", "Grüße", "text/plain")
    inner = Part()
    inner["Subject"] = "Forwarded"
    inner.set_content("Inner")
    message.attach("forwarded.eml", inner, "message/rfc822")
    image = MIMEImage(PNG, "png")
    image.add_header("Content-ID", "<logo>")
    image.add_header("Content-Disposition", "inline", filename="logo.png")
    message.attach(image)
    assert message.send() == 1
    stored = _parse_content(heloise, message)
    assert stored["Subject"] == "Grüße"
    assert stored["From"] == "Shop <shop@mail.dev.example>"
    assert stored["To"] == "Ann <ann@example.org>"
    assert (stored["Cc"], stored["Bcc"]) == ("cc@example.org", None)
    assert (stored["Reply-To"], stored["X-Campaign"]) == ("help@example.com", "spring")
    assert stored["Sender"] == "robot@mail.dev.example"
    assert stored.get_body(["plain"]).get_content().strip() == "Text"
    assert stored.get_body(["html"]).get_content().strip() == '<img src="cid:logo">'
    parts = {part.get_filename(): part for part in stored.walk() if part.get_filename()}
    assert parts["receipt.pdf"].get_content() == b"%PDF"
    assert parts["notes.txt"].get_content().strip() == "Grüße"
    assert b"Subject: Forwarded" in parts["forwarded.eml"].get_content()
    assert parts["logo.png"].get_content() == PNG
    assert parts["logo.png"]["Content-ID"] == "<logo>"
    assert parts["logo.png"].get_content_disposition() == "inline"
    addresses = {
        recipient["address"] for recipient in heloise.get_message(_id(message))["recipients"]
    }
    assert addresses == {ANN, "cc@example.org", "bcc@example.org"}


def _id(message: Any) -> str:
    return str(message.anymail_status.message_id)


def test_the_parts_of_the_new_email_package_are_attached(heloise: Heloise) -> None:
    """`MIMEPart`, which Django 6 prefers, and a body that is HTML."""
    part = MIMEPart()
    part.set_content(PNG, "image", "png", cid="<logo>", disposition="inline")
    message = _message(body="<p>HTML</p>")
    message.attachments.append(part)
    message.content_subtype = "html"
    assert message.send() == 1
    stored = _parse_content(heloise, message)
    assert stored.get_body(["html"]).get_content().strip() == "<p>HTML</p>"
    [image] = [part for part in stored.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content()) == ("<logo>", PNG)


def test_the_attributes_of_anymail_work(heloise: Heloise) -> None:
    """Tags, metadata, a time, the envelope's sender, and any other field of the API."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    message = _message(
        tags=["receipt", "spring"],
        metadata={"order": 42},
        send_at=moment,
        envelope_sender="bounces@mail.dev.example",
        esp_extra={"priority": "high"},
        profile="marketing",
    )
    assert message.send() == 1
    accepted = heloise.get_message(_id(message))
    assert (accepted["tags"], accepted["metadata"]) == (["receipt", "spring"], {"order": "42"})
    assert accepted["send_at"] is not None
    assert datetime.fromisoformat(accepted["send_at"]) == moment
    assert (accepted["priority"], accepted["profile"]) == ("high", "marketing")
    assert build_body(message).get("return_path") == "bounces@mail.dev.example"
    heloise.cancel_message(accepted["id"])


@pytest.mark.parametrize(
    ("send_at", "text"),
    [
        (datetime.fromisoformat("2026-07-01T09:00:00"), "2026-07-01T09:00:00+02:00"),
        (datetime(2026, 7, 1, 9, tzinfo=UTC), "2026-07-01T09:00:00+00:00"),
        (date(2026, 7, 1), "2026-07-01T00:00:00+02:00"),
        (1782889200, "2026-07-01T09:00:00+02:00"),
        ("2026-07-01T09:00:00Z", "2026-07-01T09:00:00Z"),
    ],
)
def test_a_time_has_the_forms_of_anymail(send_at: Any, text: str) -> None:
    """Without a zone it is in Django's time zone."""
    with override_settings(USE_TZ=True, TIME_ZONE="Europe/Berlin"):
        assert build_body(_message(send_at=send_at)).get("send_at") == text


def test_a_from_header_is_shown_and_bounces_go_to_from_email() -> None:
    """As in Django's SMTP backend."""
    message = _message(
        from_email="Robot <robot@a.example>", headers={"From": "Ann <ann@a.example>"}
    )
    body = build_body(message)
    assert (body.get("from"), body.get("return_path")) == ("Ann <ann@a.example>", "robot@a.example")
    assert "headers" not in body


def test_what_anymail_leaves_unset_is_not_sent() -> None:
    """Its message has a class in place of each attribute that a program did not set."""
    unset = type("UNSET", (object,), {})
    names = ("tags", "metadata", "send_at", "template_id", "merge_data", "track_opens", "esp_extra")
    assert build_body(_message(**dict.fromkeys(names, unset))) == build_body(_message())


def test_the_settings_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which."""
    monkeypatch.setattr(settings, "HELOISE", {"URL": "http://heloise"})
    with pytest.raises(ImproperlyConfigured, match='"KEY": "hel_…"'):
        get_connection()


def test_an_idempotency_key_sends_once(heloise: Heloise) -> None:
    """However often the program sends the message."""
    sent = [_message(idempotency_key="order-42", tags=["once"]) for _ in range(2)]
    assert [message.send() for message in sent] == [1, 1]
    assert _id(sent[0]) == _id(sent[1])
    assert len(list(heloise.list_messages(tag="once"))) == 1


def test_a_template_is_rendered_for_each_recipient(heloise: Heloise) -> None:
    """`merge_data` makes a message for each; nobody sees the others."""
    heloise.create_template(
        {"name": "hello", "subject": "{{ greeting }}", "text": "{{ greeting }}, {{ name }}!"}
    )
    heloise.publish_template("hello")
    message = _message(
        subject="",
        body="",
        to=[ANN, BOB],
        template_id="hello",
        merge_global_data={"greeting": "Hi", "name": "you"},
        merge_data={ANN: {"name": "Ann"}},
        metadata={"campaign": "spring"},
        merge_metadata={"bob@example.org": {"user": 7}},
        merge_headers={ANN: {"X-User": "ann"}},
    )
    assert message.send() == 1
    status = message.anymail_status
    assert status.status == {"queued"}
    assert len(status.message_id) == 2
    ids = {address: recipient.message_id for address, recipient in status.recipients.items()}
    ann = heloise.get_raw_message(ids[ANN]).decode()
    bob = heloise.get_raw_message(ids["bob@example.org"]).decode()
    assert "Hi, Ann!" in ann
    assert "X-User: ann" in ann
    assert "Hi, you!" in bob
    assert ANN not in bob
    assert heloise.get_message(ids["bob@example.org"])["metadata"] == {
        "campaign": "spring",
        "user": "7",
    }


def test_a_merge_may_have_any_number_of_recipients(heloise: Heloise) -> None:
    """Above 1000 in several requests; with a key, each of them once; without any, none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heloise_client.django.MAX_BATCH", 2)
        for _ in range(2):
            addresses = [f"{number}@example.org" for number in range(5)]
            message = _message(
                to=addresses, merge_data={}, tags=["many"], idempotency_key="many-recipients"
            )
            assert message.send() == 1
            assert len(message.anymail_status.message_id) == 5
    assert len(list(heloise.list_messages(tag="many"))) == 5
    with pytest.raises(UnsupportedError, match="recipients in `to`"):
        _message(to=[], cc=[ANN], merge_data={}).send()


def test_the_status_says_what_heloise_accepted(heloise: Heloise) -> None:
    """Heloise queues it; one with an invalid address does not stop a merge."""
    message = _message(to=[ANN, "eve@example.org"])
    assert message.send() == 1
    status = message.anymail_status
    assert {address: recipient.status for address, recipient in status.recipients.items()} == {
        ANN: "queued",
        "eve@example.org": "queued",
    }
    assert status.esp_response == [heloise.get_message(_id(message)) | status.esp_response[0]]
    message = _message(to=[ANN, "nonsense"], merge_data={})
    assert message.send() == 1
    assert message.anymail_status.recipients["nonsense"].status == "invalid"
    assert message.anymail_status.status == {"queued", "invalid"}


def test_a_refusal_is_raised_unless_it_may_fail_silently(service: Service) -> None:
    """The other messages are sent, and the status says that this one is not."""
    for refused in (_message(to=["nonsense"]), _message(to=["nonsense"], merge_data={})):
        with pytest.raises(ApiError):
            refused.send()
        connection = get_connection(fail_silently=True)
        assert connection.send_messages([refused, _message()]) == 1
        assert refused.anymail_status.message_id is None
    with pytest.raises(UnreachableError):
        _message(connection=get_connection(url="http://127.0.0.1:1")).send()
    with pytest.raises(ApiError, match="key"):
        get_connection(BACKEND, key="wrong", url=service.url).send_messages([_message()])


@pytest.mark.parametrize(
    "part", [("<x>", "text/x-amp-html"), ("<p>", "text/html"), ("Other", "text/plain")]
)
def test_what_heloise_cannot_send_is_refused(part: tuple[str, str]) -> None:
    """Rather than left out."""
    message = _message(alternatives=[("<p>HTML</p>", "text/html"), part])
    with pytest.raises(UnsupportedError, match=part[1]):
        message.send()
    with pytest.raises(UnsupportedError, match="track_opens"):
        _message(track_opens=True).send()


def test_an_invitation_is_an_alternative(heloise: Heloise) -> None:
    """As calendars expect it."""
    calendar = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//a//b\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"
    )
    message = _message(alternatives=[(calendar, "text/calendar; method=REQUEST")])
    assert message.send() == 1
    kinds = [part.get_content_type() for part in _parse_content(heloise, message).walk()]
    assert "text/calendar" in kinds


def test_one_setting_is_enough_without_a_message(heloise: Heloise) -> None:
    """A plain `EmailMessage` has no alternatives."""
    message = EmailMessage("Plain", "Text", to=[ANN], headers={"reply-to": "help@example.com"})
    assert message.send() == 1
    assert _parse_content(heloise, message)["Reply-To"] == "help@example.com"
