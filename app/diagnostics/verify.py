"""Verify a profile with delivery's own steps up to RCPT, never DATA."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from app.diagnostics.connect_stages import run_dns_stage, run_guard_stage, run_tcp_stage
from app.diagnostics.ehlo_advice import advise, look_up
from app.diagnostics.ehlo_candidates import list_candidates, parse_seen_address
from app.diagnostics.ehlo_trials import EHLO_REJECTED, Check, EhloTrials
from app.diagnostics.report import Report, StageReport, Status, Step, fail_stage
from app.diagnostics.session_stages import fill_stages, report_check, report_opening
from app.domain.clock import monotonic_seconds
from app.domain.ehlo import LOOPBACK, NO_OTHER_NAMES, OtherNames
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.smtp.identity import ConnectionFacts, Identity
from app.smtp.implicit_tls import TLS_FIRST, waits_for_tls
from app.smtp.local_address import find_outgoing_address
from app.smtp.resolve import Network
from app.smtp.session import Session
from app.smtp.session_opening import OpenFailure, Opening, make_open_failure
from app.smtp.transcript import Transcript

TOTAL_SECONDS: Final = 30.0
# Shares of the whole time.
DNS_SHARE: Final = 1 / 6
TCP_SHARE: Final = 1 / 3
# A server that greets first has greeted by then, unless it delays on purpose.
MUTE_SHARE: Final = 1 / 10
# Reserved for DNS lookups and EHLO trials after a failure.
LOOKUP_SHARE: Final = 1 / 10
ADVICE_SHARE: Final = 2 * LOOKUP_SHARE
TRIALS_SHARE: Final = 1 / 3
CHECK_SHARE: Final = 1 / 4
CLOSER_LOOK_SHARE: Final = 11 / 30

CONNECTION_LOST: Final = "connection_lost"

TOO_SLOW: Final = Failure(
    Stage.TCP,
    fault=Fault.TIMEOUT,
    detail="the server did not reply within verify's 30 seconds; delivery waits longer",
)

TOKEN_TOO_SLOW: Final = Failure(
    Stage.AUTH,
    fault=Fault.TOKEN_UNAVAILABLE,
    detail="the token server did not reply within verify's 30 seconds",
)

Token = Callable[[], Awaitable[str | Failure | None]]


async def get_no_token() -> None:
    """Return no token."""
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The identity to verify; `token` returns an access token or a failure.

    `check` runs MAIL and RCPT after everything else succeeded. If the server refuses the EHLO name,
    verify also tries `other_names`.
    """

    identity: Identity
    other_names: OtherNames = NO_OTHER_NAMES
    token: Token = get_no_token
    check: Check | None = None


async def verify(
    subject: Subject, network: Network, *, now: datetime, seconds: float = TOTAL_SECONDS
) -> Report:
    """Run all steps but sending, within `seconds`. Returns failures of the server."""
    run = _Run(subject, network, now, seconds)
    started = monotonic_seconds()
    report = await run.report()
    return replace(report, seconds=monotonic_seconds() - started)


class _Run:
    """One verify in progress."""

    def __init__(self, subject: Subject, network: Network, now: datetime, seconds: float) -> None:
        timeouts = subject.identity.timeouts
        # The timeouts of delivery apply here too, within the total time.
        timeouts = replace(timeouts, connect=min(timeouts.connect, seconds * TCP_SHARE))
        self._identity = replace(subject.identity, timeouts=timeouts)
        self._subject = subject
        self._network = network
        self._now = now
        self._total_seconds = seconds
        self._deadline = monotonic_seconds() + seconds
        self._stages: list[StageReport] = []
        self._facts = ConnectionFacts()
        self._token: str | None = None

    def _remaining_seconds(self, reserve_share: float = 0.0) -> float:
        """Return the seconds left, minus a reserve."""
        return max(0.0, self._deadline - monotonic_seconds() - self._total_seconds * reserve_share)

    async def report(self) -> Report:
        identity = self._identity
        try:
            async with asyncio.timeout(self._remaining_seconds(ADVICE_SHARE)):
                await self._run()
        except TimeoutError:
            current = StageReport(stage=_find_current_step(self._stages))
            self._stages.append(fail_stage(current, TOO_SLOW))
        local_address = self._facts.local_address or identity.source_address
        local_address = local_address or find_outgoing_address(identity.host)
        visible_address = parse_seen_address((*self._facts.greetings, "")[0])
        ehlo = identity.ehlo(local_address or LOOPBACK)
        resolver, diagnosis = self._network.resolver, None
        outgoing_address = visible_address or local_address
        facts = await look_up(
            resolver,
            ehlo.name,
            outgoing_address,
            is_server_reported=visible_address is not None,
            seconds=self._total_seconds * LOOKUP_SHARE,
        )
        if self._is_refused_name():
            names = list_candidates(
                identity.ehlo_names,
                others=self._subject.other_names,
                pointers=facts.pointers.values,
                outgoing_address=outgoing_address,
            )
            trials = EhloTrials(
                identity,
                self._network,
                check=self._subject.check,
                token=self._token,
                outgoing_address=outgoing_address,
            )
            seconds = min(self._total_seconds * TRIALS_SHARE, self._remaining_seconds())
            diagnosis = await trials.run(names, seconds=seconds)
            if (best := diagnosis.recommendation) is not None:
                hint = f"Set `ehlo_name` to {best.name}: {best.reason}."
                self._stages[-1] = replace(self._stages[-1], hint=hint)
        return Report(
            ehlo=ehlo,
            stages=tuple(fill_stages(self._stages, identity)),
            advice=advise(facts),
            diagnosis=diagnosis,
        )

    def _is_refused_name(self) -> bool:
        """Whether the server refused the name, or hung up on it without a reply."""
        if not self._stages:
            return False
        last = self._stages[-1]
        is_dropped = last.stage is Step.EHLO and last.code == CONNECTION_LOST
        return is_dropped or last.code == EHLO_REJECTED

    async def _run(self) -> None:
        identity, network = self._identity, self._network
        guard_report = run_guard_stage(identity, network.guard)
        self._stages.append(guard_report)
        if guard_report.status is Status.FAILED:
            return
        dns_report, addresses = await run_dns_stage(
            identity, network, self._total_seconds * DNS_SHARE
        )
        self._stages.append(dns_report)
        if not addresses:
            return
        tcp_report, sock = await run_tcp_stage(identity, addresses)
        self._stages.append(tcp_report)
        if sock is not None:
            await self._run_session(sock)

    async def _run_session(self, sock: socket.socket) -> None:
        result = await self._open(sock)
        self._facts = result.facts
        self._stages += report_opening(result, self._identity, self._now)
        if isinstance(result, Session):
            try:
                if self._subject.check is not None:
                    await self._check_addresses(result, self._subject.check)
            finally:
                await result.quit()

    async def _open(self, sock: socket.socket) -> Session | OpenFailure:
        """Open a session within the time left."""
        transcript = Transcript()
        try:
            async with asyncio.timeout(self._remaining_seconds(CLOSER_LOOK_SHARE)):
                token = await self._subject.token()
        except TimeoutError:
            token = TOKEN_TOO_SLOW
        except BaseException:
            sock.close()
            raise
        if isinstance(token, Failure):
            sock.close()
            return make_open_failure(self._identity, token, Transcript())
        self._token = token
        opening = Opening(self._identity, transcript, token=token)
        task = asyncio.create_task(opening.open(sock))
        try:
            if await self._is_mute(task, transcript):
                return opening.make_failure(TLS_FIRST)
            async with asyncio.timeout(self._remaining_seconds(CLOSER_LOOK_SHARE)):
                return await task
        except TimeoutError:
            return opening.make_failure(replace(TOO_SLOW, stage=transcript.stage))
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _is_mute(
        self, task: asyncio.Task[Session | OpenFailure], transcript: Transcript
    ) -> bool:
        """Whether the server is silent because it waits for TLS."""
        seconds = self._total_seconds * MUTE_SHARE
        await asyncio.wait({task}, timeout=seconds)
        if task.done() or transcript.stage is not Stage.BANNER:
            return False
        return await waits_for_tls(self._identity, self._network, seconds)

    async def _check_addresses(self, session: Session, check: Check) -> None:
        """Run MAIL and RCPT."""
        try:
            async with asyncio.timeout(self._remaining_seconds(CHECK_SHARE)):
                failure = await session.check(check.sender, check.recipient, tries_chunk=True)
        except TimeoutError:
            failure = replace(TOO_SLOW, stage=session.transcript.stage)
        self._stages += report_check(session, failure)


def _find_current_step(reports: Sequence[StageReport]) -> Step:
    """Return the stage in progress at the timeout."""
    run_steps = {report.stage for report in reports}
    return next(step for step in Step if step not in run_steps)
