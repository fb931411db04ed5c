"""Define the JSON of templates."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    StrictBool,
    model_validator,
)

from app.api.http.fields import (
    Address,
    Line,
    Locale,
    RequestModel,
    ResponseModel,
    Text,
    allow_single,
    check_name,
)
from app.api.http.pagination import Page
from app.domain.templates import PARTS, TemplateContent, TemplateVersion

MAX_SOURCE_CHARACTERS: Final = 500_000
MAX_LOCALES: Final = 100
MAX_TEST_RECIPIENTS: Final = 10

PUBLISHED: Final[dict[str, Any]] = {
    "id": "tpl_0198c5a2d3f07b6e8a4c1d2e3f405162",
    "name": "receipt",
    "published": 2,
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:31:00Z",
}
CONTENT: Final[dict[str, Any]] = {
    "subject": "Your receipt {{ number }}",
    "html": "<p>Thanks, {{ name }}.</p>",
    "locales": {
        "de": {"subject": "Ihre Quittung {{ number }}", "html": "<p>Danke, {{ name }}.</p>"}
    },
    "variables_schema": {"type": "object", "required": ["name", "number"]},
}
VERSION: Final[dict[str, Any]] = {
    "number": 2,
    "subject": CONTENT["subject"],
    "text": None,
    "html": CONTENT["html"],
    "mjml": None,
    "locales": {
        name: {"text": None, "mjml": None, **parts} for name, parts in CONTENT["locales"].items()
    },
    "variables_schema": CONTENT["variables_schema"],
    "inline_css": True,
    "published_at": "2026-01-15T09:31:00Z",
    "created_at": "2026-01-15T09:30:00Z",
    "updated_at": "2026-01-15T09:30:00Z",
}
RENDERED: Final[dict[str, Any]] = {
    "version": 2,
    "subject": "Your receipt 42",
    "text": "Thanks, Ann.\n",
    "html": "<p>Thanks, Ann.</p>",
}
CREATE: Final[dict[str, Any]] = {
    "receipt": {"summary": "In two languages", "value": {"name": "receipt", **CONTENT}},
    "layout": {
        "summary": "A base that other templates extend",
        "value": {
            "name": "layout",
            "html": "<body>{% block content %}{% endblock %}<p>Example Ltd.</p></body>",
        },
    },
}
UPDATE: Final[dict[str, Any]] = {
    "subject": {"summary": "Another subject", "value": {"subject": "Receipt {{ number }}"}}
}
VARIABLES: Final[dict[str, Any]] = {"name": "Ann", "number": 42}
PREVIEW: Final[dict[str, Any]] = {
    "draft": {"summary": "The draft", "value": {"variables": VARIABLES, "locale": "de-AT"}}
}
TEST: Final[dict[str, Any]] = {
    "me": {
        "summary": "To your own address",
        "value": {"to": ["me@example.com"], "variables": VARIABLES},
    }
}
PUBLISH: Final[dict[str, Any]] = {
    "draft": {"summary": "The draft", "value": {}},
    "back": {"summary": "Return to an earlier version", "value": {"version": 1}},
}


Name = Annotated[
    Line,
    Field(max_length=100, examples=["receipt"]),
    AfterValidator(partial(check_name, prefix="tpl")),
]
Source = Annotated[Text, Field(max_length=MAX_SOURCE_CHARACTERS)]
Variables = Annotated[
    dict[str, JsonValue],
    Field(description="Values for the template's variables, such as `{{ name }}`."),
]
Version = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Parts(RequestModel):
    """The parts of a message, as Jinja templates."""

    subject: Source | None = Field(
        default=None, description="The subject. Line breaks become spaces."
    )
    text: Source | None = Field(
        default=None, description="The plain text. Default: derived from the HTML."
    )
    html: Source | None = Field(
        default=None, description="HTML. Heloise escapes variables. Alternative: `mjml`."
    )
    mjml: Source | None = Field(
        default=None, description="MJML, which Heloise turns into HTML. Alternative: `html`."
    )

    @model_validator(mode="after")
    def _check_one_kind(self) -> Self:
        if self.html is not None and self.mjml is not None:
            raise ValueError("set html or mjml, not both")
        return self

    def to_parts(self) -> dict[str, str]:
        """Return the parts that are set."""
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}


Locales = Annotated[
    dict[Locale, Parts],
    Field(
        max_length=MAX_LOCALES,
        description="Parts by language. Missing parts of `de-AT` come from `de`, then from the"
        " parts above.",
    ),
]
Schema = Annotated[
    dict[str, JsonValue] | None,
    Field(description="A JSON Schema that `variables` must match."),
]


class TemplateCreate(Parts):
    """A new template and its first draft."""

    name: Name
    locales: Locales = Field(default_factory=dict)
    variables_schema: Schema = None
    inline_css: StrictBool = Field(
        default=True, description="Whether to copy `<style>` rules into the elements, too."
    )


class TemplateUpdate(Parts):
    """Changes to the draft. Omitted fields stay; null removes a value."""

    name: Name | None = None
    locales: Locales | None = None
    variables_schema: Schema = None
    inline_css: StrictBool | None = None


class TemplatePublish(RequestModel):
    """The version to publish."""

    version: Version | None = Field(default=None, description="Default: the draft.")


class TemplatePreview(RequestModel):
    """Options of a preview."""

    variables: Variables = Field(default_factory=dict)
    locale: Locale | None = None
    version: Version | None = Field(default=None, description="Default: the latest version.")


class TemplateTest(TemplatePreview):
    """Options of a test message."""

    to: Annotated[list[Address], allow_single(Address)] = Field(
        min_length=1, max_length=MAX_TEST_RECIPIENTS
    )
    sender: Address | None = Field(default=None, alias="from")
    profile: Text | None = Field(default=None, max_length=100)


class TemplateRead(ResponseModel, json_schema_extra={"examples": [PUBLISHED]}):
    """A template."""

    id: str
    name: str
    published: int | None = Field(description="The published version. Null: none yet.")
    created_at: datetime
    updated_at: datetime


class PartsRead(ResponseModel):
    """The parts of a message, as Jinja templates."""

    subject: str | None
    text: str | None
    html: str | None
    mjml: str | None

    @classmethod
    def of_parts(cls, parts: Mapping[str, str], **more: Any) -> Self:  # noqa: ANN401 - of a subclass
        return cls(**{name: parts.get(name) for name in PARTS}, **more)


class TemplateVersionRead(PartsRead, json_schema_extra={"examples": [VERSION]}):
    """A version of a template."""

    number: int
    locales: dict[str, PartsRead]
    variables_schema: JsonValue
    inline_css: bool
    published_at: datetime | None = Field(
        description="When the version was first published. Null: it is a draft."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, version: TemplateVersion) -> Self:
        content: TemplateContent = version.content
        return cls.of_parts(
            content.parts,
            number=version.number,
            locales={name: PartsRead.of_parts(parts) for name, parts in content.locales.items()},
            variables_schema=content.variables_schema,
            inline_css=content.inlines_css,
            published_at=version.published_at,
            created_at=version.created_at,
            updated_at=version.updated_at,
        )


class TemplateVersions(ResponseModel):
    """The versions of a template, newest first."""

    items: list[TemplateVersionRead]


class TemplatePage(Page[TemplateRead]):
    """A page of templates, newest first."""


class TemplateRendered(ResponseModel, json_schema_extra={"examples": [RENDERED]}):
    """A rendered template."""

    version: int
    subject: str | None
    text: str | None
    html: str | None
