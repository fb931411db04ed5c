"""What providers post, in the shapes that they document, and what no provider would."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.inbound.bounce_parser import ReportKind
from app.domain.inbound.provider import (
    Provider,
    build_trace_fields,
    hide_token,
    read_provider_message_id,
)
from app.domain.inbound.provider_events import parse_events

CORPUS = Path(__file__).parent / "providers"
MESSAGE = "msg_0198c5a2d3f07b6e8a4c1d2e3f405162"
HEADER = "<0198c5a2-d3f0-7b6e-8a4c-1d2e3f405162@example.com>"
SES_ID = "0102018f3a6b1c2d-5e4f3a2b-1c0d-4e9f-8a7b-6c5d4e3f2a1b-000000"
SENDGRID_ID = "pR3v1dErAssIgn5-Th1s_A"
BOUNCED, DELAYED, DELIVERED, COMPLAINED, UNSUBSCRIBED = (
    ReportKind.BOUNCED_LATER,
    ReportKind.DELAYED,
    ReportKind.DELIVERED,
    ReportKind.COMPLAINED,
    ReportKind.UNSUBSCRIBED,
)
IGNORED = None

# For each event of a post: kind, code, whether the address does not exist, first words of the text.
CASES: dict[str, list[tuple[Any, ...] | None]] = {
    "ses_bounce": [(BOUNCED, "5.1.1", True, "550 5.1.1 <ann@example.org>")],
    "ses_bounce_without_reason": [(BOUNCED, "5.1.1", True, "Permanent: NoEmail")],
    "ses_bounce_transient": [(BOUNCED, "4.2.2", False, "452 4.2.2 The email account")],
    "ses_complaint": [(COMPLAINED, None, False, "feedback of type abuse")],
    "ses_complaint_not_spam": [IGNORED],
    "ses_complaint_virus": [(ReportKind.REPORTED, None, False, "feedback of type virus")],
    "ses_delivery": [(DELIVERED, "2.6.0", False, "250 2.6.0")],
    "ses_delay": [(DELAYED, "4.4.1", False, "421 4.4.1 Unable")],
    "ses_reject": [(BOUNCED, None, False, "SES rejected the message: Bad content")],
    "ses_open": [IGNORED],
    "sendgrid_batch": [
        IGNORED,
        (DELAYED, "4.3.0", False, "451 4.3.0 Try again"),
        (DELIVERED, "2.0.0", False, "250 2.0.0 OK"),
        IGNORED,
    ],
    "sendgrid_bounce": [(BOUNCED, "5.1.1", True, "550 5.1.1 The email")],
    "sendgrid_bounce_unspecific": [(BOUNCED, "5.1.1", True, "unknown recipient")],
    "sendgrid_blocked": [(BOUNCED, "5.7.1", False, "550 5.7.1 Message refused")],
    "sendgrid_dropped": [(BOUNCED, "5.0.0", False, "Bounced Address")],
    "sendgrid_spamreport": [(COMPLAINED, None, False, "")],
    "sendgrid_unsubscribe": [(UNSUBSCRIBED, None, False, "")],
    "sendgrid_group_unsubscribe": [IGNORED],
    "mailgun_delivered": [(DELIVERED, None, False, "OK")],
    "mailgun_failed": [(BOUNCED, "5.1.1", True, "5.1.1 The email account")],
    "mailgun_failed_suppressed": [(BOUNCED, None, False, "Not delivering to previously")],
    "mailgun_delayed": [(DELAYED, "4.2.2", False, "4.2.2 Mailbox full")],
    "mailgun_rejected": [(BOUNCED, None, False, "Sandbox subdomains")],
    "mailgun_complained": [(COMPLAINED, None, False, "")],
    "mailgun_unsubscribed": [(UNSUBSCRIBED, None, False, "")],
    "mailgun_clicked": [IGNORED],
    "postmark_hard_bounce": [(BOUNCED, "5.1.1", True, "550 5.1.1 The email")],
    "postmark_hard_bounce_without_code": [(BOUNCED, "5.1.1", True, "action: failed")],
    "postmark_transient": [(DELAYED, "4.7.1", False, "451 4.7.1 Greylisted")],
    "postmark_soft_bounce": [(BOUNCED, "5.2.2", False, "552 5.2.2 Mailbox full")],
    "postmark_auto_responder": [IGNORED],
    "postmark_spam_complaint": [(COMPLAINED, None, False, "The subscriber marked")],
    "postmark_delivery": [(DELIVERED, "2.0.0", False, "250 2.0.0 OK")],
    "postmark_subscription_change": [(UNSUBSCRIBED, None, False, "")],
    "postmark_reactivated": [IGNORED],
    "brevo_hard_bounce": [(BOUNCED, "5.1.1", True, "RecipientError: 550 5.5.0")],
    "brevo_soft_bounce": [(BOUNCED, "4.2.2", False, "452 4.2.2")],
    "brevo_invalid_email": [(BOUNCED, "5.1.1", True, "the address is not valid")],
    "brevo_blocked": [(BOUNCED, None, False, "blocked : due to")],
    "brevo_complaint": [(COMPLAINED, None, False, "")],
    "brevo_unsubscribed": [(UNSUBSCRIBED, None, False, "")],
    "brevo_batch": [
        IGNORED,
        (DELAYED, "4.7.0", False, "421 4.7.0"),
        (DELIVERED, None, False, ""),
        IGNORED,
    ],
}


def corpus(name: str) -> tuple[Provider, Any]:
    """A post as a provider makes it; of SES what is within the notification."""
    return Provider(name.partition("_")[0]), json.loads((CORPUS / f"{name}.json").read_text())


def test_every_post_of_the_corpus_has_its_case() -> None:
    """None is forgotten."""
    assert {path.stem for path in CORPUS.glob("*.json")} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_what_a_post_says(name: str) -> None:
    """Of each event, about one recipient; other events are of no concern."""
    events = parse_events(*corpus(name))
    assert len(events) == len(CASES[name])
    for event, case in zip(events, CASES[name], strict=True):
        if case is None:
            assert event.report is None
            continue
        assert event.report is not None
        [recipient] = event.report.recipients
        kind, code, is_hard, text = case
        assert (recipient.kind, recipient.code, recipient.is_hard_bounce) == (kind, code, is_hard)
        assert recipient.addresses == ("ann@example.org",)
        assert (recipient.text or "").startswith(text)


@pytest.mark.parametrize(
    ("name", "ids", "message_ids", "provider_ids"),
    [
        ("ses_bounce", (), (HEADER,), (SES_ID,)),
        ("sendgrid_bounce", (), (HEADER,), (SENDGRID_ID,)),
        ("mailgun_failed", (), (HEADER,), ()),
        ("postmark_hard_bounce", (MESSAGE,), (), ()),
        ("brevo_hard_bounce", (), (HEADER,), (HEADER.strip("<>"),)),
    ],
)
def test_which_message_a_post_is_about(
    name: str, ids: Any, message_ids: Any, provider_ids: Any
) -> None:
    """By the ids that each provider repeats."""
    [event] = parse_events(*corpus(name))
    assert event.report is not None
    assert event.report.ids == ids
    assert event.report.message_ids == message_ids
    assert event.report.provider_message_ids == provider_ids


@pytest.mark.parametrize("name", ["ses_bounce", "mailgun_failed"])
def test_a_return_path_names_the_recipient(name: str) -> None:
    """Where the provider repeats it."""
    provider, payload = corpus(name)
    return_path = f"bounces+{MESSAGE.partition('_')[2]}-7@example.com"
    text = json.dumps(payload).replace("billing@example.com", return_path)
    [event] = parse_events(provider, json.loads(text))
    assert event.report is not None
    assert event.report.places == ((MESSAGE, 7),)


@pytest.mark.parametrize("name", CASES)
def test_an_event_that_is_posted_again_is_the_same(name: str) -> None:
    """Whatever the order of its fields; and each event of the corpus is another one."""
    provider, payload = corpus(name)
    digests = [event.digest for event in parse_events(provider, payload, post_id=name)]
    turned = json.loads(json.dumps(payload, sort_keys=True))
    assert [event.digest for event in parse_events(provider, turned, post_id=name)] == digests
    others = {
        event.digest
        for other in CASES.keys() - {name}
        for event in parse_events(*corpus(other), post_id=other)
    }
    assert len({*digests, *others}) == len(digests) + len(others)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    provider=st.sampled_from(list(Provider)),
    name=st.sampled_from(sorted(CASES)),
    data=st.data(),
)
def test_values_of_any_shape_are_read(provider: Provider, name: str, data: st.DataObject) -> None:
    """A post of one provider at another's URL, and any value in place of any other."""
    payload = corpus(name)[1]
    place: Any = payload[0] if isinstance(payload, list) else payload
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    for event in parse_events(provider, payload):
        for recipient in event.report.recipients if event.report else ():
            assert "\0" not in (recipient.text or "")


@given(provider=st.sampled_from(list(Provider)), payload=JSON)
def test_any_json_is_read(provider: Provider, payload: Any) -> None:
    """A number, a text, a list of nulls."""
    assert all(event.report is None for event in parse_events(provider, payload))


@pytest.mark.parametrize(
    ("reply", "provider_id"),
    [
        (f"Ok {SES_ID}", SES_ID),
        (f"Ok {SES_ID[8:]}", SES_ID[8:]),  # shorter, as in the documentation of SES
        (f"Ok: queued as {SENDGRID_ID}", SENDGRID_ID),
        ("OK: queued as <2026.1@smtp-relay.mailin.fr>", "2026.1@smtp-relay.mailin.fr"),
        # Mail servers' own queue ids, which no webhook has.
        ("Ok: queued as 4bXyZk1Qz9z1R", None),
        ("Ok: queued as 6FB2C40457", None),
        ("Great success", None),
        ("OK id=1qAbCd-0001Xy-2Z", None),
        (f"Ok {SES_ID}\nand more", None),
        ("OK: queued as <" + "a" * 300 + "@example.com>", None),
        ("", None),
    ],
)
def test_the_id_in_a_reply(reply: str, provider_id: str | None) -> None:
    """In the shapes of the providers whose webhooks repeat it."""
    assert read_provider_message_id(reply) == provider_id


def test_only_postmark_needs_a_header_field() -> None:
    """It takes the field out again, and says it back."""
    fields = build_trace_fields("smtp.postmarkapp.com", MESSAGE)
    assert fields == {"X-PM-Metadata-heloise-id": MESSAGE}
    for host in (None, "smtp.example.com", "postmarkapp.com.example.net"):
        assert build_trace_fields(host, MESSAGE) == {}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/inbound/ses/s3cr3t", "/inbound/ses/…"),
        ("/inbound/other/s3cr3t/more", "/inbound/other/…"),
        ("/inbound/bounces", "/inbound/bounces"),
        ("/a-prefix/inbound/ses/s3cr3t", "/a-prefix/inbound/ses/…"),
        ("/messages/msg_1", "/messages/msg_1"),
    ],
)
def test_a_path_is_shown_without_its_token(path: str, shown: str) -> None:
    """Whatever stands behind the provider."""
    assert hide_token(path) == shown
