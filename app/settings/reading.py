"""Read the settings, their sources and their errors."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableSourceError

from app.domain.errors import SettingsError
from app.settings.model import (
    PREFIX,
    SECRETS_DIR,
    Settings,
    build_secrets_source,
    describe_expectation,
    get_description,
    get_info,
    variable_name,
)
from app.store.db.url import MASK, mask_passwords

SHOWN_CHARACTERS: Final = 60


class Source(StrEnum):
    """The source of a value, strongest first."""

    ENVIRONMENT = "environment"
    DOTENV = ".env"
    SECRETS = "secrets folder"
    DEFAULT = "default"


class ShownSetting(NamedTuple):
    """A setting for display: variable, masked value and source."""

    name: str
    value: str
    source: Source


def read_settings() -> Settings:
    """Read and validate the settings.

    Raises SettingsError, which names each invalid setting, its value and the expected one.
    """
    try:
        return Settings()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        report = "\n".join(_format_errors(errors))
    except UnreadableSourceError as error:
        report = f"Cannot read a file in the secrets folder: {_describe_cause(error)}"
    except UnicodeDecodeError:
        report = "The file .env is not UTF-8 text."
    except OSError as error:
        report = f"Cannot read the file {error.filename}: {error.strerror}"
    # Raised outside the handlers, so that the error's context holds no values.
    raise SettingsError(report)


def list_settings(settings: Settings) -> list[ShownSetting]:
    """List all settings with masked values and their sources."""
    values_by_field = _read_values()
    return [
        ShownSetting(
            variable_name(field),
            _mask(field, getattr(settings, field)),
            values_by_field[field][0] if field in values_by_field else Source.DEFAULT,
        )
        for field in Settings.model_fields
    ]


def format_default(field: str) -> str:
    """Format the default of a field; empty if it has none."""
    return _mask(field, Settings.model_fields[field].default)


def find_unknown_variables() -> list[tuple[str, str | None]]:
    """List unknown HELOISE_ variables, each with the closest setting."""
    setting_names = {variable_name(field) for field in Settings.model_fields}
    names = {name.upper() for name in _list_names()}
    return [
        (name, _find_closest(name, setting_names))
        for name in sorted(names - setting_names)
        if name.startswith(PREFIX)
    ]


def _find_closest(name: str, setting_names: set[str]) -> str | None:
    words = {setting_name.removeprefix(PREFIX): setting_name for setting_name in setting_names}
    match = get_close_matches(name.removeprefix(PREFIX), words, n=1)
    return words[match[0]] if match else None


def _list_names() -> set[str]:
    folder = _find_secrets_folder()
    files = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    return {*os.environ, *DotEnvSettingsSource(Settings).env_vars, *files}


def _find_secrets_folder() -> Path:
    return Path(str(_read_values_above_secrets().get("secrets_dir", (None, SECRETS_DIR))[1]))


def _read_values_above_secrets() -> dict[str, tuple[Source, object]]:
    dotenv, environment = DotEnvSettingsSource(Settings)(), EnvSettingsSource(Settings)()
    return {
        **{field: (Source.DOTENV, value) for field, value in dotenv.items()},
        **{field: (Source.ENVIRONMENT, value) for field, value in environment.items()},
    }


def _read_values() -> dict[str, tuple[Source, object]]:
    """Return the strongest source and text of each field that is set."""
    secrets = build_secrets_source(Settings, _find_secrets_folder())()
    return {
        **{field: (Source.SECRETS, value) for field, value in secrets.items()},
        **_read_values_above_secrets(),
    }


def _format_errors(errors: Sequence[ErrorDetails]) -> list[str]:
    values_by_field = _read_values()
    first_by_field = {str(error["loc"][0]): error for error in reversed(errors)}
    return [
        _format_error(
            field, first_by_field[field], *values_by_field.get(field, (Source.DEFAULT, None))
        )
        for field in Settings.model_fields
        if field in first_by_field
    ]


def _format_error(field: str, error: ErrorDetails, source: Source, value: object) -> str:
    text = str(value)
    if get_info(field).is_secret:
        text = f"a value of {len(text)} characters"
    else:
        text = repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
    reason = error["msg"].removeprefix("Value error, ") if error["type"] == "value_error" else ""
    why = f": {reason}" if reason else ""
    return (
        f"{variable_name(field)}: found {text}, should be {describe_expectation(field)}{why}"
        f" (from: {source}). {get_description(field)}"
    )


def _mask(field: str, value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(MASK for _ in value)
    if get_info(field).is_secret:  # a database's URL
        return mask_passwords(str(value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _describe_cause(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError):
        return f"{cause.filename}: {cause.strerror}"
    return f"{error}, not UTF-8 text" if isinstance(cause, UnicodeDecodeError) else str(error)
