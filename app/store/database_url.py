"""What the URL of a database says: apart, since settings are checked where nothing is opened."""

from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url

from app.domain.errors import SettingsError

SQLITE_DRIVER: Final = "sqlite+heloise"


def async_url(url: str) -> URL:
    """The SQLAlchemy URL with its async driver, from `sqlite:///…` or `postgresql://…`.

    Raises SettingsError for any other database.
    """
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return parsed.set(drivername=SQLITE_DRIVER)
        case "postgresql" | "postgres":
            # asyncpg's own connect() knows libpq's `sslmode`, its SQLAlchemy dialect only `ssl`.
            query = {
                ("ssl" if key == "sslmode" else key): parsed.query[key] for key in parsed.query
            }
            return parsed.set(drivername="postgresql+asyncpg", query=query)
        case other:
            raise SettingsError(
                f"HELOISE_DATABASE_URL names the database {other!r};"
                " write sqlite:///file.db or postgresql://user:password@host/database"
            )


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL, or None where the database is another one."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)
