"""Define the errors that the console finds itself, before it asks the API."""

from collections.abc import Mapping


class PageError(Exception):
    """A page that cannot be shown, with the HTTP status, a title, what to do, and more headers."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers
