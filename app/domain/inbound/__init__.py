"""Mailboxes, and the reports that arrive in them."""
