"""JSON values in templates: a key wins always, and nothing of Python's shows through."""

from typing import Any, Final

import pytest

from app.templating.child_processes import Renderer
from app.templating.rendering import run_job
from tests.templating.renderings import USUAL, render

# Names that Python's own types have.
NAMES: Final = sorted({*dir(dict), *dir(list), *dir(str)} - set(dir(object)))
VARIABLES: Final[dict[str, Any]] = {
    "order": {"items": [1, 2], "customer": None, "values": 5},
    "empty": {},
    "name": "Zoë",
    "tags": ["a", None, True],
    "paid": True,
    "nothing": None,
    "page": "<b>",
}


def render_or_error(source: str, part: str = "text", variables: Any = VARIABLES) -> str:
    """What comes of a source, or what is wrong with it."""
    job = {"do": "render", "parts": {part: source}, **USUAL, "variables": variables}
    result = run_job(job)
    return str(result[part] if part in result else result["error"]["message"])


def test_a_key_wins_against_every_method() -> None:
    """By a dot, in brackets, in filters that take an attribute, and in formats."""
    names = [name for name in NAMES if not name.startswith("_")]
    assert {"items", "values", "count", "title"} <= {*names}
    source = "".join(
        f"{{{{ d.{name} }}}}{{{{ d['{name}'] }}}}{{{{ [d]|map(attribute='{name}')|first }}}}"
        f"{{{{ '{{0.{name}}}'.format(d) }}}}\n"
        for name in names
    )
    variables = {"d": {name: f"<{name}>" for name in names}}
    assert render_or_error(source, variables=variables).split() == [
        f"<{name}>" * 4 for name in names
    ]


@pytest.mark.parametrize("value", ["{}", "[]", "'x'", "5", "1.5", "true", "nothing"])
def test_no_attribute_of_pythons_is_visible(value: str) -> None:
    """It is neither defined nor printed."""
    names = [*NAMES, "real", "imag", "numerator", "__class__", "__dict__"]
    defined = render_or_error(" ".join(f"{{{{ ({value}).{name} is defined }}}}" for name in names))
    assert set(defined.split()) == {"false"}
    for name in ("items", "count", "upper", "real", "__class__"):
        error = render_or_error(f"{{{{ ({value}).{name} }}}}")
        assert f"has no {name!r}" in error or "not allowed" in error


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for i in order.items %}{{ i }},{% endfor %}", "1,2,"),
        ("{{ empty.values|default('-') }}", "-"),
        ("{{ order.total }}", "this object has no 'total'; set it in variables"),
        ("{{ order.customer.name }}", "null has no 'name'; set it in variables"),
        ("{{ tags[7] }}", "this list has no 7; set it in variables"),
        ("{% for key, value in empty.items() %}{% else %}none{% endfor %}", "none"),
        ("{% for key, value in order|items %}{{ key }} {% endfor %}", "items customer values "),
        ("{{ name.upper() }} {{ 'a,b'.split(',')|join(' ') }}", "ZOË a b"),
        ("{{ name.upper }}", "this text has no 'upper'; set it in variables"),
        ("{{ empty.get('x') }}{{ empty.get('x')|upper }}", ""),
        ("{{ range }}", "cannot print this: it is neither text nor a value; print a variable"),
        (
            "{{ name.encode() }}",
            "cannot print this: it is neither text nor a value; print a variable",
        ),
    ],
)
def test_a_method_is_called_and_is_nothing_else(source: str, text: str) -> None:
    """Where no key has its name."""
    assert render_or_error(source) == text


@pytest.mark.parametrize("part", ["text", "html"])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[{{ nothing }}{{ none }}{{ order.customer }}]", "[]"),
        ("{{ 'a' ~ nothing ~ none ~ paid }}", "atrue"),
        ("{{ tags|join(' ') }}", "a  true"),
        ("[{{ nothing|upper }}{{ nothing|e }}{{ nothing|trim }}{{ nothing|striptags }}]", "[]"),
        ("{{ '<%s>'|format(nothing)|striptags }}{{ '{}'.format(nothing) }}", ""),
        ("{{ nothing|default('-', true) }}{{ nothing is none }}{{ nothing == none }}", "-truetrue"),
        ("{{ {'a': nothing}|tojson }}", '{"a": null}'),
        ("<p{{ {'class': nothing, 'id': 'i'}|xmlattr }}>", '<p id="i">'),
        ("{{ paid }} {{ true }} {{ 1 > 2 }} {{ 1.50 }}", "true true false 1.5"),
        ("{{ tags|string|safe }}", '["a", null, true]'),
        ("{{ tags|map('string')|pprint|safe }}", '[\n  "a",\n  "",\n  "true"\n]'),
    ],
)
def test_values_are_printed_as_json_has_them_and_null_is_nothing(
    part: str, source: str, text: str
) -> None:
    """Alone, put together, and after filters."""
    assert render_or_error(source, part) == text


def test_what_is_printed_is_escaped_in_html() -> None:
    """Once; a part of the template itself is not."""
    assert (
        render_or_error("{{ [page] }} {{ page ~ '&' }}", "html")
        == "[&#34;&lt;b&gt;&#34;] &lt;b&gt;&amp;"
    )
    assert render_or_error("{{ '<i>'|safe ~ page }}", "html") == "<i>&lt;b&gt;"


async def test_a_variable_may_have_any_name(renderer: Renderer) -> None:
    """In the process for templates too."""
    variables = {"stats": {"values": [1], "keys": 2, "format": "x", "get": {"pop": 3}}}
    source = "{{ stats.values }} {{ stats.keys }} {{ stats.format }} {{ stats.get.pop }}"
    assert (await render(renderer, {"text": source}, variables=variables)).text == "[1] 2 x 3"
