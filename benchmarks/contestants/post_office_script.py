"""Runs in an environment of its own with Django: queues or sends as django-post-office does.

Arguments: role (`migrate`, `queue`, `send`), database URL, SMTP port, messages, sender, recipient.
Text and HTML come as JSON on the first line of the input; once ready it says so, and starts at the
next line.
"""

import json
import logging
import sys
import time
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings
from django.core.management import call_command

role, url, port, messages, sender, recipient = sys.argv[1:]


def database() -> dict[str, object]:
    """Django's words for the database; SQLite as durable as the others: WAL and FULL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        options = {"transaction_mode": "IMMEDIATE", "timeout": 60, "init_command": pragmas}
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.removeprefix("sqlite:///"),
            "OPTIONS": options,
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
        "CONN_MAX_AGE": None,
    }


settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "post_office"],
    DATABASES={"default": database()},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="benchmark",
    USE_TZ=True,
    EMAIL_BACKEND="post_office.EmailBackend",
    EMAIL_HOST="127.0.0.1",
    EMAIL_PORT=int(port),
    POST_OFFICE={"CELERY_ENABLED": False},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    LOGGING_CONFIG=None,
)
django.setup()
logging.disable()

from post_office import mail  # noqa: E402 - Django is set up first
from post_office.models import STATUS, Email  # noqa: E402 - as above


def queue(body: dict[str, str]) -> None:
    """Queue all, each in a transaction of its own, as a view would."""
    for _ in range(int(messages)):
        mail.send(
            recipient,
            sender,
            subject=body["subject"],
            message=body["text"],
            html_message=body["html"],
        )


def send() -> None:
    """Send until all are sent, as a worker that looks again at once would."""
    goal = Email.objects.filter(status=STATUS.sent).count() + int(messages)
    while Email.objects.filter(status=STATUS.sent).count() < goal:
        if mail.send_queued()[0] == 0:
            time.sleep(0.02)


if role == "migrate":
    call_command("migrate", verbosity=0)
else:
    body = json.loads(sys.stdin.readline())
    Email.objects.count()
    print("ready", flush=True)
    sys.stdin.readline()
    queue(body) if role == "queue" else send()
