"""Define and read the settings.

Only `main` and the commands read them. Lower layers get values as arguments.
"""

from app.settings.model import (
    PREFIX,
    Settings,
    describe_expectation,
    get_description,
    get_info,
    variable_name,
)
from app.settings.reading import (
    Source,
    find_unknown_variables,
    format_default,
    list_settings,
    read_settings,
)

__all__ = [
    "PREFIX",
    "Settings",
    "Source",
    "describe_expectation",
    "find_unknown_variables",
    "format_default",
    "get_description",
    "get_info",
    "list_settings",
    "read_settings",
    "variable_name",
]
