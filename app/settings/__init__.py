"""Every setting: its meaning, unit, bounds and default, and where its value came from.

Nobody below `main` reads them: their values reach the lower layers as arguments.
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
