"""A server's reply as a value (RFC 5321 section 4.2, RFC 3463)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome.replies import MAX_TEXT_CHARACTERS, Reply, make_printable


@pytest.mark.parametrize(
    ("code", "message", "enhanced_code", "text"),
    [
        (250, "2.0.0 Ok: queued as 4XyZ", "2.0.0", "Ok: queued as 4XyZ"),
        (250, "OK id=1tXyZ-000", None, "OK id=1tXyZ-000"),
        (550, "5.1.1 No such user", "5.1.1", "No such user"),
        (550, "5.1.1", "5.1.1", ""),
        (550, "5.7.515\tAccess denied", "5.7.515", "Access denied"),
        (550, "5.1.1 No\n5.1.1 such\n5.1.1 user", "5.1.1", "No\nsuch\nuser"),
        (550, "5.1.1 see\nsection 5.7.1 of it", "5.1.1", "see\nsection 5.7.1 of it"),
        (550, "No such user 5.1.1 here", None, "No such user 5.1.1 here"),
        (550, "5.1.1.1 no code", None, "5.1.1.1 no code"),
        (550, "3.1.1 no class", None, "3.1.1 no class"),
        (354, "", None, ""),
        (220, "2.2", None, "2.2"),
    ],
)
def test_the_enhanced_code_is_parsed_from_the_text(
    code: int, message: str, enhanced_code: str | None, text: str
) -> None:
    """Where it stands: at the beginning of each line, and nowhere else."""
    assert Reply.parse(code, message) == Reply(code, text, enhanced_code)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (199, ""),
        (200, "positive"),
        (250, "positive"),
        (299, "positive"),
        (300, "intermediate"),
        (354, "intermediate"),
        (399, "intermediate"),
        (400, "refusal"),
        (421, "refusal"),
        (499, "refusal"),
        (500, "refusal permanent"),
        (599, "refusal permanent"),
        (600, ""),
        (25, ""),
        (-1, ""),
    ],
)
def test_the_first_digit_says_how_it_went(code: int, kind: str) -> None:
    """RFC 5321 section 4.2.1; what is outside of it is none of them."""
    reply = Reply(code, "", "5.0.0")
    kinds = [
        word
        for word in ("positive", "intermediate", "refusal", "permanent")
        if getattr(reply, f"is_{word}")
    ]
    assert " ".join(kinds) == kind


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        (Reply(250, "Ok", "2.0.0"), "250 2.0.0 Ok"),
        (Reply(550, "No\nsuch user"), "550 No such user"),
        (Reply(354, ""), "354"),
    ],
)
def test_a_reply_is_written_on_one_line(reply: Reply, written: str) -> None:
    """As a person reads it."""
    assert str(reply) == written


@given(st.integers(200, 599), st.text(max_size=60))
def test_no_reply_brings_control_characters_along(code: int, message: str) -> None:
    """Whatever a server says may stand in a log, a database and a terminal."""
    reply = Reply.parse(code, message)
    for line in reply.text.split("\n"):
        assert make_printable(line) == line
        assert not any(ord(character) < 32 for character in line)
        line.encode()
    assert len(reply.text) <= MAX_TEXT_CHARACTERS


def test_a_long_reply_is_cut() -> None:
    """What is beyond is no use to anybody."""
    assert len(Reply.parse(550, "x" * 30_000).text) == MAX_TEXT_CHARACTERS
