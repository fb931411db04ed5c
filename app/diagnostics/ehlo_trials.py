"""Try other EHLO names on a server that refused one, and recommend a name."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from app.diagnostics.ehlo_advice import (
    AdviceStatus,
    NameFacts,
    advise,
    includes_address,
    look_up,
)
from app.diagnostics.ehlo_candidates import Candidate, NameSource
from app.diagnostics.ehlo_refusals import explain_refusals
from app.diagnostics.report import Diagnosis, NameTrial, Recommendation
from app.domain.outcome.failure_table import classify
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.domain.outcome.replies import UNAVAILABLE
from app.domain.types import AuthMechanism
from app.smtp.dns import Resolver
from app.smtp.identity import Identity
from app.smtp.resolve import Network
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure, open_session

EHLO_REJECTED: Final = "ehlo_rejected"
PAUSE_SECONDS: Final = 0.5
# Reserved for resolving the accepted names.
LOOKUP_SHARE: Final = 0.3
MAX_CLOSINGS: Final = 3

SOURCE_DESCRIPTIONS: Final = {
    NameSource.SENDER_DOMAIN: "the domain of the profile's senders",
    NameSource.PROFILE: "the profile's own name",
    NameSource.TENANT: "the tenant's name",
    NameSource.SIGNING_DOMAIN: "a domain of the tenant",
    NameSource.OTHER_PROFILE: "the name of another profile of the tenant",
    NameSource.SERVICE: "the service's name (HELOISE_EHLO_NAME)",
    NameSource.POINTER: "the PTR name of our address",
    NameSource.HOSTNAME: "this machine's host name, which changes with the machine",
    NameSource.ADDRESS_LITERAL: "our address, as the server accepted none of the names",
}


@dataclass(frozen=True, slots=True)
class Check:
    """The addresses for MAIL and RCPT, where some servers check the EHLO name."""

    sender: str
    recipient: str


class EhloTrials:
    """Tries candidates on a server, politely.

    Tries names on one connection while the server refuses them. Opens another after an accepted
    name or a closed connection, with a pause. Stops after three 421 replies, or one unrelated
    failure. `token` is the access token, if a login needs it. `outgoing_address` is the one that
    the server sees.
    """

    def __init__(
        self,
        identity: Identity,
        network: Network,
        *,
        check: Check | None = None,
        token: str | None = None,
        outgoing_address: str | None = None,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        # Log in only if MAIL follows: repeated wrong passwords lock accounts.
        mechanism = identity.mechanism if check is not None else AuthMechanism.NONE
        self._identity = replace(identity, mechanism=mechanism)
        self._network = network
        self._check = check
        self._token = token
        self._outgoing_address = outgoing_address
        self._pause_seconds = pause_seconds
        self._trials: dict[str, NameTrial] = {}
        self._closings = 0
        self._stop_reason = ""

    async def run(self, names: Sequence[Candidate], *, seconds: float) -> Diagnosis:
        """Try the names within `seconds`; the rest stay untried."""
        lookup_seconds = seconds * LOOKUP_SHARE
        try:
            async with asyncio.timeout(seconds - lookup_seconds):
                await self._try_all(names)
        except TimeoutError:
            self._stop_reason = "Heloise ran out of time"
        table = tuple(
            self._trials.get(candidate.name) or NameTrial(candidate=candidate, is_accepted=None)
            for candidate in names
        )
        recommended = await recommend(
            table, self._network.resolver, self._outgoing_address, lookup_seconds
        )
        detail = self._stop_reason
        if recommended is None:
            detail = explain_refusals(
                table,
                host=self._identity.host,
                outgoing_address=self._outgoing_address,
                stop_reason=self._stop_reason,
            )
        return Diagnosis(names=table, recommendation=recommended, detail=detail)

    async def _try_all(self, names: Sequence[Candidate]) -> None:
        while not self._stop_reason:
            untried = [candidate for candidate in names if candidate.name not in self._trials]
            if not untried:
                return
            if before := len(self._trials):
                await asyncio.sleep(self._pause_seconds)
            await self._try_on_connection(untried)
            if len(self._trials) == before and not self._stop_reason:
                self._stop_reason = "The server did not allow a trial"

    async def _try_on_connection(self, candidates: Sequence[Candidate]) -> None:
        """Try names on one connection, until the server accepts one or it ends."""
        by_name = {candidate.name: candidate for candidate in candidates}
        result = await open_session(
            self._identity, self._network, names=list(by_name), token=self._token
        )
        refused = dict(result.facts.refused_names)
        for name, failure in refused.items():
            self._refuse(by_name[name], failure)
        if isinstance(result, Session):
            await self._try_check(by_name[result.facts.ehlo_name or ""], result)
        else:
            self._note_not_opened(by_name, result)

    async def _try_check(self, candidate: Candidate, session: Session) -> None:
        try:
            failure = None
            if self._check is not None:
                failure = await session.check(self._check.sender, self._check.recipient)
        finally:
            await session.quit()
        if failure is not None and _is_about_name(failure):
            self._refuse(candidate, failure)
            return
        at = Stage.EHLO if self._check is None else Stage.RCPT
        detail = "" if failure is None else f"refused for another reason: {failure}"
        self._accept(candidate, at, detail)

    def _note_not_opened(self, by_name: dict[str, Candidate], opening: OpenFailure) -> None:
        """Attribute an early end of the connection to the last name."""
        failure, facts, name = opening.failure, opening.facts, opening.facts.ehlo_name or ""
        if failure.reply is not None and failure.reply.code == UNAVAILABLE:
            self._closings += 1
        # A server that hangs up after a refusal means the refused name, not the next one.
        is_dropped = is_dropped_at_ehlo(failure)
        if name in by_name and name not in self._trials:
            if _is_about_name(failure) or (is_dropped and not facts.refused_names):
                self._refuse(by_name[name], failure)
            elif facts.greetings:
                self._accept(by_name[name], Stage.EHLO, f"later: {failure}")
        if self._closings >= MAX_CLOSINGS or not (_is_about_name(failure) or is_dropped):
            self._stop_reason = f"Heloise stopped trying: {failure}"

    def _refuse(self, candidate: Candidate, failure: Failure) -> None:
        self._trials[candidate.name] = NameTrial(
            candidate=candidate,
            is_accepted=False,
            at=failure.stage.value,
            reply=failure.reply,
            detail=failure.detail,
        )

    def _accept(self, candidate: Candidate, at: Stage, detail: str) -> None:
        self._trials[candidate.name] = NameTrial(
            candidate=candidate, is_accepted=True, at=at.value, detail=detail
        )


def is_dropped_at_ehlo(failure: Failure) -> bool:
    """Whether the server hung up on EHLO without a reply, perhaps because of the name."""
    return (failure.stage, failure.fault) == (Stage.EHLO, Fault.DISCONNECTED)


def _is_about_name(failure: Failure) -> bool:
    return classify(failure, fresh=True, authenticated=False).classification == EHLO_REJECTED


async def recommend(
    table: Sequence[NameTrial], resolver: Resolver, outgoing_address: str | None, seconds: float
) -> Recommendation | None:
    """Choose the best accepted name, which claims the least that may be false.

    That is one that resolves to `outgoing_address`, else one of the tenant or of Heloise, else a
    sender domain, which may be somebody else's, such as gmail.com. Of these, one that resolves.
    An address literal comes last.
    """
    accepted = [trial.candidate for trial in table if trial.is_accepted]
    if not accepted:
        return None
    facts = await asyncio.gather(
        *(
            look_up(resolver, candidate.name, None, is_server_reported=False, seconds=seconds)
            for candidate in accepted
        )
    )
    ranked = [
        (_rank(candidate, name_facts, outgoing_address), candidate)
        for candidate, name_facts in zip(accepted, facts, strict=True)
    ]
    rank, best = min(ranked, key=lambda pair: pair[0])
    resolves = "" if rank.is_literal or rank.has_failed_check else " and has an address in the DNS"
    if not rank.is_elsewhere:
        resolves = " and resolves to our address"
    return Recommendation(
        name=best.name,
        reason=f"the server accepts it; it is {SOURCE_DESCRIPTIONS[best.source]}{resolves}",
    )


class _Rank(NamedTuple):
    """Compares accepted names: the lowest is the best."""

    is_literal: bool
    is_elsewhere: bool
    is_sender_domain: bool
    has_failed_check: bool


def _rank(candidate: Candidate, facts: NameFacts, outgoing_address: str | None) -> _Rank:
    return _Rank(
        is_literal=candidate.name.startswith("["),
        is_elsewhere=outgoing_address is None
        or not includes_address(facts.addresses, outgoing_address),
        is_sender_domain=candidate.source is NameSource.SENDER_DOMAIN,
        has_failed_check=any(advice.status is AdviceStatus.FAIL for advice in advise(facts)),
    )
