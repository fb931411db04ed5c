"""SQL and nothing else: every function takes a connection, and none commits by itself."""

from app.store import event_tables as event_tables  # whoever asks for the schema gets all of it
