"""Send one message through a pooled or new session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.delivery.attempt import Attempts, transact
from app.delivery.classification import TransactionResult
from app.delivery.engine_parts import EngineParts
from app.delivery.lane_config import LaneConfig
from app.domain.clock import monotonic_seconds
from app.domain.delivery.simulator import simulate
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, FailureScope, Fault, Outcome, Stage, Verdict
from app.domain.outcome.replies import COMPLETED, Reply
from app.domain.types import Transport
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.pool import Pool
from app.smtp.session import NextMail, Session
from app.smtp.session_opening import OpenFailure, make_open_failure, open_session
from app.smtp.transcript import Transcript
from app.store.outbox.claims import ClaimedRecipient

CAPTURED: Final = Outcome(
    Stage.DOT,
    Verdict.DELIVERED,
    "captured",
    reply=Reply(COMPLETED, "captured by the sandbox, not sent", "2.0.0"),
)


NOT_ALLOWED: Final = Outcome(
    Stage.RCPT,
    Verdict.BOUNCE,
    "recipient_not_allowed",
    scope=FailureScope.RECIPIENT,
    detail="this tenant or installation does not send to this domain (allowed_recipient_domains)",
)
UNREADABLE: Final = Outcome(
    Stage.MAIL, Verdict.DEFER, "content_unreadable", scope=FailureScope.MESSAGE
)


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends through a lane's pool, and notes extensions that the server announces but breaks."""

    pool: Pool
    parts: EngineParts

    async def attempt(
        self,
        attempts: Attempts,
        session: Session | None,
        config: LaneConfig,
        next_mail: NextMail | None = None,
    ) -> Session | None:
        """Work on one message; returns the session if it can carry another.

        `next_mail` returns the mail that follows in the session.
        """
        now = self.parts.clock.now()
        self._decide_locally(attempts, attempts.list_pending(now))
        pending = attempts.list_pending(now)
        if not pending:
            return session
        if config.profile.transport is Transport.SANDBOX:
            self._decide(attempts, dict.fromkeys(pending, CAPTURED))
            return None
        if config.identity is None:
            attempts.fault = config.fault
            return session
        while True:
            attempts.session = None
            session = await self._get_session(attempts, config, config.identity, session)
            if session is None:
                return None
            attempts.facts, attempts.session = session.facts, session
            has_room = session.transactions + 2 <= self.pool.max_messages
            then = next_mail if has_room else None
            try:
                await transact(
                    attempts, session, self.parts.recorder, self.parts.settler.allow_body, then
                )
            except BaseException:
                session.abort()
                raise
            if session.distrusted and self.parts.distrust.add(config.identity, session.distrusted):
                self.pool.retire_idle()
            # After a fault of the connection only, try a new connection at once.
            if attempts.fault is None or attempts.fault.scope is not FailureScope.CONNECTION:
                return session if session.is_open else None

    async def _get_session(
        self, attempts: Attempts, config: LaneConfig, identity: Identity, session: Session | None
    ) -> Session | None:
        """Get a session for the message: the current, a warm, or a new one."""
        if session is not None:
            if self.pool.is_fit(session, identity) and attempts.can_use(session):
                return session
            self.pool.retire(session)
        if (warm := await self.pool.take(identity)) is not None:
            return warm
        started_at, start = self.parts.clock.now(), monotonic_seconds()
        result = await self._open_session(config, identity)
        if isinstance(result, Session):
            return result
        self._record_not_opened(attempts, result, started_at, monotonic_seconds() - start)
        return None

    async def _open_session(self, config: LaneConfig, identity: Identity) -> Session | OpenFailure:
        """Open a session, with an access token if the profile uses OAuth 2.0."""
        profile, tokens = config.profile, config.tokens
        token = None
        if tokens is not None and profile.oauth is not None and identity.wants_auth:
            token_or_failure = await tokens.get(profile)
            if isinstance(token_or_failure, Failure):
                return make_open_failure(identity, token_or_failure, Transcript())
            token = token_or_failure
        result = await open_session(
            identity,
            self.parts.network,
            distrusted=self.parts.distrust.get(identity),
            token=token,
        )
        is_rejected = (
            isinstance(result, OpenFailure) and result.failure.fault is Fault.TOKEN_REJECTED
        )
        if is_rejected and tokens is not None and token is not None:
            await tokens.invalidate(profile, token)
        return result

    def _record_not_opened(
        self, attempts: Attempts, opening: OpenFailure, started_at: datetime, seconds: float
    ) -> None:
        fault = classify(opening.failure, fresh=True, authenticated=False)
        attempts.fault, attempts.facts = fault, opening.facts
        row = self.parts.recorder.build_row(
            attempts.message,
            opening.facts,
            TransactionResult(outcomes={}, fault=fault),
            started_at=started_at,
            seconds=seconds,
            via=attempts.via,
            transcript=opening.transcript,
        )
        attempts.rows.append(row)

    def _decide_locally(self, attempts: Attempts, pending: Sequence[ClaimedRecipient]) -> None:
        """Decide recipients without a server: unreadable, simulated or not allowed."""
        if attempts.message.unreadable_reason is not None:
            fault = replace(UNREADABLE, detail=attempts.message.unreadable_reason)
            self._decide(attempts, dict.fromkeys(pending, fault))
            return
        routing = attempts.routing
        self._decide(
            attempts,
            {
                recipient: simulate(recipient.address, recipient.attempts)
                if routing.is_simulated(recipient.address)
                else NOT_ALLOWED
                for recipient in pending
                if attempts.find_destination(recipient) is None
            },
        )

    def _decide(self, attempts: Attempts, outcomes: Mapping[ClaimedRecipient, Outcome]) -> None:
        """Record outcomes that needed no server."""
        if not outcomes:
            return
        attempts.outcomes |= {to.position: outcome for to, outcome in outcomes.items()}
        result = TransactionResult(
            outcomes={to.address: outcome for to, outcome in outcomes.items()}
        )
        attempts.rows.append(
            self.parts.recorder.build_row(
                attempts.message,
                ConnectionFacts(),
                result,
                started_at=self.parts.clock.now(),
                seconds=0.0,
                via=attempts.via,
            )
        )

    def decide_all(self, attempts: Attempts, outcome: Outcome) -> None:
        """Set one outcome for all pending recipients that were not tried."""
        for recipient in attempts.list_pending(self.parts.clock.now()):
            if recipient.position not in attempts.marked:
                attempts.outcomes[recipient.position] = outcome
