"""Check and render templates in the child process.

Jobs and results are JSON objects. An error in a template or its variables is a result too:
`{"error": {"part", "line", "message"}}`.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import css_inline
import jsonschema_rs
from jinja2 import TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import SecurityError, TemplateRuntimeError, UndefinedError
from jinja2.meta import find_referenced_templates
from mjml import mjml2html

from app.templating import TemplateError
from app.templating.environment import TemplateEnvironment
from app.templating.plain_text import extract_text
from app.templating.values import from_json

Job = Mapping[str, Any]
_WHITE_SPACE: Final = re.compile(r"\s+")
# Paths in the folders of Python and of the service.
_INSTALL_PATH: Final = re.compile(
    "(?:{})(?:/[^\\s'\"]*)?".format(
        "|".join(
            re.escape(folder)
            for folder in sorted({sys.prefix, sys.base_prefix, *sys.path}, key=len, reverse=True)
            if len(folder) > 1
        )
    )
)
_STYLE: Final = re.compile(r"<style", re.IGNORECASE)
# Styles for certain media must not be inlined. The marker for the inliner is removed afterwards.
_MEDIA_STYLE: Final = re.compile(
    r"""<style(?=\s[^>]{0,300}\bmedia\s*=\s*+["']?+\s*+(?!(?:all|screen)\s*["'>]))""", re.IGNORECASE
)
_IGNORED_STYLE: Final = '<style data-css-inline="ignore"'
_DOCTYPE: Final = re.compile(r"<!doctype[^>]{0,300}>", re.IGNORECASE)


def run_job(job: Job) -> dict[str, Any]:
    """Run a job and return its result."""
    try:
        return JOBS[job["do"]](job)
    except TemplateError as error:
        message = _hide_paths(str(error))
        return {"error": {"part": error.part, "line": error.line, "message": message}}


def _hide_paths(message: str) -> str:
    """Remove the paths of the installation from an error message."""
    return _INSTALL_PATH.sub("…", message)


def _check(job: Job) -> dict[str, Any]:
    """Check the `parts`, and list the templates that they reference."""
    references = set[str]()
    for part, source in job["parts"]:
        try:
            tree = TemplateEnvironment(part, {}).parse(source)
        except TemplateSyntaxError as error:
            raise TemplateError(str(error.message), part, error.lineno) from None
        except RecursionError:
            raise TemplateError("nested too deeply; nest less", part) from None
        for name in find_referenced_templates(tree):
            if name is None:
                raise TemplateError("write the name of another template in quotes", part)
            references.add(name)
    if job["schema"] is not None:
        _make_validator(job["schema"])
    return {"references": sorted(references)}


def _render(job: Job) -> dict[str, Any]:
    """Render the `parts` with their `variables` and `partials`."""
    variables, parts = job["variables"], job["parts"]
    if job["schema"] is not None:
        _validate(job["schema"], variables)
    variables = from_json(variables)
    budget = _CharacterBudget(job["max_characters"])
    results = {
        part: _render_part(part, source, job["partials"], variables, budget)
        for part, source in parts.items()
    }
    if "subject" in results:
        results["subject"] = _WHITE_SPACE.sub(" ", results["subject"]).strip()
    if "mjml" in results:
        results["html"] = _compile_mjml(results.pop("mjml"))
    html = results.get("html")
    if html is not None and job["inlines_css"] and _STYLE.search(html):
        html = results["html"] = _inline_styles(html)
    if html is not None and "text" not in results:
        results["text"] = extract_text(html)
    return results


def _extract_text(job: Job) -> dict[str, Any]:
    return {"text": extract_text(job["html"])}


JOBS: Final[Mapping[str, Callable[[Job], dict[str, Any]]]] = {
    "check": _check,
    "render": _render,
    "text": _extract_text,
}


class _CharacterBudget:
    """The number of characters that a job may still render."""

    def __init__(self, characters: int) -> None:
        self._remaining_characters = characters

    def take(self, part: str, characters: int) -> None:
        """Use characters; raises TemplateError above the limit."""
        self._remaining_characters -= characters
        if self._remaining_characters < 0:
            raise TemplateError("renders more text than a message may have; shorten it", part)


def _render_part(
    part: str,
    source: str,
    partials: Mapping[str, Mapping[str, str]],
    variables: Mapping[str, Any],
    budget: _CharacterBudget,
) -> str:
    environment = TemplateEnvironment(
        part, {name: parts[part] for name, parts in partials.items() if part in parts}
    )
    pieces = list[str]()
    try:
        for piece in environment.template(source).generate(variables):
            budget.take(part, len(piece))
            pieces.append(piece)
    except (TemplateError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - the template decides what is raised
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _find_line(error)
        raise TemplateError(_describe_error(part, error), part, line) from None
    return "".join(pieces)


def _describe_error(part: str, error: Exception) -> str:
    """Describe an exception that a template raised."""
    match error:
        case UndefinedError():
            fault = f"{error}; set it in variables"
        case TemplateNotFound():
            fault = f"the template {error.name!r} has no {part}"
        case TemplateSyntaxError():
            fault = str(error.message)
        case SecurityError():
            fault = f"not allowed: {error}"
        case RecursionError():
            fault = "the template includes itself; remove the include"
        case TemplateRuntimeError():
            fault = str(error)
        case OSError() | ImportError():  # their texts contain paths
            fault = "uses a feature that templates do not support; remove it"
        case _:
            fault = f"{type(error).__name__}: {error}"
    return fault


def _find_line(error: BaseException) -> int | None:
    """Find the line of the template: the last one in the traceback."""
    line, traceback = None, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _compile_mjml(mjml: str) -> str:
    try:
        return str(mjml2html(mjml, disable_comments=False, fonts={}))
    except ValueError as error:
        raise TemplateError(str(error), "mjml") from None


def _inline_styles(html: str) -> str:
    """Copy styles into elements; keeps `<style>`, links and doctype."""
    try:
        page = css_inline.inline(
            _MEDIA_STYLE.sub(_IGNORED_STYLE, html),
            keep_style_tags=True,
            keep_link_tags=True,
            load_remote_stylesheets=False,
        )
    except css_inline.InlineError as error:
        raise TemplateError(str(error), "html") from None
    page = page.replace(_IGNORED_STYLE, "<style")
    doctype = _DOCTYPE.search(html)
    return page if doctype is None else page.replace("<!DOCTYPE html>", doctype[0], 1)


def _make_validator(schema: Any) -> jsonschema_rs.Validator:  # noqa: ANN401 - JSON
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except (ValueError, TypeError) as error:
        raise TemplateError(_get_first_line(error), "variables_schema") from None


def _validate(schema: Any, variables: Mapping[str, Any]) -> None:  # noqa: ANN401 - JSON
    for error in _make_validator(schema).iter_errors(variables):
        path: Sequence[str | int] = error.instance_path
        location = ".".join(["variables", *map(str, path)])
        raise TemplateError(f"{location}: {error.message}", "variables")


def _get_first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
