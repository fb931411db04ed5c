"""What templates and pages of growing size cost a process that renders.

`python -m tests.security.template_costs` prints a line of JSON for each kind of job: the processor
time in seconds and the peak of memory in bytes, for one, and for one that is `GROWTH` times as
large.
"""

import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, Final

from app.templating.child import WARM_UP
from app.templating.rendering import run_job

MEMORY_BYTES: Final = 2 * 1024**3
PROCESSOR_SECONDS: Final = 90
SIZE: Final = 6_000
GROWTH: Final = 4
TIMES: Final = 2

Job = dict[str, Any]
Make = Callable[[int], Job]


def job(parts: Mapping[str, str], variables: Any = None, schema: Any = None) -> Job:
    """A rendering with room for whatever comes of it."""
    return {
        "do": "render",
        "parts": parts,
        "variables": {"x": "a", "l": []} if variables is None else variables,
        "partials": {"p": {"text": "{% set y = x %}", "html": "{{ x }}"}},
        "schema": schema,
        "inlines_css": True,
        "max_characters": 100_000_000,
    }


def repeat(unit: str, size: int) -> str:
    """So many characters of the same."""
    return unit * (size // len(unit))


def source(start: str, unit: str, end: str = "", part: str = "text") -> Make:
    """Templates that say the same over and over."""
    return lambda size: job({part: start + repeat(unit, size) + end})


def text(expression: str, unit: str, part: str = "text") -> Make:
    """An expression of a long text `x`."""
    return lambda size: job({part: f"{{{{ {expression} }}}}"}, {"x": repeat(unit, size)})


def values(template: str, value: Any) -> Make:
    """A template of a long list `l`."""
    return lambda size: job({"text": template}, {"l": [value] * (size // 10)})


def page(start: str, unit: str, end: str = "") -> Make:
    """HTML to be read as text."""
    return lambda size: {"do": "text", "html": start + repeat(unit, size) + end}


# What is nested in an expression is no way of its own: like a loop, it may take all the time that a
# process has, and is ended then.
SOURCES: Final = {
    "text": ("", "a"),
    "line ends": ("", "\n"),
    "blanks": ("", " "),
    "blanks before tags": ("", "    {% if x %}{% endif %}\n"),
    "expressions": ("", "{{ x }}"),
    "tags without an end": ("", "{% if x %}"),
    "expressions without an end": ("", "{{ "),
    "comments without an end": ("", "{#"),
    "raw without an end": ("{% raw %}", "{% "),
    "concatenations": ("{{ x", " ~ x", " }}"),
    "a list": ("{{ [", "1,", "]|length }}"),
    "a text": ("{{ '", "a\\n", "'|length }}"),
    "a text without an end": ("{{ '", "\\'"),
    "includes": ("", "{% include 'p' %}"),
    "imports": ("", "{% import 'p' as p %}"),
    "macros": ("", "{% macro m() %}{% endmacro %}"),
    "variables": ("", "{% set y = x %}"),
    "loops": ("", "{% for i in l %}{% endfor %}"),
}
FILTERED: Final = {
    "escape": ("x|e", "<&"),
    "tags": ("x|striptags", "<b>"),
    "tags without an end": ("x|striptags", "<"),
    "comments": ("x|striptags", "<!-- -->"),
    "comments without an end": ("x|striptags", "<!--"),
    "entities": ("x|striptags", "&amp;"),
    "links": ("x|urlize", "http://a.example "),
    "brackets around links": ("x|urlize", "("),
    "addresses": ("x|urlize", "a@b."),
    "wrap": ("x|wordwrap(20)", "abc "),
    "wrap without blanks": ("x|wordwrap(20)", "a"),
    "words": ("x|wordcount", "a "),
    "title": ("x|title", "a-"),
    "indent": ("x|indent", "a\n"),
    "trim": ("x|trim", " "),
    "truncate": ("x|truncate(9)", " a"),
    "replace": ("x|replace('a', 'b')", "a"),
    "JSON": ("x|tojson", "<'"),
    "URL": ("x|urlencode", "é"),
    "upper": ("x|upper", "ß"),
    "split": ("x.split(',')|length", ","),
    "format": ("x|replace('a', '%')|format", "aa"),
    "fields": ("x.format(x=1)|length", "{x}"),
}
VALUES: Final = {
    "printed": ("{{ l }}", None),
    "joined": ("{{ l|join(',') }}", None),
    "a loop": ("{% for i in l %}{{ i }}{% endfor %}", None),
    "a chain": ("{{ l|map('string')|select('string')|list|length }}", True),
    "sorted": ("{{ l|sort|length }}", 5),
    "unique": ("{{ l|unique|list|length }}", 5),
    "grouped": ("{{ l|groupby('k')|length }}", {"k": 1}),
    "sums": ("{{ l|sum(attribute='k') }}", {"k": 1}),
    "batches": ("{{ l|batch(2)|list|length }}", 5),
}
PAGES: Final = {
    "text": ("", "a "),
    "paragraphs": ("", "<p>a"),
    "line breaks": ("", "<br>"),
    "nested blocks": ("", "<div>"),
    "nested tables": ("", "<table><tr><td>"),
    "nested lists": ("", "<ul><li>"),
    "nested lists with lines": ("<ul><li>" * 600, "a<br>"),
    "nested inlines": ("", "<b>"),
    "inlines that are ended in another order": ("", "<b><i></b>"),
    "links": ("", "<a href=x>y"),
    "long targets": ("<a href='", "x", "'>y</a>"),
    "blanks in a link": ("<a href=x>", " ", "</a>"),
    "images": ("", "<img alt='a b'>"),
    "cells": ("<table>", "<td>a"),
    "rows": ("<table>", "<tr><td>a"),
    "items": ("<ol>", "<li>a"),
    "preformatted": ("<pre>", "a\n"),
    "entities": ("", "&lt;&nbsp;"),
    "entities that are none": ("", "&"),
    "comments": ("", "<!-- -->"),
    "comments without an end": ("", "<!--"),
    "tags without an end": ("", "<"),
    "attributes": ("<p ", "a=b "),
    "styles": ("", "<p style='display : none'>a</p>"),
    "images in line": ("", "<svg><title>a</title></svg>"),
    "nested images in line": ("", "<svg>"),
    "scripts": ("", "<script>a</script>"),
    "forms": ("", "<select><option>a</select>"),
    "templates": ("", "<template>"),
}
STYLES: Final = {
    "rules": ("<style>", "p{a:b}", "</style><p>x"),
    "declarations": ("<style>p{", "a:b;", "}</style><p>x"),
    "selectors": ("<style>", "p,", "p{a:b}</style><p>x"),
    "descendants": ("<style>", "p ", "p{a:b}</style><p>x"),
    "elements": ("<style>p{a:b}</style>", "<p>x"),
    "at-rules": ("<style>", "@media print{p{a:b}}", "</style><p>x"),
    "at-rules without an end": ("<style>", "@media{", "</style><p>x"),
    "comments": ("<style>", "/**/", "</style><p>x"),
    "comments without an end": ("<style>", "/*", "</style><p>x"),
    "styles": ("", "<style>p{a:b}</style>"),
    "styles without an end": ("", "<style "),
    "styles for media": ("", "<style media=print>p{a:b}</style>"),
    "doctypes without an end": ("<style>p{a:b}</style>", "<!doctype "),
    "links": ("<style>p{a:b}</style>", "<link rel=stylesheet href=x>"),
}
MJML: Final = {
    "sections": ("<mjml><mj-body>", "<mj-section></mj-section>", "</mj-body></mjml>"),
    "texts": (
        "<mjml><mj-body><mj-section><mj-column>",
        "<mj-text>a</mj-text>",
        "</mj-column></mj-section></mj-body></mjml>",
    ),
    "attributes": ("<mjml><mj-body><mj-section ", 'a="b" ', "></mj-section></mj-body></mjml>"),
    "tags without an end": ("<mjml><mj-body>", "<mj-section>"),
    "comments": ("<mjml><mj-body>", "<!-- -->", "</mj-body></mjml>"),
}


def schema(size: int) -> Job:
    """A pattern that takes other engines a time without end."""
    properties = {"x": {"type": "string", "pattern": "^(a+)+$"}}
    variables = {"x": repeat("a", size) + "b"}
    return job({"text": "x"}, variables, {"type": "object", "properties": properties})


WAYS: Final[Mapping[str, Make]] = {
    **{f"source: {name}": source(*pieces) for name, pieces in SOURCES.items()},
    **{f"filter: {name}": text(*pieces) for name, pieces in FILTERED.items()},
    **{f"values: {name}": values(*pieces) for name, pieces in VALUES.items()},
    **{f"page: {name}": page(*pieces) for name, pieces in PAGES.items()},
    **{f"style: {name}": source(*pieces, part="html") for name, pieces in STYLES.items()},
    **{f"mjml: {name}": source(*pieces, part="mjml") for name, pieces in MJML.items()},
    "schema: a pattern": schema,
}


def main() -> None:
    """Measure every way."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    run_job(WARM_UP)
    for name, make in WAYS.items():
        jobs = [make(size) for size in (SIZE, SIZE * GROWTH)]
        seconds = [min(_seconds(job) for _ in range(TIMES)) for job in jobs]
        line = {"name": name, "seconds": seconds, "bytes": [_peak_bytes(job) for job in jobs]}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _seconds(job: Job) -> float:
    before = time.process_time()
    run_job(job)
    return time.process_time() - before


def _peak_bytes(job: Job) -> int:
    tracemalloc.start()
    run_job(job)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main()
