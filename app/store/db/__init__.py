"""Connections, dialects and SQL helpers that know no table."""
