"""Authenticate and authorize HTTP requests."""
