"""Report the stages up to TCP: address guard, DNS and connecting."""

import socket
from collections.abc import Sequence
from dataclasses import replace

from app.diagnostics.report import AddressAttempt, StageReport, Status, Step, fail_stage
from app.domain.clock import monotonic_seconds
from app.domain.networks import AddressGuard, IPAddress
from app.domain.outcome.outcome import Failure, Fault, Stage
from app.smtp.faults import StageFailedError
from app.smtp.identity import Identity
from app.smtp.resolve import DialResult, Network, dial_all


def run_guard_stage(identity: Identity, guard: AddressGuard) -> StageReport:
    """Check port and host without a DNS lookup."""
    started = monotonic_seconds()
    failure = _find_refusal(identity, guard)
    report = _make_report(Step.ADDRESS_GUARD, started, f"port {identity.port} is allowed")
    return report if failure is None else fail_stage(report, failure)


async def run_dns_stage(
    identity: Identity, network: Network, seconds: float
) -> tuple[StageReport, list[IPAddress]]:
    """Resolve the host, within `seconds`."""
    started = monotonic_seconds()
    timeouts = replace(identity.timeouts, connect=min(identity.timeouts.connect, seconds))
    try:
        addresses = await network.addresses(replace(identity, timeouts=timeouts))
    except StageFailedError as error:
        return fail_stage(_make_report(Step.DNS, started), error.failure), []
    report = _make_report(
        Step.DNS, started, f"{identity.host} resolves to {', '.join(map(str, addresses))}"
    )
    address_attempts = tuple(AddressAttempt(address=str(address)) for address in addresses)
    return replace(report, addresses=address_attempts), addresses


async def run_tcp_stage(
    identity: Identity, addresses: Sequence[IPAddress]
) -> tuple[StageReport, socket.socket | None]:
    """Connect to every address, because one dead address slows some deliveries."""
    started = monotonic_seconds()
    sock, results = await dial_all(identity, addresses)
    address_attempts = tuple(_make_address_report(result) for result in results)
    errors = [result.error for result in results if result.error is not None]
    report = _make_report(Step.TCP, started, "connected to each address")
    if sock is None:
        report = fail_stage(report, errors[0].failure)
    elif errors:
        detail = f"cannot connect to all addresses: {'; '.join(map(str, errors))}"
        report = replace(report, status=Status.WARNING, detail=detail)
    return replace(report, addresses=address_attempts), sock


def _find_refusal(identity: Identity, guard: AddressGuard) -> Failure | None:
    """Find a reason not to connect that needs no lookup."""
    host = identity.host
    if reason := guard.port_refusal(identity.port):
        return Failure(Stage.DNS, fault=Fault.PORT_NOT_ALLOWED, detail=f"{host}: {reason}")
    if reason := guard.host_refusal(host):
        return Failure(Stage.DNS, fault=Fault.NOT_ALLOWED, detail=f"{host}: {reason}")
    return None


def _make_address_report(dial_result: DialResult) -> AddressAttempt:
    error = dial_result.error
    return AddressAttempt(
        address=str(dial_result.address),
        duration_ms=_to_ms(dial_result.seconds),
        error=None if error is None else error.failure.detail,
    )


def _make_report(step: Step, started: float, detail: str = "") -> StageReport:
    duration_ms = _to_ms(monotonic_seconds() - started)
    return StageReport(stage=step, duration_ms=duration_ms, detail=detail)


def _to_ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
