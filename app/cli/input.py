"""Read what a user gives to commands: settings, options, and bodies as the API takes them."""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from pydantic import BaseModel, ValidationError

from app.domain.errors import FieldError, InvalidRequest
from app.settings.model import Settings
from app.settings.reading import find_unknown_variables, read_settings

Body = TypeVar("Body", bound=BaseModel)
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's slug or id.")]
AnyTenantOption = Annotated[
    str | None,
    typer.Option("--tenant", "-t", help="The tenant's slug or id. Default: all tenants."),
]


def load_settings() -> Settings:
    """Load the settings, and warn about unknown HELOISE variables."""
    settings = read_settings()
    for name, closest in find_unknown_variables():
        hint = f"; did you mean {closest}?" if closest else ""
        typer.echo(f"warning: {name} is not a setting of Heloise{hint}", err=True)
    return settings


Command = Callable[..., None]


def add_options(options: type) -> Callable[[Command], Command]:
    """Add the options of a TypedDict to a command with `**cli_options`; flags are off."""

    def add(command: Command) -> Command:
        parameters = [
            parameter
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.kind is not Parameter.VAR_KEYWORD
        ]
        for name, kind in get_type_hints(options, include_extras=True).items():
            default = False if get_args(kind)[0] is bool else None
            parameters.append(
                Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            )

        @wraps(command)
        def run(*arguments: object, **options: object) -> None:
            command(*arguments, **options)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # read by typer
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return add


def validate_body(model: type[Body], fields: object) -> Body:
    """Validate a body. Raises InvalidRequest with the invalid fields, without their values."""
    try:
        return model.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
    # Raised outside `except`: the context would contain the ValidationError with the values.
    raise _make_refusal(_list_errors(details))


def validate_options(model: type[Body], options: Mapping[str, object]) -> Body:
    """Validate a body of the options that are set, like `validate_body`."""
    return validate_body(
        model, {name: value for name, value in options.items() if value not in (None, [])}
    )


@contextmanager
def validation_errors() -> Iterator[None]:
    """Report the API's refusals of a body like `validate_body`."""
    try:
        yield
    except InvalidRequest as error:
        errors = error.errors
    else:
        return
    raise _make_refusal(errors)


def _list_errors(details: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    return [
        FieldError(tuple(item["loc"]), item["msg"].removeprefix("Value error, "), item["type"])
        for item in details
    ]


def _make_refusal(errors: Iterable[FieldError]) -> InvalidRequest:
    """Build the refusal, with field locations as in the input."""
    fields = [
        FieldError(
            error.loc[1:] if error.loc[:1] == ("body",) else error.loc, error.msg, error.type
        )
        for error in errors
    ]
    return InvalidRequest("Invalid input:", fields)


def read_json(path: Path) -> object:
    """Read JSON from a file, or from stdin for `-`. Raises InvalidRequest."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        reason = f"{path} is not JSON: {error.msg} at {place}."
    # Raised outside `except`: the context would contain the text, which may contain a password.
    raise InvalidRequest(reason)


def read_text(path: Path) -> str:
    """Read text from a file, or from stdin for `-`. Raises InvalidRequest."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text.") from None
