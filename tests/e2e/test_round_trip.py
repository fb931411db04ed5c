"""What was asked for is what another parser reads, after a real wire: whatever it was."""

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain.types import NamedAddress
from tests.support.harness import Heloise
from tests.support.servers.smtp_server import SmtpServer
from tests.unit.mime.test_build import named_addresses

COUNT: Final = 150
# What a line of a header may hold: no control character, no half of a pair, no separator of lines.
LINE: Final = st.characters(
    exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"], exclude_characters="\u034f"
)
WORDS: Final = st.text(LINE, min_size=1, max_size=60).map(lambda words: " ".join(words.split()))
NAMES: Final = WORDS.filter(bool)
TEXTS: Final = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300
)
MAILBOXES: Final = st.builds(
    lambda number, name: {"email": f"p{number}@example.org", "name": name},
    st.integers(0, 99_999),
    NAMES,
)
TYPES: Final = ["application/pdf", "image/png", "text/csv", "application/octet-stream"]
FILES: Final = st.builds(
    lambda name, kind, content: {
        "filename": name,
        "content_type": kind,
        "content": base64.b64encode(content).decode(),
    },
    NAMES.filter(lambda name: not set(name) & set('/\\"') and name.strip(". ") == name),
    st.sampled_from(TYPES),
    st.binary(max_size=200),
)
MESSAGES: Final = st.fixed_dictionaries(
    {
        "to": st.lists(
            MAILBOXES, min_size=1, max_size=4, unique_by=lambda mailbox: mailbox["email"]
        ),
        "subject": WORDS,
        "text": TEXTS,
        "headers": st.dictionaries(st.sampled_from(["X-Campaign", "X-Kind"]), NAMES),
    },
    optional={"html": TEXTS, "attachments": st.lists(FILES, max_size=3)},
)


def draw_messages() -> list[dict[str, Any]]:
    """Messages as hypothesis makes them up, the odd ones among them."""
    messages = list[dict[str, Any]]()

    @settings(
        max_examples=COUNT,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(MESSAGES)
    def keep(message: dict[str, Any]) -> None:
        messages.append(message)

    keep()
    return messages


def lines(text: str) -> list[str]:
    """The lines of a text, whose ends are the wire's, without the last one's."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def content_of(part: Any) -> Any:
    """The text of a part with all of its line ends, or a file's bytes."""
    payload = part.get_payload(decode=True)
    return payload.decode("utf-8")


def check(requested: dict[str, Any], mime: bytes) -> None:
    """Everything that was asked for stands in the message as it was asked for."""
    parsed_mail = message_from_bytes(mime, policy=policy.SMTP)
    assert isinstance(parsed_mail, EmailMessage)
    assert parsed_mail["Subject"] == requested["subject"]
    assert [address.addr_spec for address in parsed_mail["To"].addresses] == [
        e["email"] for e in requested["to"]
    ]
    # The newer parser of the standard library puts a blank between two encoded words of a name.
    assert named_addresses(mime, "To") == [
        NamedAddress(mailbox["email"], mailbox["name"]) for mailbox in requested["to"]
    ]
    for name, value in requested["headers"].items():
        assert parsed_mail[name] == value
    for part in parsed_mail.walk():
        assert part.defects == []
    text = parsed_mail.get_body(("plain",))
    assert lines(content_of(text)) == lines(requested["text"])
    if "html" in requested:
        assert lines(content_of(parsed_mail.get_body(("html",)))) == lines(requested["html"])
    files = [
        (
            attachment.get_filename(),
            attachment.get_content_type(),
            attachment.get_payload(decode=True),
        )
        for attachment in parsed_mail.iter_attachments()
    ]
    assert files == [
        (file["filename"], file["content_type"], base64.b64decode(file["content"]))
        for file in requested.get("attachments", [])
    ]


@pytest.mark.one_database
async def test_what_was_asked_for_is_what_arrives(heloise: Heloise, server: SmtpServer) -> None:
    """Names, scripts, texts, pages and files, each message to its recipients and no others."""
    acme = await heloise.tenant()
    await acme.profile("main", server.port)
    requested = draw_messages()
    messages_by_header = dict[str, dict[str, Any]]()
    for at in range(0, len(requested), 50):
        part = requested[at : at + 50]
        answer = await acme("POST", "/messages/batch", {"messages": part})
        for message, result in zip(part, answer.json()["results"], strict=True):
            assert result["status"] == 202, (message, result["problem"])
            messages_by_header[result["message"]["message_id_header"]] = message
    received = await server.wait_for_messages(len(messages_by_header))
    assert len(received) == len(messages_by_header) >= COUNT // 2
    for mail in received:
        message = messages_by_header.pop(str(message_from_bytes(mail.data)["Message-ID"]))
        assert mail.recipients == [to["email"] for to in message["to"]]
        check(message, mail.data)
    assert messages_by_header == {}
