"""Define `heloise dev`."""

from pathlib import Path
from typing import Annotated

import typer

from app import dev as development
from app.cli.input import load_settings


def dev(
    data: Annotated[Path, typer.Option(file_okay=False, help="The data folder.")] = Path(
        "heloise-data"
    ),
    host: Annotated[str, typer.Option(help="The address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The TCP port of the API.")] = 8000,
    smtp_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The TCP port of the SMTP inbox.")
    ] = 2525,
    submission_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The TCP port for SMTP submission.")
    ] = 2587,
) -> None:
    """Run the API, delivery and an SMTP inbox on this machine.

    The API also accepts messages over SMTP. The first start creates a tenant, a key and three
    profiles. One of them, practice, lets you see in the console what a refused EHLO name does; it
    works until you ask for that. Each start prints a request and SMTP settings to paste.
    """
    load_settings()
    development.main(
        data_folder=data,
        host=host,
        port=port,
        smtp_port=smtp_port,
        submission_port=submission_port,
    )
