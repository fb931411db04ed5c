"""Define the JSON of verify."""

from datetime import datetime
from typing import Final, Self

from pydantic import Field

from app.api.http.fields import Address, RequestModel, ResponseModel
from app.api.profiles import fields
from app.api.profiles.responses import EffectiveEhloRead
from app.api.profiles.schemas import ProfileCreate
from app.api.profiles.verify_examples import NONE_ACCEPTED, VERIFIED
from app.diagnostics.ehlo_advice import AdviceStatus
from app.diagnostics.ehlo_candidates import NameSource
from app.diagnostics.report import (
    Certificate,
    Diagnosis,
    NameTrial,
    Report,
    StageReport,
    Status,
    Step,
)

RECIPIENT: Final = Field(
    default=None,
    description="A recipient for RCPT TO. Heloise then sends RSET, so nothing is delivered. Many"
    " servers check the EHLO name only at RCPT, so verify needs a recipient to test it.",
    examples=["postmaster@example.org"],
)
SENDER: Final = Field(
    default=None,
    description="The address for MAIL FROM. Default: the profile's `default_from`.",
    examples=["billing@example.com"],
)


class ProfileVerify(RequestModel):
    """Options of verify."""

    recipient: Address | None = RECIPIENT
    sender: Address | None = SENDER


class UnsavedVerify(ProfileCreate):
    """A profile as in `POST /profiles`, and options of verify."""

    name: fields.Name = "unsaved"
    recipient: Address | None = RECIPIENT
    sender: Address | None = SENDER


class LineRead(ResponseModel):
    """A line of the SMTP dialogue."""

    ms: float = Field(description="Milliseconds since the start of the connection.")
    by: str = Field(description="`client`, `server`, or `note` for a remark by Heloise.")
    text: str = Field(description="The line, without secrets.")


class AddressRead(ResponseModel):
    """One of the server's addresses."""

    address: str
    duration_ms: float | None = Field(description="How long connecting took.")
    error: str | None = Field(description="Why the connection failed.")


class ChainLinkRead(ResponseModel):
    """A certificate of the server's chain. The server's own certificate comes first."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    pin: str = Field(description="The pin of its key, in the format of `tls_pins`.")
    self_signed: bool


class CertificateRead(ResponseModel):
    """The server's certificate."""

    names: list[str] = Field(description="The host names and addresses in the certificate.")
    expires_in_days: int
    chain: list[ChainLinkRead]

    @classmethod
    def of(cls, certificate: Certificate, now: datetime) -> Self:
        """Build from a certificate; `now` is for its remaining time."""
        return cls.build(certificate, expires_in_days=certificate.expires_in_days(now))


class StageRead(ResponseModel):
    """A stage. Fields that do not apply are null or empty."""

    stage: Step
    status: Status = Field(description="`skipped`: not reached or not requested.")
    duration_ms: float
    detail: str = Field(description="The finding, with the server's reply if there was one.")
    code: str | None = Field(description="A stable code of the fault.")
    hint: str | None = Field(description="What to change.")
    transcript: list[LineRead]
    addresses: list[AddressRead] = Field(description="The server's addresses, at `dns` and `tcp`.")
    ehlo_name: str | None = Field(description="The EHLO name that Heloise sent.")
    ehlo_source: str | None = Field(description="Where the name comes from.")
    greeting: str | None = Field(description="The server's first line.")
    extensions: list[str] = Field(description="What the server offers (RFC 5321 section 4.1.1.1).")
    tls_version: str | None
    tls_cipher: str | None
    certificate: CertificateRead | None
    mechanisms_offered: list[str] = Field(
        description="The login mechanisms that the server offers, at `auth`."
    )
    mechanism: str | None = Field(description="The mechanism that Heloise used.")

    @classmethod
    def of(cls, stage: StageReport, now: datetime) -> Self:
        certificate = CertificateRead.of(stage.certificate, now) if stage.certificate else None
        return cls.build(stage, certificate=certificate)


class AdviceRead(ResponseModel):
    """A check of the EHLO name against DNS and RFCs, independent of the server's reply."""

    check: str = Field(description="The check's stable name.")
    status: AdviceStatus
    detail: str
    reason: str = Field(description="The rule behind the status.")


class NameRead(ResponseModel):
    """A trial of an EHLO name."""

    name: str
    source: NameSource
    accepted: bool | None = Field(description="Null if Heloise did not try the name.")
    at: str | None = Field(
        description="The stage that refused the name, or the last that accepted it."
    )
    reply: str | None = Field(description="The server's reply.")

    @classmethod
    def of(cls, trial: NameTrial) -> Self:
        return cls.build(
            trial,
            trial.candidate,
            accepted=trial.is_accepted,
            reply=str(trial.reply) if trial.reply is not None else trial.detail or None,
        )


class RecommendationRead(ResponseModel):
    """The name to set as `ehlo_name`."""

    name: str
    reason: str


class DiagnosisRead(ResponseModel):
    """Trials of EHLO names on the server, and the recommended one."""

    names: list[NameRead] = Field(
        description="At most twelve names, in the order of the trials, which is that of `source`."
    )
    recommendation: RecommendationRead | None
    detail: str = Field(
        description="If the server accepts no name: what its replies mean, and what to ask its"
        " operator for. If Heloise did not try all names: the reason.",
        examples=[NONE_ACCEPTED],
    )

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> Self:
        return cls.build(diagnosis, names=[NameRead.of(name) for name in diagnosis.names])


class VerifyRead(ResponseModel, json_schema_extra={"examples": [VERIFIED]}):
    """The result of verify."""

    ok: bool = Field(description="Whether all tested stages succeeded.")
    code: str | None = Field(description="The code of the stage that failed.")
    hint: str | None = Field(description="What to change.")
    duration_ms: float
    ehlo: EffectiveEhloRead
    stages: list[StageRead]
    advice: list[AdviceRead]
    ehlo_diagnosis: DiagnosisRead | None = Field(
        description="Set if the server refused the EHLO name: other names, and the one to use."
    )

    @classmethod
    def of(cls, report: Report, now: datetime) -> Self:
        failed = report.failed_stage
        return cls.build(
            report,
            ok=report.is_ok,
            code=failed.code if failed else None,
            hint=failed.hint if failed else None,
            duration_ms=round(report.seconds * 1000, 3),
            stages=[StageRead.of(stage, now) for stage in report.stages],
            ehlo_diagnosis=DiagnosisRead.of(report.diagnosis) if report.diagnosis else None,
        )
