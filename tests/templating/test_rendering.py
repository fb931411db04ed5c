"""What a template can do, and what it cannot, whoever wrote it."""

from typing import Final

import pytest

from app.templating import TemplateError
from app.templating.child_processes import Rendered, Renderer
from tests.templating.renderings import TENANT, error_of, render


async def test_html_is_escaped_and_text_is_not(renderer: Renderer) -> None:
    """Nor is the subject, in which a line break is a space."""
    result = await render(
        renderer,
        {"subject": "{{ x }}\n!", "text": "{{ x }}", "html": "<p>{{ x }}</p>"},
        variables={"x": "<b>\r\n&"},
    )
    assert result == Rendered("<b> & !", "<b>\r\n&", "<p>&lt;b&gt;\r\n&amp;</p>")


async def test_what_is_missing_is_named(renderer: Renderer) -> None:
    """With the part and the line, however deep it is."""
    error = await error_of(renderer, {"html": "<p>\n{{ order.total }}"}, variables={"order": {}})
    assert (error.part, error.line) == ("html", 2)
    assert "'total'" in str(error)
    error = await error_of(renderer, {"subject": "{% if late %}x{% endif %}"})
    assert (error.part, error.line) == ("subject", 1)
    assert "'late' is undefined" in str(error)


async def test_a_schema_says_what_variables_are(renderer: Renderer) -> None:
    """Before anything is rendered; it is looked up nowhere."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    parts = {"text": "{{ n }}"}
    result = await render(renderer, parts, schema=schema, variables={"n": 1})
    assert result.text == "1"
    error = await error_of(renderer, parts, schema=schema, variables={"n": "1"})
    assert (error.part, str(error)) == ("variables", 'variables.n: "1" is not of type "integer"')
    error = await error_of(renderer, parts, schema={"$ref": "http://127.0.0.1:1/"})
    assert error.part == "variables_schema"


async def test_layouts_and_partials(renderer: Renderer) -> None:
    """Each part takes the same part of the others."""
    partials = {
        "layout": {
            "html": "<body>{% block c %}{% endblock %}</body>",
            "text": "{% block c %}{% endblock %}--",
        },
        "foot": {"html": "<i>{{ x }}</i>", "text": "{{ x }}"},
    }
    source = "{% extends 'layout' %}{% block c %}{% include 'foot' %}{% endblock %}"
    result = await render(
        renderer, {"html": source, "text": source}, partials=partials, variables={"x": "&"}
    )
    assert (result.html, result.text) == ("<body><i>&amp;</i></body>", "&--")
    error = await error_of(renderer, {"subject": source}, partials=partials)
    assert "'layout' has no subject" in str(error)


async def test_mjml_and_css(renderer: Renderer) -> None:
    """MJML is compiled once the variables are in it; styles stand in the elements as well."""
    source = (
        "<mjml><mj-body><mj-section><mj-column>{% for n in names %}<mj-text>{{ n }}</mj-text>"
        "{% endfor %}</mj-column></mj-section></mj-body></mjml>"
    )
    result = await render(renderer, {"mjml": source}, variables={"names": ["A&B", "C"]})
    assert result.html is not None
    assert result.html.lower().startswith("<!doctype html>")
    assert ">A&amp;B</div>" in result.html
    assert "googleapis" not in result.html
    assert result.text is not None
    assert result.text.split() == ["A&B", "C"]
    error = await error_of(renderer, {"mjml": "<mjml><mj-body>"})
    assert error.part == "mjml"
    styled = {"html": "<style>p { color: red }</style><p>x</p>"}
    inlined = await render(renderer, styled)
    assert inlined.html is not None
    assert '<p style="color: red' in inlined.html
    assert (await render(renderer, styled, inlines_css=False)).html == styled["html"]


DOCTYPE: Final = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"'
    ' "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
)
LINK: Final = '<link rel="stylesheet" href="https://x.example/a.css">'
STYLE: Final = """
@import url("https://x.example/b.css");
@font-face { font-family: F; src: url(f.woff) }
a { color: green }
a:hover { color: blue }
[data-ogsc] .d { color: white }
.ExternalClass { width: 100% }
u + .body .x { margin: 0 }
p::first-line { color: pink }
@media (max-width: 600px) { a { color: black } }
#outlook a { padding: 0 }
@media (prefers-color-scheme: dark) { .d { color: white } }
@supports (display: grid) { .g { display: grid } }
@layer l { b { top: 0 } }
.c { &:hover { top: 0 } }
"""


async def test_no_style_is_lost_by_inlining(renderer: Renderer) -> None:
    """What an element cannot have stays in its place: states, media, links, the doctype."""
    page = f"{DOCTYPE}<html><head>{LINK}<style>{STYLE}</style></head><body><a>x</a></body></html>"
    html = (await render(renderer, {"html": page})).html
    assert html is not None
    assert html.startswith(DOCTYPE)
    assert f"<style>{STYLE}</style>" in html
    assert LINK in html
    assert '<a style="color: green;">x</a>' in html


@pytest.mark.parametrize("media", ["print", '"(max-width: 600px)"', "'only screen and (color)'"])
async def test_a_style_for_some_media_is_not_inlined(renderer: Renderer, media: str) -> None:
    """It would hold for all of them."""
    style = f"<style type='text/css' media={media}>p {{ color: red }}</style>"
    html = (await render(renderer, {"html": f"{style}<style>b {{ top: 0 }}</style><p>x</p>"})).html
    assert html is not None
    assert "<p>x</p>" in html
    assert "data-css-inline" not in html
    for everywhere in ("all", '"screen"'):
        style = f"<style media={everywhere}>p {{ color: red }}</style>"
        html = (await render(renderer, {"html": f"{style}<p>x</p>"})).html
        assert '<p style="color: red;">' in (html or "")


async def test_nothing_is_read_from_elsewhere(renderer: Renderer) -> None:
    """Neither a style sheet nor an include, from a file or from a network."""
    link = '<link rel="stylesheet" href="file:///etc/passwd"><p>x</p>'
    result = await render(renderer, {"html": link})
    assert result.html is not None
    assert "root:" not in result.html
    include = '<mjml><mj-body><mj-include path="/etc/passwd" /></mj-body></mjml>'
    assert (await error_of(renderer, {"mjml": include})).part == "mjml"


HOSTILE: Final = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a long string": "{{ 'a' * 10**10 }}",
    "a long string by centering": "{{ 'x'.center(10**9) }}",
    "a long string by formatting": "{{ '%1000000000d'|format(1) }}",
    "a large number": "{{ 9**(9**9) }}",
    "a long range": "{% for i in range(10**9) %}{% endfor %}",
    "a list that doubles": (
        "{% set ns = namespace(a=[1]) %}"
        "{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"
    ),
    "much text": "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "a macro without an end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "an include of itself": "{% include 'self' %}",
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "an attribute": "{{ ''.__class__.__mro__ }}",
    "an attribute by a filter": "{{ x|attr('__class__') }}",
    "an attribute by a format": "{{ '{0.__class__.__mro__}'.format(x) }}{{ undefined }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "globals of itself": "{{ self.__init__.__globals__ }}",
    "a filter of what is no object": "{{ 5|xmlattr }}",
    "a change of what was given": "{{ y.append(1) }}",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_template_harms_nobody(renderer: Renderer, name: str) -> None:
    """It ends with an error, and the next one is rendered as if nothing had been."""
    error = await error_of(
        renderer,
        {"text": HOSTILE[name]},
        variables={"x": 1, "y": [1]},
        partials={"self": {"text": "{% include 'self' %}"}},
    )
    assert len(str(error)) < 500
    assert (await render(renderer, {"text": "{{ 1 + 1 }}"})).text == "2"


async def test_a_page_that_ends_its_process_harms_nobody(renderer: Renderer) -> None:
    """What is written in other languages than Python may end it at once."""
    page = "<style>p p{a:b}</style>" + "<div>" * 60_000
    error = await error_of(renderer, {"html": page}, max_characters=1_000_000)
    assert "memory or time" in str(error) or "seconds" in str(error)
    assert (await render(renderer, {"text": "{{ 1 + 1 }}"})).text == "2"


async def test_its_process_knows_no_secret_and_opens_no_file(renderer: Renderer) -> None:
    """Were the sandbox left, there would be nothing to find: this is what the code there can do."""
    process = await renderer._take_process()  # noqa: SLF001 - what no template gets at
    with open(f"/proc/{process.pid}/environ", "rb") as environ:  # noqa: ASYNC230, PTH123 - it is short
        assert environ.read() == b""
    with open(f"/proc/{process.pid}/limits") as limits:  # noqa: ASYNC230, PTH123 - as above
        lines = {line[:25].strip(): line[25:].split() for line in limits}
    assert lines["Max open files"][:2] == ["3", "3"]
    assert lines["Max file size"][:2] == ["0", "0"]
    assert lines["Max address space"][0] != "unlimited"
    process.kill()
    await process.wait()


async def test_a_process_that_died_is_replaced(renderer: Renderer) -> None:
    """Whatever ended it: nobody who asks notices."""
    await render(renderer, {"text": "x"})
    [process] = renderer._idle  # noqa: SLF001 - to end it
    process.kill()
    assert (await render(renderer, {"text": "y"})).text == "y"


async def test_a_part_that_cannot_be_a_template_is_told_when_it_is_written(
    renderer: Renderer,
) -> None:
    """With its line; and which others it names."""
    with pytest.raises(TemplateError) as excinfo:
        await renderer.check([("html", "<p>\n{% if %}")], None, tenant_id=TENANT)
    assert (excinfo.value.part, excinfo.value.line) == ("html", 2)
    with pytest.raises(TemplateError, match="in quotes"):
        await renderer.check([("html", "{% include name %}")], None, tenant_id=TENANT)
    with pytest.raises(TemplateError) as excinfo:
        await renderer.check([], {"type": "nonsense"}, tenant_id=TENANT)
    assert excinfo.value.part == "variables_schema"
    parts = [("html", "{% extends 'a' %}"), ("text", "{% include 'b' %}")]
    assert await renderer.check(parts, None, tenant_id=TENANT) == ["a", "b"]
