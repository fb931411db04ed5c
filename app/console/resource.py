"""Build the pages that resources of the API share: a list, and forms to create, edit, delete."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from app.console.forms import Field, Form, read_list
from app.console.page import Page, Visit

Route = tuple[str, str, Page]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The list of a resource, a form that creates an object, and a button that deletes one.

    `path` is the same in the API and in the console; an object that `has_page` has one below it.
    `noun` is the singular, such as `webhook`. A new object has a `notice`, with its fields in
    braces, or a secret, which `show_secret` shows once, under a title.
    """

    path: str
    noun: str
    template: str
    fields: Sequence[Field]
    has_page: bool = False
    notice: str = ""
    show_secret: Callable[[Visit, Any, str], Response] | None = None
    filters: Sequence[Field] = ()
    title: str = "Create a {noun}"
    submit: str = "Create"
    hint: str = ""

    async def show_list(self, visit: Visit) -> Response:
        """List objects with the API's filters."""
        page, filters = await read_list(visit, self.path, self.filters)
        return visit.render(self.template, status=filters.status, page=page, filters=filters)

    async def show_new(self, visit: Visit) -> Response:
        """Show the form of a new object."""
        return self._render_new(visit, Form.show(self.fields))

    async def create(self, visit: Visit) -> Response:
        """Create an object."""
        form = Form.read(self.fields, visit.form)
        made = await form.send(visit.api, "POST", self.path)
        if form.problem:
            return self._render_new(visit, form)
        if self.show_secret is not None:
            title = f"The {self.noun} {made['name']} is created"
            return self.show_secret(visit, made, title)
        place = f"/{made['id']}" if self.has_page else ""
        return visit.redirect(self.path + place, self.notice.format(**made))

    async def delete(self, visit: Visit) -> Response:
        """Delete an object."""
        await visit.api.call("DELETE", self.find_path(visit))
        return visit.redirect(self.path, f"The {self.noun} is deleted.")

    def find_path(self, visit: Visit) -> str:
        """Return the path of the page's object."""
        return f"{self.path}/{visit.request.path_params[self._parameter]}"

    def route(self, method: str, place: str, page: Page) -> Route:
        """Return the route of a page of an object, such as `/edit`."""
        return method, f"/t/{{tenant}}{self.path}/{{{self._parameter}}}{place}", page

    def list_routes(self) -> list[Route]:
        """List the routes of these pages."""
        list_path = f"/t/{{tenant}}{self.path}"
        return [
            ("GET", list_path, self.show_list),
            ("GET", f"{list_path}/new", self.show_new),
            ("POST", f"{list_path}/new", self.create),
            self.route("POST", "/delete", self.delete),
        ]

    @property
    def _parameter(self) -> str:
        return self.noun.replace(" ", "_")

    def _render_new(self, visit: Visit, form: Form) -> Response:
        return form.render(
            visit,
            title=self.title.format(noun=self.noun),
            submit=self.submit,
            hint=self.hint,
            back=visit.link(self.path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EditableResource(Resource):
    """A resource whose objects a form changes.

    `choose_fields` returns what can change of an object. Without another page, an object has its
    form in the place of it, and the form leads back to the list.
    """

    choose_fields: Callable[[Mapping[str, Any]], Sequence[Field]]

    async def show_edit(self, visit: Visit) -> Response:
        """Show an object as a form."""
        item = await visit.api.get(self.find_path(visit))
        return self._render_edit(visit, Form.show(self.choose_fields(item), item))

    async def edit(self, visit: Visit) -> Response:
        """Change an object."""
        item = await visit.api.get(self.find_path(visit))
        form = Form.read(self.choose_fields(item), visit.form)
        form.require_current(item)
        await form.send(visit.api, "PATCH", self.find_path(visit))
        if form.problem:
            return self._render_edit(visit, form)
        return visit.redirect(self._find_back(visit), f"The {self.noun} is changed.")

    def list_routes(self) -> list[Route]:
        """List the routes of these pages."""
        place = "/edit" if self.has_page else ""
        return [
            *Resource.list_routes(self),
            self.route("GET", place, self.show_edit),
            self.route("POST", place, self.edit),
        ]

    def _find_back(self, visit: Visit) -> str:
        return self.find_path(visit) if self.has_page else self.path

    def _render_edit(self, visit: Visit, form: Form) -> Response:
        return form.render(
            visit,
            title=f"Edit the {self.noun}",
            submit="Save",
            back=visit.link(self._find_back(visit)),
        )
