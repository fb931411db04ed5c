"""What is told to whoever manages a profile that does not work."""

from typing import Final

import pytest

from app.domain.outcome.hints import HINTS, explain
from app.domain.outcome.outcome import FailureScope, Outcome, Stage, Verdict
from app.domain.outcome.replies import Reply


def fault(
    stage: Stage, classification: str, reply: Reply | None = None, detail: str = ""
) -> Outcome:
    """A fault of the profile."""
    return Outcome(
        stage, Verdict.DEFER, classification, scope=FailureScope.PROFILE, reply=reply, detail=detail
    )


HELO: Final = Reply(504, "<[10.0.0.7]>: Helo command rejected: need fully-qualified", "5.5.2")
CASES: Final = [
    (
        fault(Stage.RCPT, "ehlo_rejected", HELO),
        (
            "At RCPT, the server replied: 504 5.5.2 <[10.0.0.7]>: Helo command rejected: need"
            " fully-qualified. The server refuses the EHLO name [10.0.0.7] (from:"
            " address_literal): set `ehlo_name` to a fully qualified domain name that this server"
            " accepts."
        ),
    ),
    (
        fault(Stage.AUTH, "auth_rejected", Reply(535, "Bad credentials.", "5.7.8")),
        (
            "At AUTH, the server replied: 535 5.7.8 Bad credentials. The server refuses the user"
            " name or the password: set `auth` again."
        ),
    ),
    (
        fault(Stage.DNS, "dns_not_found", detail="smtp.example.com is not in the DNS"),
        (
            "At DNS: smtp.example.com is not in the DNS. Set `host` to a name that exists in the"
            " DNS: check the spelling."
        ),
    ),
    (
        fault(Stage.BANNER, "timeout", detail="the server did not answer in time"),
        (
            "At greeting: the server did not answer in time. The server does not reply:"
            " check `host`, `port` and `tls`. Some servers delay unknown"
            " clients."
        ),
    ),
    (fault(Stage.BANNER, "internal_error"), "At greeting: internal_error"),
]


@pytest.mark.parametrize(("outcome", "text"), CASES)
def test_a_reason_quotes_the_server_and_says_what_to_change(outcome: Outcome, text: str) -> None:
    """In one paragraph."""
    assert explain(outcome, ehlo_name="[10.0.0.7]", ehlo_source="address_literal") == text


@pytest.mark.parametrize("classification", HINTS)
def test_every_hint_is_a_sentence_whatever_is_known(classification: str) -> None:
    """Even where the connection did not come as far as EHLO."""
    hint = explain(fault(Stage.EHLO, classification), ehlo_name=None, ehlo_source=None)
    assert hint.endswith(".")
    assert "None" not in hint
    assert not set("{}") & set(hint)


def test_braces_of_a_server_are_left_alone() -> None:
    """What it says is no template."""
    outcome = fault(Stage.EHLO, "ehlo_rejected", Reply(550, "{name} {0} {"))
    hint = explain(outcome, ehlo_name="mail.example.com", ehlo_source="profile")
    assert "550 {name} {0} {." in hint
    assert "mail.example.com" in hint
