"""SQL only. Every function takes a connection; none commits."""
