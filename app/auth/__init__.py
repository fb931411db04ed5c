"""Authenticate and authorize callers, and write audit entries, for every protocol."""
