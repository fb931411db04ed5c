"""Keep the keys of `heloise dev` in its data folder, and build its settings from them."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from app.dev.inbox import write_private
from app.domain.api_keys import generate_secret
from app.domain.errors import SettingsError
from app.domain.secret_keys import generate_key
from app.settings.model import Settings, variable_name
from app.settings.reading import Source, list_settings, read_settings

KEYS_FILE: Final = "keys.json"
DATABASE_FILE: Final = "heloise.db"
ENVIRONMENT_FILE: Final = "env.sh"
MARK: Final = "# Written by `heloise dev` at each start; it replaces your changes.\n"


@dataclass(frozen=True)
class Keys:
    """The keys of a data folder."""

    secret_key: str
    admin_key: str
    api_key: str


def load_or_create_keys(folder: Path) -> Keys:
    """Load the keys of the folder, or create them, readable only by this user.

    Raises SettingsError if they cannot be read.
    """
    path = folder / KEYS_FILE
    remedy = f"delete {folder} to start over, or set --data to another folder"
    try:
        return Keys(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if (folder / DATABASE_FILE).exists():
            raise SettingsError(
                f"{path} with the keys of the database is missing; {remedy}"
            ) from None
    except (OSError, ValueError, TypeError):
        raise SettingsError(f"cannot read {path}; {remedy}") from None
    keys = Keys(secret_key=generate_key(), admin_key=generate_key(), api_key=generate_secret())
    save_keys(folder, keys)
    return keys


def save_keys(folder: Path, keys: Keys) -> None:
    """Save the keys in the folder, readable only by this user."""
    write_private(folder / KEYS_FILE, json.dumps(asdict(keys), indent=2).encode())


def make_settings(folder: Path, keys: Keys, *, host: str, port: int) -> Settings:
    """Build the settings of `heloise dev`.

    Database and keys are always those of the folder, never those of HELOISE_DATABASE_URL. SMTP
    submission has no TLS, so that the printed settings work with any client. Other settings can
    come from the environment.
    """
    defaults: dict[str, Any] = {
        "allowed_ports": "1-65535",
        "log_level": "warning",
        "log_format": "console",
        "shutdown_grace_seconds": 5,
    }
    set_variables = {
        setting.name
        for setting in list_settings(read_settings())
        if setting.source is not Source.DEFAULT
    }
    fixed: dict[str, Any] = {
        "database_url": f"sqlite:///{folder.absolute() / DATABASE_FILE}",
        "secret_keys": keys.secret_key,
        "admin_key": keys.admin_key,
        "allow_private_hosts": True,
        "delivery": True,
        "host": host,
        "port": port,
        "submission_allow_plaintext_auth": True,
        "submission_tls_certificate": None,
        "submission_tls_key": None,
    }
    return Settings(
        **{
            field: value
            for field, value in defaults.items()
            if variable_name(field) not in set_variables
        },
        **fixed,
    )


def write_environment(folder: Path, settings: Settings, keys: Keys) -> Path:
    """Write a shell script that lets other commands use the same database, keys and addresses.

    Raises SettingsError if somebody else wrote a file of that name.
    """
    path = folder / ENVIRONMENT_FILE
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        raise SettingsError(
            f"heloise dev did not write {path}; move it away, or set --data to another folder"
        )
    values = {
        "database_url": settings.database_url,
        "secret_keys": keys.secret_key,
        "admin_key": keys.admin_key,
        "allow_private_hosts": "true",
        "allowed_ports": settings.allowed_ports,
        "host": settings.host,
        "port": str(settings.port),
    }
    variables = {variable_name(field): value for field, value in values.items()}
    variables["KEY"] = keys.api_key
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    write_private(path, "".join([MARK, *lines]).encode())
    return path
