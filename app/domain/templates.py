"""Define templates, their parts and their languages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

PARTS: Final = ("subject", "text", "html", "mjml")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateContent:
    """The content of a version.

    `parts` are Jinja sources by the names in `PARTS`, `locales` the same by language tag (RFC
    5646); `html` and `mjml` exclude each other. `references` names the templates that they use.
    """

    parts: Mapping[str, str]
    locales: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    variables_schema: Any = None
    inlines_css: bool = True
    references: tuple[str, ...] = ()

    def in_locale(self, locale: str | None) -> dict[str, str]:
        """Return the parts for a language: `de-AT`, then `de`, then the default.

        If the language has HTML, MJML of another one is ignored, and vice versa.
        """
        tag, fallbacks = (locale or "").lower(), list[Mapping[str, str]]()
        locales = {name.lower(): parts for name, parts in self.locales.items()}
        while tag:
            fallbacks.append(locales.get(tag, {}))
            tag = tag.rpartition("-")[0]
        sources = dict[str, str]()
        for parts in (*fallbacks, self.parts):
            for name, source in parts.items():
                if name in {"html", "mjml"} and {"html", "mjml"} & sources.keys():
                    continue
                sources.setdefault(name, source)
        return sources

    def sources(self) -> list[tuple[str, str]]:
        """Return all sources with the names of their parts."""
        return [
            source for parts in (self.parts, *self.locales.values()) for source in parts.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """A numbered version of a template; a draft until it is published."""

    number: int
    content: TemplateContent
    published_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template; `published` is the number of the published version."""

    id: str
    tenant_id: str
    name: str
    published: int | None
    created_at: datetime
    updated_at: datetime
