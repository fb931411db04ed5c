"""All that a template may use works where no file can be opened, and tells of none."""

import encodings
import json
import pkgutil
from typing import Any, Final

from app.templating import TemplateError
from app.templating.child_processes import Renderer
from app.templating.environment import TemplateEnvironment
from app.templating.rendering import run_job
from tests.templating.renderings import USUAL, error_of, render

VARIABLES: Final = {
    "x": "<b>Zoë &amp; co</b> http://x.example",
    "l": [3, 1, 2],
    "rows": [{"k": "a", "n": 1}, {"k": "b", "n": 2}],
    "d": {"k": "v"},
    "n": 7.5,
}
# Each with what it needs; a filter that Jinja adds fails the test until it is here.
FILTERS: Final = {
    "abs": "n|abs",
    "attr": "joiner('+')|attr('sep')",
    "batch": "l|batch(2, '-')|list|length",
    "capitalize": "x|capitalize",
    "center": "x|center(80)",
    "count": "l|count",
    "d": "y|d('z')",
    "default": "y|default('z')",
    "dictsort": "d|dictsort|first|join",
    "e": "x|e",
    "escape": "x|escape",
    "filesizeformat": "n|filesizeformat",
    "first": "l|first",
    "float": "'1.5'|float",
    "forceescape": "x|forceescape",
    "format": "'%s %.2f'|format(x, n)",
    "groupby": "(rows|groupby('k')|first).grouper",
    "indent": "x|indent",
    "int": "'0x1f'|int(base=16)",
    "items": "d|items|first|join",
    "join": "l|join(', ')",
    "last": "l|last",
    "length": "l|length",
    "list": "x|list|length",
    "lower": "x|lower",
    "map": "rows|map(attribute='n')|sum",
    "max": "l|max",
    "min": "l|min",
    "pprint": "rows|pprint",
    "random": "[x]|random",
    "reject": "l|reject('odd')|first",
    "rejectattr": "(rows|rejectattr('n', 'odd')|first).k",
    "replace": "x|replace('b', 'i')",
    "reverse": "x|reverse",
    "round": "n|round(1, 'floor')",
    "safe": "x|safe",
    "select": "l|select('odd')|first",
    "selectattr": "(rows|selectattr('n', 'odd')|first).k",
    "slice": "l|slice(2)|list|length",
    "sort": "l|sort|join",
    "string": "n|string",
    "striptags": "x|striptags",
    "sum": "l|sum",
    "title": "x|title",
    "tojson": "rows|tojson(2)",
    "trim": "x|trim",
    "truncate": "x|truncate(12)",
    "unique": "l|unique|join",
    "upper": "x|upper",
    "urlencode": "d|urlencode ~ x|urlencode",
    "urlize": "x|urlize(20, true, '_blank', 'nofollow', ['tel:'])",
    "wordcount": "x|wordcount",
    "wordwrap": "x|wordwrap(5)",
    "xmlattr": "d|xmlattr",
}
# Tests that are operators have no name in a template, but for `select`.
COMPARED: Final = frozenset({"!=", "<", "<=", "==", ">", ">="})
ARGUMENTS: Final = {
    "divisibleby": "(3)",
    "in": "([5])",
    **dict.fromkeys(("eq", "equalto", "ne", "sameas"), "(4)"),
    **dict.fromkeys(("ge", "greaterthan", "gt", "le", "lessthan", "lt"), "(4)"),
}
GLOBALS: Final = {
    "cycler": "cycler('a', 'b').next()",
    "dict": "dict(a=1).a",
    "joiner": "joiner('+')()",
    "namespace": "namespace(a=x).a",
    "range": "range(3)|join",
}


def in_this_process(part: str, source: str) -> str:
    """What it is where files can be opened."""
    job: dict[str, Any] = {"do": "render", "parts": {part: source}, **USUAL}
    result: str = run_job(job | {"variables": VARIABLES})[part]
    return result


async def in_its_own(renderer: Renderer, part: str, source: str) -> str | None:
    """What it is where templates are rendered."""
    result = await render(renderer, {part: source}, variables=VARIABLES)
    return result.html if part == "html" else result.text


async def test_every_filter_test_and_function_works_without_files(renderer: Renderer) -> None:
    """As it does with them."""
    environment = TemplateEnvironment("text", {})
    tests = [
        f"[5]|select('{name}', 4)|list|length"
        if name in COMPARED
        else f"5 is {name}{ARGUMENTS.get(name, '')}"
        for name in environment.tests
    ]
    assert environment.filters.keys() == FILTERS.keys()
    assert environment.globals.keys() == GLOBALS.keys()
    for expression in [*FILTERS.values(), *tests, *GLOBALS.values()]:
        for part in ("text", "html"):
            source = f"{{{{ {expression} }}}}"
            assert await in_its_own(renderer, part, source) == in_this_process(part, source), source


async def test_every_codec_works_without_files(renderer: Renderer) -> None:
    """Or is refused as one that there is not."""
    names = [module.name for module in pkgutil.iter_modules(encodings.__path__)]
    assert "idna" in names
    for name in [*names, "none-such"]:
        source = "{{ 'x'.encode('" + name + "')|length }}"
        try:
            outcome = await in_its_own(renderer, "text", source)
        except TemplateError as error:
            outcome = str(error)
        assert outcome
        assert outcome.isdigit() or "encod" in outcome
        assert "/" not in outcome


async def test_no_error_tells_where_the_service_is_installed(renderer: Renderer) -> None:
    """Whatever was to be read: a template, a schema, or what MJML includes."""
    path = json.__file__
    sources: list[dict[str, Any]] = [
        {"parts": {"text": f"{{% include '{path}' %}}"}},
        {"parts": {"text": "{{ d['" + path + "'] }}"}, "variables": {"d": {}}},
        {"parts": {"mjml": f"<mjml><mj-body><mj-include path='{path}' /></mj-body></mjml>"}},
        {"parts": {"text": "x"}, "schema": {"$ref": f"file://{path}"}},
    ]
    for fields in sources:
        error = await error_of(renderer, **fields)
        assert path.rpartition("/")[0] not in str(error)
