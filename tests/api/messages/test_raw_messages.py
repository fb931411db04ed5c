"""`POST /messages/raw`: what somebody else made is bounded, and has one sender for all readers."""

from typing import Any

import pytest

from tests.support.api_client import PROFILE, Caller

pytestmark = pytest.mark.one_database
RFC822 = {"Content-Type": "message/rfc822"}
FROM = b"From: a@example.com\r\n"


@pytest.fixture
async def sender(acme: Caller) -> Caller:
    """A caller whose profile sends as example.com alone."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": ["*@example.com"]})
    return acme


async def post(sender: Caller, header: bytes, body: bytes = b"Hi.\r\n") -> Any:
    """The answer to a message with this header."""
    return await sender(
        "POST",
        "/messages/raw?to=ann@example.org",
        content=header + b"\r\n" + body,
        headers=RFC822,
    )


def parts(depth: int) -> bytes:
    """Parts within parts."""
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(depth)
    )


TOO_COMPLEX: dict[str, tuple[bytes, bytes]] = {
    "its header has 70,024 bytes; at most 65,536 are allowed": (
        FROM + (b"X-A: " + b"a" * 993 + b"\r\n") * 70 + b"b\r\n",
        b"",
    ),
    "its header has 601 fields; at most 500 are allowed": (FROM + b"X: y\r\n" * 600, b""),
    "its field Subject has 40,000 bytes; at most 32,768 are allowed": (
        FROM + b"Subject:" + b"\r\n ".join([b"a" * 799] * 50) + b"a\r\n",
        b"",
    ),
    "its field Subject has 600 encoded words; at most 500 are allowed": (
        FROM + b"Subject:" + b"\r\n =?utf-8?q?a?=" * 600 + b"\r\n",
        b"",
    ),
    "its field Content-Type has 101 parameters; at most 100 are allowed": (
        FROM + b"Content-Type: multipart/report" + b";\r\n a*1=b" * 101 + b"\r\n",
        b"",
    ),
    "it has 1,001 parts or more; at most 1,000 are allowed": (
        FROM + b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"--b\r\n\r\n" * 1100,
    ),
    "its parts are nested too deeply; at most 20 levels are allowed": (
        FROM + b"Content-Type: multipart/mixed; boundary=a\r\n",
        b"--a\r\n" + parts(30),
    ),
}


async def refusal(sender: Caller, header: bytes, body: bytes = b"Hi.\r\n") -> str:
    """Why a message is refused."""
    answer = await post(sender, header, body)
    assert answer.status_code == 422, (header, answer.text)
    [error] = answer.json()["errors"]
    assert error["loc"] == ["body", "message"]
    return str(error["msg"])


async def test_a_message_beyond_a_bound_is_refused_with_the_bound(sender: Caller) -> None:
    """Before anything else reads it."""
    for reason, (header, body) in TOO_COMPLEX.items():
        assert await refusal(sender, header, body) == reason


AMBIGUOUS = [
    "a@example.com, e@bank.example",
    "<a@example.com> <e@bank.example>",
    "a@example.com; e@bank.example",
    "a@example.com e@bank.example",
    "a@example.com <e@bank.example",
    "e@bank.example <a@example.com>",
    '"x" e@bank.example <a@example.com>',
    "<@bank.example,@example.net:a@example.com>",
    "<e@bank.example>a@example.com",
    "(e@bank.example a@example.com",
    "a@example.com (e@bank.example)",
    "(x) <e@bank.example> a@example.com (y",
    "Ann (work) <a@example.com>",
    '"e@bank.example <a@example.com>',
    '"\\" <e@bank.example> <a@example.com>',
    "bank: a@example.com;",
    "bank: e@bank.example;, a@example.com",
    "a@example.com@bank.example",
    "a@exam ple.com",
    "a @example.com",
    "a@[192.0.2.1]",
    "a@ｅxample.com",
    "=?utf-8?q?e=40bank.example?= <a@example.com>",
    "=?utf-8?q?e=40bank.example=3E=2C?= <a@example.com>",
    '"=?utf-8?q?=22_=3Ce=40bank.example=3E?=" <a@example.com>',
    "=?utf-8?q?e=00?= <a@example.com>",
    "a@example.com (=?utf-8?q?=29=3Ce=40bank.example=3E?=)",
    "\r\n \r\n <e@bank.example>, a@example.com",
    "A\x01 <a@example.com>",
    "A\u202e <a@example.com>",
    "",
    "Ann",
]


@pytest.mark.parametrize("name", ["From", "Sender"])
async def test_a_sender_that_readers_might_read_differently_is_refused(
    sender: Caller, name: str
) -> None:
    """Whatever address the profile allows stands in it too."""
    for value in AMBIGUOUS:
        field = f"{name}: {value}\r\n".encode()
        await refusal(sender, field if name == "From" else FROM + field)


PLAIN = [
    ("a@example.com", "a@example.com"),
    ("<a@example.com>", "a@example.com"),
    ("Ann Lee <a@EXAMPLE.com>", "Ann Lee <a@example.com>"),
    ("John Q. Public <a@example.com>", '"John Q. Public" <a@example.com>'),
    ('"Lee, Ann <x@y>" <a@example.com>', '"Lee, Ann <x@y>" <a@example.com>'),
    ("Ann\r\n <a@example.com>", "Ann <a@example.com>"),
    ("a@example.com (Cron Daemon)", "Cron Daemon <a@example.com>"),
    ("=?utf-8?q?J=C3=BC?=\r\n =?utf-8?q?rgen?= <a@example.com>", "Jürgen <a@example.com>"),
    ("=?iso-8859-1?b?Sg?= =?utf-8?q?=C3=BC?= <a@example.com>", "Jü <a@example.com>"),
    ("Jürgen <a@example.com>", "Jürgen <a@example.com>"),
    ("a@bücher.example.com", "a@xn--bcher-kva.example.com"),
]


async def test_one_plain_mailbox_is_read(acme: Caller) -> None:
    """In the forms that mailers write; two encoded words have no blank between them."""
    await acme.made("/profiles", PROFILE | {"is_default": True, "allowed_from": []})
    for value, expected in PLAIN:
        answer = await post(acme, f"From: {value}\r\n".encode())
        assert answer.status_code == 202, answer.text
        assert answer.json()["from"] == expected


NOT_WRITTEN = [
    ("Subject : x", "a blank before a colon: 'Subject :'; write 'Subject:'"),
    ("From : e@bank.example", "a blank before a colon: 'From :'; write 'From:'"),
    (" From: e@bank.example", "line that is not a field: ' From: e@bank.example'"),
    ("X-A: b\r\n \t", "line that is not a field"),
    ("X-A: b\x0b", "the header contains a control character"),
    ("Resent-From: e@bank.example", "has Resent-From: send the message with your own From"),
    ("Resent-Sender: e@bank.example", "has Resent-Sender"),
    ("resent-bcc: e@bank.example", "has Resent-Bcc"),
    ("Authentication-Results: mx.example.org; dkim=pass", "has Authentication-Results"),
    ("ARC-Seal: i=1; cv=none", "has Arc-Seal: receiving servers write this header"),
    ("ARC-Authentication-Results: i=1; spf=pass", "has Arc-Authentication-Results"),
    ("Received-SPF: pass", "has Received-Spf"),
    ("Return-Path: <e@bank.example>", "has Return-Path"),
    ("DKIM-Signature: v=1; d=bank.example; b=x", "a DKIM-Signature is by bank.example"),
    ("DKIM-Signature: v=1; d=example.com; d=bank.example", "is by bank.example"),
    ("DKIM-Signature: v=1; d=notexample.com; b=x", "is by notexample.com"),
    ("Message-ID:", "not a Message-ID; write <something@example.com>"),
    ("Message-ID: abc@host", "not a Message-ID; write <something@example.com>"),
    ("Message-ID: <" + "a" * 600 + "@b.example>", "write at most 512"),
    ("\r\n".join(["Received: from a by b"] * 51), "51 Received"),
]


async def test_a_field_that_a_sender_does_not_write_is_refused(sender: Caller) -> None:
    """With what to do instead."""
    for field, reason in NOT_WRITTEN:
        header = f"{field}\r\n".encode()
        is_first = field.startswith(" ")
        assert reason in await refusal(sender, header + FROM if is_first else FROM + header)


HARMLESS = [
    "Received: from a by b; Thu, 15 Jan 2026 09:30:00 +0100",
    "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; b=x",
    "DKIM-Signature: v=1; a=rsa-sha256; d=mail.example.com; b=x",
    "DKIM-Signature: v=1; a=rsa-sha256; b=x",
    "Reply-To: e@bank.example",
]


async def test_a_field_that_deceives_nobody_stays(sender: Caller) -> None:
    """The hops before Heloise, and signatures of From's own domain."""
    for field in HARMLESS:
        message = (await post(sender, FROM + f"{field}\r\n".encode())).json()
        content = (await sender("GET", f"/messages/{message['id']}/raw")).content
        assert f"{field}\r\n".encode() in content


async def test_a_subject_is_read_as_it_is_shown(sender: Caller) -> None:
    """A character that two encoded words share is whole; a control character is none."""
    words = b"=?utf-8?b?R3LDvMM=?=\r\n =?utf-8?b?n2U=?= =?x?q?a?= =?utf-8?q?=00=0A?="
    answer = await post(sender, FROM + b"Subject: " + words + b"\r\n")
    assert answer.status_code == 202, answer.text
    assert answer.json()["subject"] == "Grüße =?x?q?a?= \N{REPLACEMENT CHARACTER} "
