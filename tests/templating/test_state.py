"""Nothing that a template does is seen by another rendering: not by its own next one either."""

from itertools import pairwise
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from app.templating.child_processes import Renderer
from app.templating.rendering import run_job
from tests.templating.renderings import render

# A partial that counts how often it was used, in each way that Jinja can keep something.
COUNTING: Final = {
    "namespace": (
        "{% set ns = namespace(n=0) %}"
        "{% macro use() %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% endmacro %}"
    ),
    "cycler": "{% set c = cycler(1, 2, 3) %}{% macro use() %}{{ c.next() }}{% endmacro %}",
    "joiner": "{% set j = joiner('+') %}{% macro use() %}{{ j() }}x{% endmacro %}",
    "list": (
        "{% set ns = namespace(l=[]) %}"
        "{% macro use() %}{% set ns.l = ns.l + [1] %}{{ ns.l|length }}{% endmacro %}"
    ),
    "default": (
        "{% macro use(ns=namespace(n=0)) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% endmacro %}"
    ),
    "generator": (
        "{% set ns = namespace(g=range(9)|map('string')) %}"
        "{% macro use() %}{{ ns.g|first }}{% endmacro %}"
    ),
    "changed": "{% set items = namespace(items) if items is defined else namespace(n=0) %}"
    "{% macro use() %}{% set items.n = items.n + 1 %}{{ items.n }}{% endmacro %}",
}
# How it is used.
USES: Final = (
    "{% import 'partial' as p %}{{ p.use() }}",
    "{% import 'partial' as p with context %}{{ p.use() }}",
    "{% from 'partial' import use %}{{ use() }}{{ use() }}",
    "{% include 'partial' %}",
    "{% for i in range(3) %}{% include 'partial' without context %}{% endfor %}",
    "{% for i in range(3) %}{% import 'partial' as p %}{{ p.use() }}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
    "{% set ns = namespace(l=l) %}{% set ns.l = ns.l + [4] %}{{ ns.l|length }}",
)
EXTENDING: Final = "{% extends 'partial' %}"


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """One rendering of a text and a page, which use a partial that counts."""
    partial = draw(st.sampled_from(sorted(COUNTING.values()))) + "{{ use() }}"
    used = st.lists(st.sampled_from(USES), min_size=1, max_size=4).map("".join)
    source = draw(used | st.just(EXTENDING))
    return {
        "do": "render",
        "parts": dict.fromkeys(("text", "html"), source),
        "variables": {"l": [1, 2, 3], "items": {"n": 7}},
        "partials": {"partial": dict.fromkeys(("text", "html"), partial)},
        "schema": None,
        "inlines_css": False,
        "max_characters": 1000,
    }


@given(jobs(), jobs())
@settings(max_examples=60)
def test_two_renderings_give_in_either_order_what_each_gives_alone(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whatever they share: source, partials, process."""
    order = [one, other, other, one, one]
    results = [(job, run_job(job)) for job in order]
    for job in (one, other):
        mine = [result for done, result in results if done == job]
        assert "error" not in mine[0]
        assert all(before == after for before, after in pairwise(mine))


async def test_another_tenant_does_not_see_what_a_template_kept(renderer: Renderer) -> None:
    """Though both render the same source in the same process."""
    source = "{% import 'partial' as p %}{{ p.use() }}"
    for expression in COUNTING.values():
        results = [
            await render(
                renderer,
                {"text": source},
                tenant_id=tenant,
                partials={"partial": {"text": expression}},
                variables={"items": {"n": 7}},
            )
            for tenant in ("ten_1", "ten_2", "ten_1")
        ]
        assert results[0] == results[1] == results[2]
