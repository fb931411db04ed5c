"""Define and read the settings.

Only `main` and the commands read them: lower layers get their values as arguments.
"""

from app.settings.model import PREFIX, About, Settings, about, description, expectation, variable
from app.settings.reading import Shown, Source, default_text, load, sources, unknown_variables

__all__ = [
    "PREFIX",
    "About",
    "Settings",
    "Shown",
    "Source",
    "about",
    "default_text",
    "description",
    "expectation",
    "load",
    "sources",
    "unknown_variables",
    "variable",
]
