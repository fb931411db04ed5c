"""`POST /inbound/bounces`: what came back by mail finds its message, and has its effect once."""

from base64 import encodebytes
from pathlib import Path
from quopri import encodestring
from typing import Any
from uuid import UUID

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Api, Caller

CORPUS = Path(__file__).parents[2] / "unit" / "inbound" / "reports"
WRITTEN = "0198c5a2d3f07b6e8a4c1d2e3f405162"
RFC822 = {"Content-Type": "message/rfc822"}


def mail(name: str, message: Any) -> bytes:
    """A mail of the corpus that is about this message."""
    text = (CORPUS / f"{name}.eml").read_text()
    uuid = message["id"].partition("_")[2]
    text = text.replace(f"<{UUID(WRITTEN)}@example.com>", message["message_id_header"])
    return text.replace(WRITTEN, uuid).replace("\n", "\r\n").encode()


async def post_mail(caller: Caller, content: bytes, query: str = "") -> Any:
    """What is answered to a mail."""
    answer = await caller("POST", f"/inbound/bounces{query}", content=content, headers=RFC822)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def reports(caller: Caller, message: Any) -> list[Any]:
    """What came back of each recipient of a message."""
    return [
        (recipient["report"] or {}).get("kind")
        for recipient in (await caller.read(f"/messages/{message['id']}"))["recipients"]
    ]


async def list_outcomes(caller: Caller, message: Any) -> list[tuple[str, str]]:
    """The events of a message after it was accepted, and of whom they are."""
    events = (await caller.read(f"/events?message={message['id']}"))["items"]
    return [
        (event["type"], event["data"]["recipient"]["address"])
        for event in events
        if event["data"]["recipient"] is not None
    ]


@pytest.fixture
async def sent_message(acme: Caller) -> Any:
    """A message to two, of a list."""
    await acme.made("/profiles", PROFILE | {"is_default": True})
    to = ["ann@example.org", "bob@example.org"]
    return await acme.made("/messages", MESSAGE | {"to": to, "tags": ["newsletter"]})


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("postfix_failed", ["bounced_later", "bounced_later"]),
        ("postfix_delayed", [None, "delayed"]),
        ("exim", ["bounced_later", None]),
        ("exim_old", ["bounced_later", "bounced_later"]),
        ("exchange", ["bounced_later", None]),
        ("gmail", ["bounced_later", None]),
        ("qmail", ["bounced_later", "bounced_later"]),
        ("complaint", ["complained", None]),
        ("unsubscribe", ["unsubscribed", None]),
    ],
)
async def test_each_form_finds_its_message(
    acme: Caller, sent_message: Any, name: str, kinds: list[str | None]
) -> None:
    """Each recipient that it names has its report and its event; the status stays as it was."""
    answer = await post_mail(acme, mail(name, sent_message))
    assert answer["new"]
    assert {recipient["message"] for recipient in answer["recipients"]} == {sent_message["id"]}
    assert await reports(acme, sent_message) == kinds
    addresses = ["ann@example.org", "bob@example.org"]
    expected = [
        (f"recipient.{kind}", address)
        for kind, address in zip(kinds, addresses, strict=True)
        if kind is not None
    ]
    assert await list_outcomes(acme, sent_message) == expected
    read = await acme.read(f"/messages/{sent_message['id']}")
    assert {recipient["status"] for recipient in read["recipients"]} == {"queued"}


@pytest.mark.one_database
@pytest.mark.parametrize("name", ["postfix_failed", "exim", "exim_old", "qmail", "gmail"])
async def test_a_local_part_in_quotes_is_found(acme: Caller, name: str) -> None:
    """In each form that names recipients."""
    await acme.made("/profiles", PROFILE)
    to = ['"ann."@example.org', "bob@example.org"]
    message = await acme.made("/messages", MESSAGE | {"to": to})
    content = mail(name, message).replace(b"ann@example.org", b'"ann."@example.org')
    await post_mail(acme, content)
    assert (await reports(acme, message))[0] == "bounced_later"


async def test_an_event_says_what_the_report_said(acme: Caller, sent_message: Any) -> None:
    """And where the recipient stood."""
    await post_mail(acme, mail("exchange", sent_message))
    read = await acme.read(f"/messages/{sent_message['id']}")
    report = read["recipients"][0]["report"]
    assert report["code"] == "5.1.10"
    assert report["text"].startswith("550 5.1.10 RESOLVER.ADR.RecipientNotFound")
    events = (await acme.read("/events?type=recipient.bounced_later"))["items"]
    recipient = events[0]["data"]["recipient"]
    assert recipient["status"] == "queued"
    assert recipient["last_reply"]["enhanced_code"] == "5.1.10"


async def test_the_same_mail_again_changes_nothing(acme: Caller, sent_message: Any) -> None:
    """It is answered alike, and says that it is not new."""
    first = await post_mail(acme, mail("gmail", sent_message))
    second = await post_mail(acme, mail("gmail", sent_message))
    assert (first.pop("new"), second.pop("new")) == (True, False)
    assert first == second
    assert await list_outcomes(acme, sent_message) == [
        ("recipient.bounced_later", "ann@example.org")
    ]


@pytest.mark.parametrize(
    ("name", "is_enabled", "suppressed"),
    [
        ("gmail", False, {}),
        ("gmail", True, {"ann@example.org": ("hard_bounce", None)}),
        ("postfix_failed", True, {"ann@example.org": ("hard_bounce", None)}),
        ("postfix_delayed", True, {}),
        ("complaint", False, {"ann@example.org": ("complaint", None)}),
        ("unsubscribe", False, {"ann@example.org": ("unsubscribe", "newsletter")}),
    ],
)
async def test_whom_it_suppresses(
    api: Api,
    acme: Caller,
    sent_message: Any,
    name: str,
    is_enabled: bool,  # noqa: FBT001 - a column of the table
    suppressed: dict[str, Any],
) -> None:
    """Who complains or leaves; who does not exist, where the tenant wants that."""
    await api.admin("PATCH", f"/tenants/{acme.tenant_id}", {"suppresses_hard_bounces": is_enabled})
    answer = await post_mail(acme, mail(name, sent_message))
    items = (await acme.read("/suppressions"))["items"]
    assert {
        suppression["address"]: (suppression["reason"], suppression["tag"]) for suppression in items
    } == suppressed
    addresses = {
        recipient["address"] for recipient in answer["recipients"] if recipient["suppressed"]
    }
    assert addresses == set(suppressed)
    for suppression in items:
        assert sent_message["id"] in suppression["detail"]


async def test_a_complaint_without_an_address_is_of_the_only_recipient(
    acme: Caller, sent_message: Any
) -> None:
    """Of several it is nobody's."""
    assert (await post_mail(acme, mail("complaint_redacted", sent_message)))["recipients"] == [
        {
            "kind": "complained",
            "address": None,
            "code": None,
            "text": "feedback of type abuse",
            "message": None,
            "suppressed": False,
        }
    ]
    alone = await acme.made("/messages", MESSAGE)
    [answer] = (await post_mail(acme, mail("complaint_redacted", alone)))["recipients"]
    assert (answer["address"], answer["message"]) == ("ann@example.org", alone["id"])


async def test_the_return_path_names_the_recipient_whatever_the_report_says(
    acme: Caller, sent_message: Any
) -> None:
    """As where its mail is forwarded to an address that nobody here knows."""
    content = mail("gmail", sent_message).replace(b"rfc822; ann@", b"rfc822; else@")
    token = f"bounces%2B{sent_message['id'].partition('_')[2]}-1@example.com"
    [answer] = (await post_mail(acme, content, f"?sent_to={token}"))["recipients"]
    assert answer["address"] == "bob@example.org"
    assert await reports(acme, sent_message) == [None, "bounced_later"]


async def test_a_message_id_that_the_caller_gave_is_found(acme: Caller, sent_message: Any) -> None:
    """As of a message that was made elsewhere."""
    raw = b"From: billing@example.com\r\nMessage-ID: <42@shop.example.com>\r\n\r\nHi.\r\n"
    answer = await acme("POST", "/messages/raw?to=ann@example.org", content=raw, headers=RFC822)
    message = answer.json()
    await post_mail(acme, mail("exim", message))
    assert await reports(acme, message) == ["bounced_later"]
    assert await reports(acme, sent_message) == [None, None]


async def test_what_is_graver_stays(acme: Caller, sent_message: Any) -> None:
    """A delay that is told after the failure is told, and does not stand for it."""
    failed = mail("postfix_failed", sent_message)
    await post_mail(acme, failed)
    await post_mail(acme, mail("postfix_delayed", sent_message))
    assert await reports(acme, sent_message) == ["bounced_later", "bounced_later"]
    assert ("recipient.delayed", "bob@example.org") in await list_outcomes(acme, sent_message)


async def test_another_tenants_message_is_nobodys(api: Api, sent_message: Any) -> None:
    """However it is named."""
    other = await api.tenant("other")
    for name in ("postfix_failed", "postfix_delayed", "gmail", "complaint", "unsubscribe"):
        answer = await post_mail(other, mail(name, sent_message))
        assert {recipient["message"] for recipient in answer["recipients"]} == {None}
    assert (await other.read("/suppressions"))["items"] == []
    assert (await other.read("/events"))["items"] == []


async def test_an_erased_recipient_stays_erased(acme: Caller, sent_message: Any) -> None:
    """A report that comes later brings no address, nor what was said of it."""
    await acme("POST", f"/messages/{sent_message['id']}/cancel")
    assert (await acme("DELETE", "/recipients/ann@example.org")).status_code == 200
    token = f"bounces%2B{sent_message['id'].partition('_')[2]}-0@example.com"
    await post_mail(acme, mail("gmail", sent_message), f"?sent_to={token}")
    text = (await acme("GET", f"/messages/{sent_message['id']}")).text
    assert '"bounced_later"' in text
    [event] = (await acme.read("/events?type=recipient.bounced_later"))["items"]
    assert event["data"]["recipient"]["status"] == "cancelled"
    assert event["data"]["recipient"]["address"] == ""
    assert "tried to reach" not in text
    assert (await acme.read("/suppressions"))["items"] == []


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"Subject: Hello\r\n\r\nHow are you?\r\n", "message/rfc822", 422),
        (b"", "message/rfc822", 422),
        (b"{}", "application/json", 415),
    ],
)
async def test_what_is_no_report_is_refused(
    acme: Caller,
    content: bytes,
    media_type: str,
    status: int,
) -> None:
    """And it is said what would be one."""
    answer = await acme(
        "POST", "/inbound/bounces", content=content, headers={"Content-Type": media_type}
    )
    assert answer.status_code == status
    if status == 422:
        assert "RFC 3464" in answer.text


def quoted_printable(content: bytes) -> bytes:
    """The content with more of it encoded than has to be."""
    return encodestring(content).replace(b"@", b"=40").replace(b"ted", b"te=\r\nd")


def report(*parts: tuple[str, bytes], encoding: str = "7bit") -> bytes:
    """A multipart/report of parts, each with its type and its content in an encoding."""
    encode = {"7bit": bytes, "base64": encodebytes, "quoted-printable": quoted_printable}[encoding]
    head = b"From: <>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
    header = f"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return b"".join(
        [
            head,
            *(
                b"--b\r\nContent-Type: " + kind.encode() + header + encode(content) + b"\r\n"
                for kind, content in parts
            ),
            b"--b--\r\n",
        ]
    )


STATUS = b"Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; ann@example.org\n"


@pytest.mark.one_database
@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
async def test_the_parts_of_a_report_may_be_encoded(
    acme: Caller, sent_message: Any, encoding: str
) -> None:
    """The fields of a notification or of feedback, and the message that came back."""
    returned = f"Message-ID: {sent_message['message_id_header']}\nSubject: Hi\n\nHi.\n".encode()
    for fields, kind in (
        (("message/delivery-status", STATUS + b"Action: failed\nStatus: 5.1.1\n"), "bounced_later"),
        (("message/feedback-report", b"Feedback-Type: abuse\nVersion: 1\n"), "complained"),
    ):
        for name in ("message/rfc822", "text/rfc822-headers"):
            content = report(fields, (name, returned), encoding=encoding)
            [answer] = (await post_mail(acme, content))["recipients"]
            is_found = kind == "bounced_later"  # the complaint names none of the two recipients
            assert (answer["kind"], answer["message"]) == (
                kind,
                sent_message["id"] if is_found else None,
            )


@pytest.mark.one_database
async def test_a_notification_without_an_action_says_it_by_its_status(
    acme: Caller, sent_message: Any
) -> None:
    """By the class of the code, wherever that stands."""
    returned = (
        "text/rfc822-headers",
        f"Message-ID: {sent_message['message_id_header']}\n\n".encode(),
    )
    for lines, kind, code in (
        (b"Status: 5.1.1\n", "bounced_later", "5.1.1"),
        (b"Status: 4.4.1 (no answer)\n", "delayed", "4.4.1"),
        (b"Action: unheard-of\nStatus: 2.0.0\n", "delivered", "2.0.0"),
        (b"Diagnostic-Code: smtp; 550 5.7.1 Go away\n", "bounced_later", "5.7.1"),
        (b"Action: delayed\nStatus: 5.0.0\n", "delayed", "5.0.0"),
    ):
        content = report(("message/delivery-status", STATUS + lines), returned)
        [answer] = (await post_mail(acme, content))["recipients"]
        assert (answer["kind"], answer["code"]) == (kind, code)
        assert answer["message"] == sent_message["id"]


@pytest.mark.one_database
@pytest.mark.parametrize("kind", ["auth-failure", "virus", "fraud", "other", "unheard-of"])
async def test_what_a_machine_reports_suppresses_nobody(
    acme: Caller, sent_message: Any, kind: str
) -> None:
    """It is kept as information."""
    content = mail("complaint", sent_message).replace(
        b"Feedback-Type: abuse", f"Feedback-Type: {kind}".encode()
    )
    [answer] = (await post_mail(acme, content))["recipients"]
    assert (answer["kind"], answer["suppressed"]) == ("reported", False)
    assert answer["text"] == f"feedback of type {kind}"
    assert await list_outcomes(acme, sent_message) == [("recipient.reported", "ann@example.org")]
    assert await reports(acme, sent_message) == ["reported", None]
    assert (await acme.read("/suppressions"))["items"] == []


@pytest.mark.one_database
async def test_an_opt_out_is_a_complaint(acme: Caller, sent_message: Any) -> None:
    """Whatever the letter case."""
    content = mail("complaint", sent_message).replace(
        b"Feedback-Type: abuse", b"feedback-type: Opt-Out"
    )
    [answer] = (await post_mail(acme, content))["recipients"]
    assert (answer["kind"], answer["suppressed"]) == ("complained", True)


@pytest.mark.one_database
async def test_a_report_that_says_nothing_is_refused(acme: Caller) -> None:
    """It is told what is missing."""
    qmail = b"Subject: failure notice\r\n\r\nHi. This is the qmail-send program.\r\n\r\nSorry.\r\n"
    for content, missing in (
        (report(("message/delivery-status", STATUS)), "Action or Status"),
        (report(("message/delivery-status", b"")), "Action or Status"),
        (
            report(
                ("message/delivery-status", STATUS + b"Action: failed"), encoding="7bit"
            ).replace(b"7bit", b"base64"),
            "Action or Status",
        ),
        (report(("message/feedback-report", b"Version: 1\n")), "Feedback-Type"),
        (b"X-Failed-Recipients: nobody\r\n\r\nSorry.\r\n", "X-Failed-Recipients"),
        (qmail, "without an address"),
        (b"From: a@b.example, c@d.example\r\nSubject: unsubscribe\r\n\r\n", "neither a recipient"),
        (b"Subject: unsubscribe\r\n\r\n", "neither a recipient"),
        (report(("message/delivery-status", b"X: y\n\nStatus: 5.1.1\n")), "neither a recipient"),
    ):
        answer = await acme("POST", "/inbound/bounces", content=content, headers=RFC822)
        assert answer.status_code == 422, answer.text
        assert missing in answer.json()["errors"][0]["msg"]


async def test_what_no_database_can_keep_is_no_fault_of_ours(
    acme: Caller, sent_message: Any
) -> None:
    """NUL in an identifier, as a header field or as xtext."""
    for fields, header in (
        (b"Original-Envelope-Id: +00\n", f"In-Reply-To: {sent_message['message_id_header']}\r\n"),
        (b"X: y\n", f"References: <a\0b@example.com> {sent_message['message_id_header']}\r\n"),
    ):
        content = report(("message/delivery-status", fields + STATUS + b"Status: 5.1.1\n"))
        [answer] = (await post_mail(acme, header.encode() + content))["recipients"]
        assert answer["message"] == sent_message["id"]


@pytest.mark.one_database
async def test_a_mail_beyond_a_bound_is_refused_with_the_bound(acme: Caller) -> None:
    """Before anything else reads it."""
    words = b"Subject: " + b"=?utf-8?q?a?= " * 600 + b"\r\n\r\n"
    continuations = b"".join(b"; a*%d=b" % n for n in range(101))
    for content, bound in (
        (b"X: " + b"a" * 70_000 + b"\r\n\r\n", "70,005 bytes; at most 65,536"),
        (b"X: y\r\n" * 600 + b"\r\n", "600 fields; at most 500"),
        (words, "600 encoded words; at most 500"),
        (b"Content-Type: multipart/report" + continuations + b"\r\n\r\n", "101 parameters"),
    ):
        answer = await acme("POST", "/inbound/bounces", content=content, headers=RFC822)
        assert answer.status_code == 422, answer.text
        assert bound in answer.json()["errors"][0]["msg"]


@pytest.mark.one_database
async def test_an_unsubscribe_is_of_the_only_address_in_from(
    acme: Caller, sent_message: Any
) -> None:
    """As mailers write it, well or not; a name or a comment is no address."""
    for written in (
        b"ann@example.org",
        b"ann@example.org <ann@example.org>",
        b'"bob@example.org" <ann@example.org>',
        b"Lee, Ann <ann@example.org> (bob@example.org)",
        b"=?utf-8?q?bob=40example.org?= <ann@example.org>",
    ):
        content = b"From: " + written + b"\r\nSubject: unsubscribe\r\n\r\n"
        [answer] = (await post_mail(acme, content))["recipients"]
        assert (answer["address"], answer["message"]) == ("ann@example.org", sent_message["id"])
