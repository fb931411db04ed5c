"""Turn forms into JSON of the API, and the API's answers into forms."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Self

from starlette.responses import Response

from app.console.api_client import ApiClient, ApiError
from app.console.page import Visit

Kind = Literal[
    "text", "number", "password", "checkbox", "choices", "textarea", "lines", "words", "json"
]
ANY: Final = ("", "any")
INVALID: Final = 422
CHANGED: Final = (
    "Somebody has changed this since you opened the form. Open it again, and repeat your changes."
)
MAX_DIGITS: Final = 18
MAX_LEVELS: Final = 100
_TOO_DEEP: Final = f"write JSON with at most {MAX_LEVELS} levels"
# How the API refuses the filters of a list.
_REFUSED_FILTERS: Final = frozenset({"invalid-request", "profile-not-found"})


def list_choices(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return the options of a `select`, with their texts."""
    return [(value.value, value.value.replace("_", " ")) for value in values]


def has_changed(updated_at: str, resource: Mapping[str, Any]) -> bool:
    """Return whether a resource has changed since a form showed it."""
    return bool(updated_at) and updated_at != resource["updated_at"]


def parse_number(text: str) -> int | str | None:
    """Return digits as a number, None for no text; the API says what is wrong with the rest."""
    text = text.strip()
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else text or None


def parse_json(text: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value of a text in JSON. Raises ValueError."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"write JSON: line {error.lineno}: {error.msg}") from None
    except ValueError:
        raise ValueError("write shorter numbers") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    # What is read must be written again, deeper in the stack.
    values = [value]
    for _ in range(MAX_LEVELS):
        values = [inner for outer in values for inner in _list_values(outer)]
        if not values:
            return value
    raise ValueError(_TOO_DEEP)


def _list_values(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def look_up(resource: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value at a dotted path, or None if there is none."""
    value: Any = resource
    for part in path.split("."):
        value = None if value is None else value.get(part)
    return value


def put(body: dict[str, Any], path: str, value: object) -> None:
    """Set the value at a path of one or two names."""
    place, _, part = path.rpartition(".")
    if not place:
        body[part] = value
        return
    if not isinstance(body.get(place), dict):
        body[place] = {}
    body[place][part] = value


def assign_errors(
    field_errors: Mapping[str, str], names: Iterable[str], default: str | None = None
) -> dict[str, str]:
    """Return the API's errors by field of a form, with the places within the fields.

    Errors of no field are of `default`, or else of the part of the body that they are in.
    """
    names, errors = list(names), dict[str, str]()
    for path, text in field_errors.items():
        fields = (name for name in names if f"{path}.".startswith(f"{name}."))
        name = next(fields, default or path.partition(".")[0])
        inner = path.removeprefix(name).removeprefix(".")
        message = f"{inner}: {text}" if inner else text
        errors[name] = f"{errors[name]}; {message}" if name in errors else message
    return errors


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form, named by its path in the API's JSON.

    Without a text, a required field is an empty string, a password is left out, a list is the
    default, and any other field is null. Of lists of strings, `lines` has one per line, `words` one
    per word, and `choices` some of the options. `json` is for nested values.
    """

    name: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    placeholder: str = ""
    options: Sequence[tuple[str, str]] | None = None
    is_required: bool = False
    default: object = None

    def format_value(self, value: object) -> str:
        """Return a value of the API as the text of the field; a checked checkbox has a text."""
        if value is None or value is False or self.kind == "password":
            return ""
        if isinstance(value, list | tuple) and self.kind != "json":
            return (" " if self.kind == "words" else "\n").join(map(str, value))
        return (
            json.dumps(value, indent=2, ensure_ascii=False) if self.kind == "json" else str(value)
        )

    def parse_text(self, text: str) -> object:
        """Return the value for the API. Raises ValueError."""
        if self.kind == "checkbox":
            return bool(text)
        if self.kind in {"lines", "choices", "words"}:
            parts = text.replace(",", " ").split() if self.kind == "words" else text.splitlines()
            return [part.strip() for part in parts if part.strip()] or self.default
        if not text.strip():
            return "" if self.is_required else None
        if self.kind == "json":
            return parse_json(text)
        if self.kind == "number":
            return parse_number(text)
        return text if self.kind in {"textarea", "password"} else text.strip()


@dataclass
class Form:
    """A form with what is in it, and what the API says about it."""

    fields: Sequence[Field]
    values: dict[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    status: int = 200
    updated_at: str = ""  # when the resource that the form shows was changed last

    @classmethod
    def show(cls, fields: Sequence[Field], resource: Mapping[str, Any] | None = None) -> Self:
        """Make a form for a resource of the API, or one with the fields' defaults."""
        texts = {
            item.name: item.format_value(
                item.default if resource is None else look_up(resource, item.name)
            )
            for item in fields
        }
        return cls(fields, texts, updated_at=str((resource or {}).get("updated_at", "")))

    @classmethod
    def read(cls, fields: Sequence[Field], sent: Mapping[str, str]) -> Self:
        """Read a form that a user sent."""
        texts = {item.name: sent.get(item.name, "") for item in fields}
        return cls(fields, texts, updated_at=sent.get("updated_at", ""))

    @property
    def filled(self) -> dict[str, str]:
        """The texts that are not empty."""
        return {name: text.strip() for name, text in self.values.items() if text.strip()}

    def build_body(self) -> dict[str, object]:
        """Return the JSON for the API, and set `problem` if a field is not JSON."""
        body = dict[str, object]()
        for item in self.fields:
            text = self.values[item.name]
            if item.kind == "password" and not text:
                continue
            try:
                put(body, item.name, item.parse_text(text))
            except ValueError as error:
                self.errors[item.name] = str(error)
                self.problem, self.status = f"{item.label}: {error}", INVALID
        return body

    async def send(self, api: ApiClient, method: str, path: str, **more: object) -> Any:  # noqa: ANN401 - JSON
        """Send the form and `more` fields to the API. A refusal is in `problem`; returns None."""
        body = self.build_body() | more
        if self.problem is None:
            try:
                return await api.call(method, path, body=body)
            except ApiError as error:
                self.refuse(error)
        return None

    def require_current(self, resource: Mapping[str, Any]) -> None:
        """Set `problem` if the resource has changed since the form showed it."""
        if has_changed(self.updated_at, resource):
            self.problem, self.status = CHANGED, INVALID

    def refuse(self, error: ApiError) -> None:
        """Keep what the API says, at the field that it is about."""
        self.problem, self.status = error.detail, error.status
        self.errors |= assign_errors(error.field_errors, self.values)

    def render(
        self, visit: Visit, *, title: str, submit: str, back: str, hint: str = ""
    ) -> Response:
        """Render the page of the form; `back` is the URL of the page to return to."""
        # A secret is never sent back.
        for item in self.fields:
            if item.kind == "password":
                self.values[item.name] = ""
        return visit.render(
            "form.html",
            status=self.status,
            form=self,
            title=title,
            submit=submit,
            back=back,
            hint=hint,
        )


async def read_list(
    visit: Visit, path: str, filters: Sequence[Field] = (), *, limit: int | None = None
) -> tuple[Any, Form]:
    """Return a page of a list, by the filters and the cursor of the URL, and its form."""
    query = visit.request.query_params
    defaults = {item.name: str(item.default) for item in filters if item.default is not None}
    form = Form.read(filters, defaults | dict(query))
    params = {**form.filled, "cursor": query.get("cursor"), "limit": limit}
    try:
        page = await visit.api.get(path, params)
    except ApiError as error:
        if not filters or error.slug not in _REFUSED_FILTERS:
            raise
        form.refuse(error)
        page = {"items": [], "next_cursor": None}
    return page, form
