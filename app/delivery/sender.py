"""Send one message through a pooled or new session."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from app.delivery.attempt import Attempts, Mark, transact
from app.delivery.classification import Judgement
from app.delivery.lane_config import LaneConfig
from app.delivery.record import Recorder
from app.domain.clock import monotonic_seconds
from app.domain.delivery.simulator import simulated
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Blast, Failure, Fault, Outcome, Stage, Verdict
from app.domain.outcome.replies import COMPLETED, Reply
from app.domain.types import Transport
from app.smtp.extensions import Distrust
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.opening import NotOpened, not_opened, open_session
from app.smtp.pool import Pool
from app.smtp.resolve import Network
from app.smtp.session import Following, Session
from app.store.outbox.queries import ClaimedRecipient

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
    blast=Blast.RECIPIENT,
    detail="this tenant or installation does not send to this domain (allowed_recipient_domains)",
)
UNREADABLE: Final = Outcome(Stage.MAIL, Verdict.DEFER, "content_unreadable", blast=Blast.MESSAGE)


class Sender:
    """Sends through a lane's pool, and remembers what the server does not keep to."""

    def __init__(
        self,
        pool: Pool,
        network: Network,
        recorder: Recorder,
        mark: Mark,
        distrust: Distrust,
    ) -> None:
        self._pool = pool
        self._network = network
        self._recorder = recorder
        self._mark = mark
        self._distrust = distrust

    async def attempt(
        self,
        attempts: Attempts,
        session: Session | None,
        config: LaneConfig,
        following: Following | None = None,
    ) -> Session | None:
        """Work on one message; answers the session, where it may carry another.

        `following` is whom to ask for the mail after it.
        """
        now = self._recorder.now()
        self._decide_here(attempts, attempts.undecided(now))
        if not attempts.undecided(now):
            return session
        if config.profile.transport is Transport.SANDBOX:
            self._capture(attempts)
            return None
        if config.identity is None:
            attempts.fault = config.fault
            return session
        while True:
            attempts.session = None
            session = await self._session(attempts, config, config.identity, session)
            if session is None:
                return None
            attempts.facts, attempts.session = session.facts, session
            goes_on = session.transactions + 2 <= self._pool.max_messages
            then = following if goes_on else None
            try:
                await transact(attempts, session, self._recorder, self._mark, then)
            except BaseException:
                session.abort()
                raise
            if session.distrusted and self._distrust.note(config.identity, session.distrusted):
                self._pool.retire_idle()
            # The connection alone was at fault: a new one, at once.
            if attempts.fault is None or attempts.fault.blast is not Blast.CONNECTION:
                return session if session.is_open else None

    async def _session(
        self, attempts: Attempts, config: LaneConfig, identity: Identity, session: Session | None
    ) -> Session | None:
        """A session fit for the message: the one in hand, a warm one, or a new one."""
        if session is not None:
            if self._pool.is_fit(session, identity) and attempts.may_use(session):
                return session
            self._pool.retire(session)
        if (warm := await self._pool.take(identity)) is not None:
            return warm
        started_at, start = self._recorder.now(), monotonic_seconds()
        opened = await self._opened(config, identity)
        if isinstance(opened, Session):
            return opened
        self._note_not_opened(attempts, opened, started_at, monotonic_seconds() - start)
        return None

    async def _opened(self, config: LaneConfig, identity: Identity) -> Session | NotOpened:
        """A new session, logged in by an access token where the profile is one of OAuth 2.0."""
        profile, tokens = config.profile, config.tokens
        token = None
        if tokens is not None and profile.oauth is not None and identity.wants_auth:
            found = await tokens.get(profile)
            if isinstance(found, Failure):
                return not_opened(identity, found)
            token = found
        distrusted = self._distrust.of(identity)
        opened = await open_session(identity, self._network, distrusted=distrusted, token=token)
        is_rejected = isinstance(opened, NotOpened) and opened.failure.fault is Fault.TOKEN_REJECTED
        if is_rejected and tokens is not None and token is not None:
            await tokens.forget(profile, token)
        return opened

    def _note_not_opened(
        self, attempts: Attempts, opened: NotOpened, started_at: datetime, seconds: float
    ) -> None:
        fault = classify(opened.failure, fresh=True, authenticated=False)
        attempts.fault, attempts.facts = fault, opened.facts
        row = self._recorder.row(
            attempts.message,
            opened.facts,
            Judgement(outcomes={}, fault=fault),
            started_at=started_at,
            seconds=seconds,
            via=attempts.via,
            transcript=opened.transcript,
        )
        attempts.rows.append(row)

    def _decide_here(self, attempts: Attempts, pending: Sequence[ClaimedRecipient]) -> None:
        """Decide recipients without a server: suppressed, refused or simulated ones."""
        if attempts.message.unreadable is not None:
            fault = replace(UNREADABLE, detail=attempts.message.unreadable)
            self._decide(attempts, dict.fromkeys(pending, fault))
            return
        here = [each for each in pending if attempts.destination(each) is None]
        routing = attempts.routing
        self._decide(
            attempts,
            {
                each: simulated(each.address, each.attempts)
                if routing.is_simulated(each.address)
                else NOT_ALLOWED
                for each in here
            },
        )

    def _capture(self, attempts: Attempts) -> None:
        pending = attempts.undecided(self._recorder.now())
        self._decide(attempts, dict.fromkeys(pending, CAPTURED))

    def _decide(self, attempts: Attempts, outcomes: Mapping[ClaimedRecipient, Outcome]) -> None:
        """Write down what became of recipients without a word to a server."""
        if not outcomes:
            return
        attempts.outcomes |= {each.position: outcome for each, outcome in outcomes.items()}
        judgement = Judgement(outcomes={each.address: out for each, out in outcomes.items()})
        attempts.rows.append(
            self._recorder.row(
                attempts.message,
                ConnectionFacts(),
                judgement,
                started_at=self._recorder.now(),
                seconds=0.0,
                via=attempts.via,
            )
        )

    def decide_all(self, attempts: Attempts, outcome: Outcome) -> None:
        """Decide all recipients of the turn to whom nothing was sent."""
        for each in attempts.undecided(self._recorder.now()):
            if each.position not in attempts.marked:
                attempts.outcomes[each.position] = outcome
