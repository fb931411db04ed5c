"""Set up a sandboxed Jinja environment for each rendering.

Only compiled code outlives a rendering. Code is constant: it depends on the source alone. An
environment, the templates that it loads and the modules that these import can hold what a template
sets, so each rendering gets its own.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import partial
from random import SystemRandom
from types import CodeType
from typing import Any, Final

from jinja2 import (
    Environment,
    StrictUndefined,
    Template,
    TemplateNotFound,
    Undefined,
    nodes,
    pass_environment,
    pass_eval_context,
)
from jinja2.filters import do_join, do_xmlattr, make_attrgetter
from jinja2.loaders import BaseLoader
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.templating.values import NULL, TYPE_NAMES, Method, format_value, is_null, to_json

ESCAPED_PARTS: Final = frozenset({"html", "mjml"})
# Code of this many characters takes at most a tenth of the memory limit.
MAX_CACHED_CHARACTERS: Final = 2_000_000
# Not the default generator: its state outlives a rendering, so templates could predict values.
_RANDOM: Final = SystemRandom()


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one rendering of a part; `partials` are other templates by name."""

    def __init__(self, part: str, partials: Mapping[str, str]) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=part in ESCAPED_PARTS,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=_Partials(partials),
        )
        del self.globals["lipsum"]
        self.filters |= FILTERS
        self.tests["none"] = is_null
        self.policies["json.dumps_function"] = to_json

    def template(self, source: str, name: str | None = None) -> Template:
        """Compile a template. Raises TemplateSyntaxError."""
        code = _CODE_CACHE.get(self, source, name)
        return self.template_class.from_code(self, code, self.make_globals(None))

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - any value
        """Evaluate `obj.attribute`; for a JSON value like `obj["attribute"]`."""
        if type(obj) in TYPE_NAMES:
            return self.getitem(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - any value
        """Evaluate `obj[argument]`: a key, an element or a method of a JSON value."""
        if type(obj) not in TYPE_NAMES:
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self._resolve_missing_key(obj, argument)

    def _resolve_missing_key(self, obj: Any, argument: Any) -> Undefined:  # noqa: ANN401 - any value
        hint = f"{TYPE_NAMES[type(obj)]} has no {argument!r}"
        if isinstance(argument, str) and hasattr(obj, argument):
            value = super().getattr(obj, argument)
            if isinstance(value, Undefined):  # the sandbox's refusal
                return value
            if callable(value):
                return Method(value, hint)
        return self.undefined(hint)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any value
        """Call a function or method; converts None to null."""
        function = obj.function if isinstance(obj, Method) else obj
        result = super().call(context, function, *args, **kwargs)
        return NULL if result is None else result

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,  # noqa: FBT001, FBT002 - Jinja's
    ) -> str:
        """Apply the filter `string` to every expression in `{{ }}` and `~`.

        Jinja's hook for this, `finalize`, runs after constants in HTML became text.
        """
        printing: Iterable[Any] = source.find_all((nodes.Output, nodes.Concat))
        for node in printing:
            node.nodes = [_wrap_node(self, child) for child in node.nodes]
        return super()._generate(source, name, filename, defer_init)


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


class _CodeCache:
    """LRU cache of compiled templates, bounded by their characters."""

    def __init__(self) -> None:
        self._codes = OrderedDict[tuple[Any, str, str | None], CodeType]()
        self._characters = 0

    def get(self, environment: Environment, source: str, name: str | None) -> CodeType:
        """Return the code of a source; it depends only on the source and the escaping."""
        key = (environment.autoescape, source, name)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = environment.compile(source, name)
            self._characters += len(source)
        self._codes.move_to_end(key)
        while self._characters > MAX_CACHED_CHARACTERS:
            (_, dropped_source, _), _ = self._codes.popitem(last=False)
            self._characters -= len(dropped_source)
        return code


_CODE_CACHE: Final = _CodeCache()


def _wrap_node(environment: Environment, node: nodes.Expr) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData):
        return node
    filter_node = nodes.Filter(node, "string", [], [], None, None, lineno=node.lineno)
    filter_node.set_environment(environment)
    return filter_node


@pass_environment
def _pick_random(environment: Environment, values: Sequence[Any]) -> Any:  # noqa: ANN401 - JSON
    return _RANDOM.choice(values) if values else environment.undefined("nothing to choose from")


@pass_eval_context
def _join(
    context: EvalContext, values: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    if attribute is not None:
        values = map(make_attrgetter(context.environment, attribute), values)
    text: str = do_join(context, map(format_value, values), d)
    return text


@pass_eval_context
def _format_attributes(
    context: EvalContext,
    values: Mapping[str, Any],
    autospace: bool = True,  # noqa: FBT001, FBT002 - Jinja's
) -> str:
    attributes = {name: format_value(value) for name, value in values.items() if not is_null(value)}
    return do_xmlattr(context, attributes, autospace)


FILTERS: Final[Mapping[str, Any]] = {
    "join": _join,
    "pprint": partial(to_json, indent=2, ensure_ascii=False),
    "random": _pick_random,
    "string": format_value,
    "xmlattr": _format_attributes,
}
