"""Define the errors that the console finds itself, before it asks the API."""


class PageError(Exception):
    """A page that cannot be shown, with the HTTP status, a title and what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
