"""Simulate outcomes of recipients without a server."""

from collections.abc import Mapping
from typing import Final

from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Fault, Outcome, Stage, Verdict
from app.domain.outcome.replies import COMPLETED, Reply

_DELIVERED: Final = Outcome(
    Stage.DOT,
    Verdict.DELIVERED,
    "simulated",
    reply=Reply(COMPLETED, "accepted by the simulator, not sent", "2.0.0"),
)


def _classify(failure: Failure) -> Outcome:
    return classify(failure, fresh=False, authenticated=True)


_BOUNCED: Final = _classify(
    Failure(Stage.RCPT, Reply(550, "the simulator has no such mailbox", "5.1.1"))
)
_DEFERRED: Final = _classify(
    Failure(Stage.RCPT, Reply(450, "the simulator accepts it at the next attempt", "4.2.0"))
)
_LOST: Final = _classify(
    Failure(
        Stage.DOT,
        fault=Fault.DISCONNECTED,
        detail="the simulator closed the connection without a reply",
    )
)

# By local part, up to a +: the outcomes of the first attempt and of later ones.
OUTCOMES: Final[Mapping[str, tuple[Outcome, Outcome]]] = {
    "success": (_DELIVERED, _DELIVERED),
    "bounce": (_BOUNCED, _BOUNCED),
    "defer": (_DEFERRED, _DELIVERED),
    "uncertain": (_LOST, _DELIVERED),
}


def simulate(address: str, attempts: int) -> Outcome:
    """Return the simulated outcome of an attempt; unknown local parts bounce."""
    name = address.partition("@")[0].partition("+")[0].lower()
    first, later = OUTCOMES.get(name, (_BOUNCED, _BOUNCED))
    return later if attempts else first
