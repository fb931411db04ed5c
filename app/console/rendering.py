"""Render the console's pages. Every value is foreign text: it is escaped, and shown as it is."""

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.domain.events import EventType

FOLDER: Final = Path(__file__).parent
# Controls, and characters that turn, hide or join their neighbours: an attacker could let a reply
# read otherwise than it is (Trojan Source, CVE-2021-42574).
_DECEPTIVE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show(value: object) -> object:
    """Return a value as the page shows it, with deceptive characters as escapes."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _DECEPTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
    return "" if value is None else value


def describe_age(seconds: float) -> str:
    """Return a duration in its largest unit, such as `3 min`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"


def build_time(value: str | datetime | None, now: datetime) -> Markup:
    """Return a `time` element: relative, with the exact moment as its title."""
    if value is None:
        return Markup("<span class=none>never</span>")
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    seconds = (now - moment).total_seconds()
    age = describe_age(abs(seconds))
    text = f"in {age}" if seconds < 0 else f"{age} ago"
    exact = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, text)


@lru_cache(maxsize=1)
def make_environment() -> Environment:
    """Make the templates' environment."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=show,
    )
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    environment.filters["unquote"] = unquote
    environment.filters["words"] = lambda value: str(value).replace("_", " ").replace("-", " ")
    environment.globals["event_types"] = " ".join(EventType)
    return environment


@lru_cache(maxsize=1)
def read_static_files() -> dict[str, tuple[bytes, str, str]]:
    """Read the scripts and styles: content, media type and version, by name."""
    types = {
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
    return {
        path.name: (content, types[path.suffix], sha256(content).hexdigest()[:12])
        for path in sorted((FOLDER / "static").iterdir())
        if path.suffix in types and (content := path.read_bytes())
    }


def render(template: str, /, **values: Any) -> str:  # noqa: ANN401 - what the templates show
    """Render a template."""
    return make_environment().get_template(template).render(**values)
