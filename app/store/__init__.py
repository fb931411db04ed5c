"""SQL only: every function takes a connection, and none commits."""
