"""Whom a server is told, of a message's recipients."""

from dataclasses import replace

import pytest

from app.delivery.attempt import Attempts
from app.domain.tenants.routing import RecipientRule, Routing
from tests.delivery.builders import NOW, claimed_message, queued_recipient

ANN, BOB, EVE = "ann@example.org", "bob@Mail.Example.org", "eve@simulator.test"
STAGING = "staging@example.com"


def addresses_of(*rules: RecipientRule) -> list[str]:
    """The addresses of the turn of a message to all three."""
    message = claimed_message(*(queued_recipient(n, to) for n, to in enumerate((ANN, BOB, EVE))))
    attempts = Attempts(message, routing=Routing(rules, "simulator.test"))
    turn = attempts.take_turn(NOW)
    return [] if turn is None else list(turn.mail.recipients)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], [ANN, BOB]),
        ([RecipientRule()], [ANN, BOB]),
        ([RecipientRule(STAGING)], [STAGING]),
        ([RecipientRule(None, ("example.org",))], [ANN]),
        ([RecipientRule(None, ("*.example.org",))], [BOB]),
        ([RecipientRule(STAGING, ("example.org",))], [ANN, STAGING]),
        ([RecipientRule(STAGING), RecipientRule(None, ("example.com",))], [STAGING]),
        ([RecipientRule(STAGING), RecipientRule(None, ("example.org",))], []),
        ([RecipientRule(STAGING), RecipientRule("ops@example.net")], ["ops@example.net"]),
        ([RecipientRule("ops@example.net"), RecipientRule("ops@example.net")], ["ops@example.net"]),
    ],
)
def test_each_rule_has_its_say(rules: list[RecipientRule], expected: list[str]) -> None:
    """The tenant's, then the service's; the simulator is no server's."""
    assert addresses_of(*rules) == expected


def test_of_a_message_that_cannot_be_read_no_server_hears() -> None:
    """Not even its envelope, which might be begun while another message is sent."""
    attempts = Attempts(replace(claimed_message(), unreadable_reason="sealed under another key"))
    assert attempts.begin_next(NOW) is None
