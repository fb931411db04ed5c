"""Jinja as tenants' templates have it: in its sandbox, and anew for each rendering.

Only compiled code outlives a rendering. Code is constant: it depends on the source alone. An
environment, the templates that it loads and the modules that these import can hold what a template
sets, so each rendering gets its own.
"""

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from random import SystemRandom
from types import CodeType
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template, TemplateNotFound, pass_environment
from jinja2.loaders import BaseLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment

ESCAPED: Final = frozenset({"html", "mjml"})
# What dense code of so many characters takes is a tenth of what the process may have.
KEPT_CHARACTERS: Final = 2_000_000
# The default generator's state outlives a rendering, and tells what it gives to the next one.
_RANDOM: Final = SystemRandom()


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Where the templates of one part are rendered once; `partials` are the others by name."""

    def __init__(self, part: str, partials: Mapping[str, str]) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=part in ESCAPED,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=_Partials(partials),
        )
        del self.globals["lipsum"]
        self.filters["random"] = _choose

    def template(self, source: str, name: str | None = None) -> Template:
        """A template of this source. Raises TemplateSyntaxError."""
        code = _CODES.get(self, source, name)
        return self.template_class.from_code(self, code, self.make_globals(None))


class _Partials(BaseLoader):
    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002, ARG002 - Jinja's; it is always its own
    ) -> Template:
        if name not in self._sources:
            raise TemplateNotFound(name)
        assert isinstance(environment, TemplateEnvironment)  # noqa: S101 - it has made this
        return environment.template(self._sources[name], name)


class _Codes:
    """Compiled templates, those used last, up to KEPT_CHARACTERS of source."""

    def __init__(self) -> None:
        self._codes = OrderedDict[tuple[Any, str, str | None], CodeType]()
        self._characters = 0

    def get(self, environment: Environment, source: str, name: str | None) -> CodeType:
        """The code of a source, which is the same in all environments that escape alike."""
        key = (environment.autoescape, source, name)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = environment.compile(source, name)
            self._characters += len(source)
        self._codes.move_to_end(key)
        while self._characters > KEPT_CHARACTERS:
            (_, dropped, _), _ = self._codes.popitem(last=False)
            self._characters -= len(dropped)
        return code


_CODES: Final = _Codes()


@pass_environment
def _choose(environment: Environment, values: Sequence[Any]) -> Any:  # noqa: ANN401 - JSON
    """The filter `random`."""
    return _RANDOM.choice(values) if values else environment.undefined("nothing to choose from")
