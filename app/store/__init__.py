"""SQL and nothing else: every function takes a connection, and none commits by itself."""
