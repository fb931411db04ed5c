"""Mailboxes, the mails in them, and reports."""
