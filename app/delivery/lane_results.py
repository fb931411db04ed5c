"""Report the results of a lane's messages, and apply them to the lane's state."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from app.delivery.attempt import Attempts
from app.delivery.lane_config import LaneConfig
from app.delivery.lane_state import LaneEvent, LaneMachine, LaneState
from app.delivery.local_connection_limit import ConnectionLimit
from app.delivery.settler import ProfileFault, Settler
from app.domain.outcome.hints import explain
from app.domain.outcome.outcome import Outcome
from app.domain.types import Profile
from app.smtp.identity import ConnectionFacts
from app.store.outbox.claims import ClaimedMessage

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LaneResults:
    """Hands results to the settler; `probe_id` is the message that is the probe."""

    machine: LaneMachine
    limit: ConnectionLimit
    settler: Settler
    probe_id: str | None = None

    def begin_probe(self, message: ClaimedMessage) -> None:
        """Record the message that tests whether the fault is over."""
        self.machine.apply(LaneEvent.PROBE_CLAIMED)
        self.probe_id = message.id

    def end_probe(self) -> None:
        """Record that no message is in hand, so no probe either."""
        if self.machine.state is LaneState.PROBING:
            self.machine.apply(LaneEvent.PROBE_ENDED)

    def _is_probe(self, attempts: Attempts) -> bool:
        return self.machine.state is LaneState.PROBING and attempts.message.id == self.probe_id

    def settle(self, attempts: Attempts, config: LaneConfig) -> None:
        """Report a message; a probe that the server answered ends the fault."""
        recovered_profile_id = None
        if self._is_probe(attempts):
            self.machine.apply(LaneEvent.PROBE_ENDED)
            # Some recipients are decided without contacting the server.
            if attempts.outcomes and attempts.facts.host is not None:
                recovered_profile_id = config.profile.id
                log.info("profile recovered", extra=_name(config.profile))
        self.settler.submit(
            attempts,
            config.profile,
            recovered_profile_id=recovered_profile_id,
            observed_concurrency=self.limit.take_observed(config.profile.id),
        )

    def fail(
        self, attempts: Attempts, fault: Outcome, config: LaneConfig, released: Sequence[str]
    ) -> None:
        """Report the profile's fault that stopped a message, and the released messages."""
        facts, profile = attempts.facts, config.profile
        text = explain(fault, ehlo_name=facts.ehlo_name, ehlo_source=facts.ehlo_source)
        log.warning("profile failing: %s", text, extra=_describe(profile, fault, facts))
        profile_fault = ProfileFault(
            profile_id=profile.id,
            revision=attempts.revision,
            code=fault.classification,
            reason=text,
            is_probe=self._is_probe(attempts),
            released=tuple(released),
            machine=self.machine,
        )
        self.machine.apply(LaneEvent.FAULT)
        self.settler.submit(
            attempts,
            profile,
            fault=profile_fault,
            observed_concurrency=self.limit.take_observed(profile.id),
        )


def _name(profile: Profile) -> dict[str, object]:
    return {"tenant_id": profile.tenant_id, "profile_id": profile.id, "profile": profile.name}


def _describe(profile: Profile, fault: Outcome, facts: ConnectionFacts) -> dict[str, object]:
    """Return the fields of a fault's log line, for programs that read logs."""
    reply = fault.reply
    fields = {
        "code": fault.classification,
        "stage": fault.stage.value,
        "host": profile.host,
        "port": profile.port,
        "remote_address": facts.remote_address,
        "ehlo_name": facts.ehlo_name,
        "reply_code": reply and reply.code,
        "enhanced_code": reply and reply.enhanced_code,
    }
    return _name(profile) | {name: value for name, value in fields.items() if value is not None}
