"""SQL and nothing else: every function takes a connection, and none commits by itself."""

# Whoever asks for the schema gets all of it.
from app.store import domain_tables as domain_tables
from app.store import event_tables as event_tables
from app.store import mailbox_tables as mailbox_tables
from app.store import template_tables as template_tables
