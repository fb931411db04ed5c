"""Bounce mailboxes, and bounces posted to the API."""
