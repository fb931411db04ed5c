"""`list_unsubscribe`: what stands in the header is what was meant, and comes back understood."""

from email import message_from_bytes, policy
from typing import Any, Final
from urllib.parse import unquote

import pytest

from tests.support.api_client import MESSAGE, PROFILE, Caller

ANN: Final = "ann@example.org"
RFC822: Final = {"Content-Type": "message/rfc822"}
NEWS: Final = "Neuigkeiten für alle"


async def header(caller: Caller, way: dict[str, Any], **fields: Any) -> list[str]:
    """The URIs in the header of a message that has this way to leave."""
    message = await caller.made("/messages", MESSAGE | {"list_unsubscribe": way} | fields)
    raw = (await caller("GET", f"/messages/{message['id']}/raw")).content
    value = message_from_bytes(raw, policy=policy.default)["List-Unsubscribe"]
    return [uri.strip(" <>") for uri in value.split(">,")]


@pytest.fixture
async def tenant(acme: Caller) -> Caller:
    """A tenant that can send."""
    await acme.made("/profiles", PROFILE | {"is_default": True})
    return acme


def answer(uri: str, *, is_subject_kept: bool = True, encode: Any = None) -> bytes:
    """The mail that a program writes for a `mailto:` (RFC 6068)."""
    address, _, fields = uri.removeprefix("mailto:").partition("?")
    params = dict(pair.split("=", 1) for pair in fields.split("&") if pair)
    subject = unquote(params.get("subject", "")) if is_subject_kept else ""
    to = unquote(address)
    return (
        f"From: Ann <{ANN}>\r\nTo: <{to}>\r\nSubject: {(encode or str)(subject)}\r\n\r\n"
    ).encode()


def encode_word(subject: str) -> str:
    """The subject as an encoded word."""
    from email.header import Header

    return Header(subject, "utf-8").encode()


@pytest.mark.parametrize("encode", [str, encode_word])
@pytest.mark.parametrize(
    ("mailto", "tag"),
    [
        ("u@example.com", None),
        ("mailto:u@example.com", None),
        ("MAILTO:u@example.com?Subject=Unsubscribe", None),
        ("u@example.com?subject=unsubscribe", None),
        ("u@example.com?subject=unsubscribe&body=please%20do", None),
        ("u+a=b?c&d%e@example.com", None),
        ("u@example.com?subject=unsubscribe%20news", "news"),
        ("u@example.com?subject=unsubscribe:News", "news"),
        ("u@example.com?subject=unsubscribe%20Neuigkeiten%20f%C3%BCr%20alle", NEWS),
        ("u@example.com?subject=unsubscribe%20no%20such%20tag", None),
    ],
)
async def test_each_form_of_the_address_comes_back_as_a_suppression(
    tenant: Caller, mailto: str, tag: str | None, encode: Any
) -> None:
    """For the messages with the tag, or for all where there is no such tag."""
    [uri] = await header(tenant, {"mailto": mailto}, tags=["news", NEWS])
    assert uri.isascii()
    response = await tenant(
        "POST", "/inbound/bounces", content=answer(uri, encode=encode), headers=RFC822
    )
    assert response.status_code == 200, response.text
    [recipient] = response.json()["recipients"]
    assert (recipient["kind"], recipient["suppressed"]) == ("unsubscribed", True)
    [suppression] = (await tenant.read("/suppressions"))["items"]
    assert (suppression["address"], suppression["tag"]) == (ANN, tag)


async def test_a_mail_of_nothing_leaves_too(tenant: Caller) -> None:
    """Some programs take the address alone; a mail that says something says something else."""
    [uri] = await header(tenant, {"mailto": "u@example.com"})
    blank = answer(uri, is_subject_kept=False)
    response = await tenant(
        "POST", "/inbound/bounces", content=blank + b"Hello?\r\n", headers=RFC822
    )
    assert response.status_code == 422
    left = await tenant("POST", "/inbound/bounces", content=blank, headers=RFC822)
    assert left.json()["recipients"][0]["suppressed"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("url", "written"),
    [
        (
            "https://example.com/u?a=>,<https://evil.example/",
            "https://example.com/u?a=%3E,%3Chttps://evil.example/",
        ),
        ("HTTPS://Example.COM/U?m=4%202", "https://example.com/U?m=4%202"),
        ("https://m\u00fcnchen.example/stra\u00dfe?x=\u00e4", None),
        ('https://example.com/a"b\\c^d`e{f}|g', "https://example.com/a%22b%5Cc%5Ed%60e%7Bf%7D%7Cg"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://[2001:db8::1]:8443/u", "https://[2001:db8::1]:8443/u"),
    ],
)
async def test_what_would_end_a_url_is_encoded(
    tenant: Caller, url: str, written: str | None
) -> None:
    """One URI goes in, and one stands in the header, in ASCII (RFC 3986)."""
    [value] = await header(tenant, {"url": url, "one_click": True})
    expected = "https://xn--mnchen-3ya.example/stra%C3%9Fe?x=%C3%A4"
    assert value == (written or expected)


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("way", "detail"),
    [
        ({"url": "https://example.com/a b"}, "%20"),
        ({"url": "https://exa<mple.com/"}, "whole URL"),
        ({"url": "https://example.com/" + "\u00e4" * 200}, "1220 bytes"),
        ({"url": "http://example.com/", "one_click": True}, "https://"),
        ({"mailto": "u@example.com?cc=eve@example.net"}, "subject= and body="),
        ({"mailto": "u@example.com?subject=leave"}, "`headers`"),
        ({"mailto": "u@example.com,v@example.com"}, "its own item"),
        ({"mailto": "u"}, "no @"),
    ],
)
async def test_values_that_break_the_header_are_refused(
    tenant: Caller, way: dict[str, Any], detail: str
) -> None:
    """With what to write instead."""
    response = await tenant("POST", "/messages", MESSAGE | {"list_unsubscribe": way})
    assert response.status_code == 422
    assert detail in response.json()["errors"][0]["msg"]
