"""Define the JSON of signing domains."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field

from app.api.http.fields import Line, RequestModel, ResponseModel
from app.api.http.pagination import Page
from app.domain.address.parse import parse_domain
from app.domain.mime.dkim import DkimAlgorithm, DkimKey, DkimKeyStatus, SendingDomain

DOMAIN: Final = "dom_0198c5a2d3f07b6e8a4c1d2e3f405162"
RECORD: Final = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
EXAMPLE: Final[dict[str, Any]] = {
    "id": DOMAIN,
    "domain": "example.com",
    "signed": True,
    "keys": [
        {
            "selector": "h7k2m9q4e",
            "algorithm": "ed25519-sha256",
            "status": "active",
            "dns_record": {
                "name": "h7k2m9q4e._domainkey.example.com",
                "type": "TXT",
                "value": RECORD,
            },
            "found_at": "2026-01-15T09:45:00Z",
            "checked_at": "2026-01-15T09:45:00Z",
            "problem": None,
            "retired_at": None,
            "record_needed_until": None,
            "created_at": "2026-01-15T09:30:00Z",
        }
    ],
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
CREATE: Final[dict[str, Any]] = {
    "domain": {"summary": "A domain", "value": {"domain": "example.com"}}
}


def _check_plain_domain(text: str) -> str:
    domain = parse_domain(text)
    if domain.startswith("*."):
        raise ValueError("write one domain without a *; its keys also sign for its subdomains")
    return domain


Domain = Annotated[
    Line,
    Field(
        max_length=253,
        description="The domain of the From address. Its keys also sign for subdomains that have"
        " no keys of their own.",
        examples=["example.com"],
    ),
    AfterValidator(_check_plain_domain),
]


class DomainCreate(RequestModel):
    """A domain to sign for."""

    domain: Domain


class DnsRecord(ResponseModel):
    """A DNS record to add."""

    name: str
    type: str
    value: str = Field(
        description="The value in one piece. If your DNS limits a string to 255 characters, split"
        " it in two."
    )


class DkimKeyRead(ResponseModel):
    """A DKIM key of a domain."""

    selector: str
    algorithm: DkimAlgorithm
    status: DkimKeyStatus = Field(
        description="`pending` until Heloise finds the DNS record, `active` while it signs,"
        " `retired` after a rotation."
    )
    dns_record: DnsRecord
    found_at: datetime | None = Field(
        description="When Heloise found the record, if the last check still found it."
    )
    checked_at: datetime | None = Field(description="When Heloise last checked the record.")
    problem: str | None = Field(description="What was wrong with the record at the last check.")
    retired_at: datetime | None
    record_needed_until: datetime | None = Field(
        description="For a retired key: keep its DNS record until then, for messages in transit."
    )
    created_at: datetime

    @classmethod
    def of(cls, key: DkimKey, domain: str) -> Self:
        record = DnsRecord(name=key.record_name(domain), type="TXT", value=key.record)
        return cls.build(key, dns_record=record)


class DomainRead(ResponseModel, json_schema_extra={"examples": [EXAMPLE]}):
    """A domain and its keys, without their private parts."""

    id: str
    domain: str
    signed: bool = Field(
        description="Whether Heloise signs messages of this domain: true if a key is active."
    )
    keys: list[DkimKeyRead] = Field(description="Newest first.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, domain: SendingDomain) -> Self:
        keys = [DkimKeyRead.of(key, domain.domain) for key in domain.keys]
        return cls.build(domain, signed=domain.is_signed, keys=keys)


class DomainPage(Page[DomainRead]):
    """A page of domains, newest first."""
