"""DKIM signatures, as another implementation reads them (RFC 6376, RFC 8463)."""

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.mime.dkim import (
    DkimAlgorithm,
    DkimKey,
    DkimSigner,
    Signing,
    find_record_problem,
    find_superseded,
    generate_key,
    load_key,
)

NOW = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
RSA, ED25519 = DkimAlgorithm


def make_signer(algorithm: DkimAlgorithm, **fields: object) -> tuple[DkimKey, DkimSigner]:
    """A key, and what signs with it for example.com."""
    pem, public = generate_key(algorithm)
    values = {"id": f"dkm_{algorithm}", "selector": f"s{algorithm.key_type}", "created_at": NOW}
    key = DkimKey(algorithm=algorithm, public_key=public, **values | fields)
    return key, DkimSigner("example.com", key.selector, algorithm, load_key(pem))


KEYS = [make_signer(dkim_algorithm) for dkim_algorithm in DkimAlgorithm]
RECORDS = {key.record_name("example.com"): key.record for key, _ in KEYS}
SIGNING = Signing({"example.com": tuple(signer for _, signer in KEYS)})


def verdicts(mime: bytes) -> list[bool]:
    """What dkimpy says of each signature."""

    def record(name: bytes, timeout: int = 5) -> bytes:
        assert timeout
        return RECORDS[name.decode().rstrip(".")].encode()

    def holds(number: int) -> bool:
        try:
            return bool(dkim.DKIM(mime).verify(idx=number, dnsfunc=record))
        except dkim.ValidationError:
            return False

    count = mime.partition(b"\r\n\r\n")[0].count(b"DKIM-Signature:")
    return [holds(number) for number in range(count)]


def message(body: bytes = b"Hello.\r\n", **fields: str) -> bytes:
    """A message with these header fields, each as it stands."""
    header = {"From": "Ann <ann@example.com>", "To": "bob@example.org", "Subject": "Hi"} | fields
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in header.items())
    return lines.encode() + b"\r\n" + body


@settings(max_examples=60)
@given(
    body=st.lists(st.sampled_from(["a", "b  ", "\t", " ", "", ".", "é" * 30, "-- "]), max_size=8),
    subject=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=90),
)
def test_both_signatures_hold(body: list[str], subject: str) -> None:
    """Whatever the body, its blanks and its empty lines, and however the header is folded."""
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = "ann@example.com", "bob@example.org", subject
    header = made.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[0]
    mime = header + b"\r\n\r\n" + "".join(f"{line}\r\n" for line in body).encode()
    signed = SIGNING.sign(mime, "example.com", NOW)
    assert signed.endswith(mime)
    assert verdicts(signed) == [True, True]
    assert max(map(len, signed.removesuffix(mime).split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Hi", b"Subject: Ho"),
        (b"Ann <ann@", b"Eve <ann@"),
        (b"Hello.", b"Hello!"),
        (b"To: bob", b"Reply-To: eve@example.net\r\nTo: bob"),
        (b"From: Ann", b"From: eve@example.net\r\nFrom: Ann"),
        (b"Subject: Hi", b"Subject: Hi\r\nSubject: Ho"),
    ],
)
def test_a_change_breaks_them(before: bytes, after: bytes) -> None:
    """Of what a reader is shown, or by a field that was added to it."""
    signed = SIGNING.sign(message(), "example.com", NOW)
    assert before in signed
    assert verdicts(signed.replace(before, after)) == [False, False]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Hello.\r\n", b"Hello. \r\n"),
        (b"Hello.\r\n", b"Hello.\r\n\r\n\r\n"),
        (b"Subject: Hi", b"subject:   Hi"),
        (b"From: Ann", b"Received: from a by b\r\nFrom: Ann"),
    ],
)
def test_what_servers_do_to_a_message_does_not(before: bytes, after: bytes) -> None:
    """Blanks, empty lines at the end, fields of their own."""
    signed = SIGNING.sign(message(), "example.com", NOW)
    assert verdicts(signed.replace(before, after)) == [True, True]


def test_what_one_click_needs_is_signed() -> None:
    """RFC 8058 section 4."""
    fields = {"List_Unsubscribe": "<https://example.com/u>", "List_Unsubscribe_Post": "x=y"}
    signed = SIGNING.sign(message(**fields), "example.com", NOW)
    for name in (b"list-unsubscribe:", b"list-unsubscribe-post"):
        assert name in signed.partition(b"From:")[0].replace(b"\r\n ", b"")
    assert verdicts(signed.replace(b"example.com/u", b"example.net/u")) == [False, False]


@pytest.mark.parametrize(
    ("sender", "is_signed"),
    [
        ("example.com", True),
        ("mail.example.com", True),
        ("a.b.example.com", True),
        ("example.org", False),
        ("notexample.com", False),
        ("com", False),
    ],
)
def test_a_domain_is_signed_by_itself_or_the_nearest_above(sender: str, is_signed: bool) -> None:  # noqa: FBT001 - a column of the table
    """And by no other."""
    signed = SIGNING.sign(message(), sender, NOW)
    assert signed.startswith(b"DKIM-Signature:") is is_signed


def test_the_nearest_domain_wins() -> None:
    """Its own keys come before those of the domain above it."""
    own = DkimSigner("mail.example.com", "own", RSA, KEYS[0][1].key)
    signing = Signing({**SIGNING.by_domain, "mail.example.com": (own,)})
    assert [signer.domain for signer in signing.find_signers("mail.example.com")] == [
        "mail.example.com"
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text, None),
        (lambda text: text.replace("v=DKIM1; ", ""), None),
        (lambda text: text.replace("; ", " ;  ") + ";", None),
        (lambda text: text + "; s=email; h=sha256:sha1; n=note", None),
        (lambda text: text[:80] + " " + text[80:], None),
        (lambda text: text.replace("DKIM1", "DKIM2"), "v=DKIM2"),
        (lambda text: text.replace("k=rsa", "k=ed25519"), "k=ed25519"),
        (lambda text: text.replace("p=MII", "p=MIJ"), "another key"),
        (lambda text: text[: len(text) // 2], "another key"),
        (lambda _: "v=DKIM1; p=", "another key"),
        (lambda _: "v=spf1 -all", "no tag p"),
        (lambda text: text + "; s=tlsrpt", "not for mail"),
        (lambda text: text + "; h=sha1", "forbids SHA-256"),
    ],
)
def test_an_error_in_a_record_is_explained(change: object, problem: str | None) -> None:
    """Nothing, or the first thing that a verifier would stumble over."""
    assert callable(change)
    key = KEYS[0][0]
    error = find_record_problem(key, [change(key.record)])
    assert error is None if problem is None else problem in str(error)


def test_one_record_that_is_right_is_enough() -> None:
    """Others beside it do no harm; none at all is told."""
    key = KEYS[0][0]
    assert find_record_problem(key, ["v=spf1 -all", key.record]) is None
    assert "no such TXT record" in str(find_record_problem(key, []))


def test_the_newest_of_each_algorithm_signs() -> None:
    """Only what is active counts: a key whose record is missing takes over from none."""
    old = [
        make_signer(dkim_algorithm, id=f"dkm_1{dkim_algorithm}", found_at=NOW)[0]
        for dkim_algorithm in DkimAlgorithm
    ]
    new = make_signer(RSA, id="dkm_2", found_at=NOW)[0]
    waiting = make_signer(ED25519, id="dkm_3")[0]
    assert find_superseded([*old, new, waiting]) == {old[0].id}
    assert find_superseded(old) == set()
